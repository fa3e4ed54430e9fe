# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # variables of docker.sh, and for those who source it
# A builder of programs for arm64 on a machine of another kind. For bash, to be sourced after docker.sh.
#
# The compiler needs that machine's standard library, of its own version. Debian trixie has both (rustc-web, a newer compiler
# than the release's own), the linker and the C library; nothing of arm64 is run.
arm64_builder=pattoo/rust-arm64:trixie
arm64_target=aarch64-unknown-linux-gnu

install_arm64_builder() {
    ! docker image inspect "$arm64_builder" >/dev/null 2>&1 || return 0
    say "Needs root: making the builder for arm64 with debootstrap (some minutes, once a machine)"
    install_packages "${builder_packages[@]}"
    alone make_arm64_builder
}

make_arm64_builder() {
    ! docker image inspect "$arm64_builder" >/dev/null 2>&1 || return 0
    local root=$work/root mirror bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
    mirror=$(debian_mirror)
    as_root unshare --mount debootstrap --variant=minbase \
        --include=rustc-web,cargo-web,gcc,gcc-aarch64-linux-gnu,libc6-dev,libc6-dev-arm64-cross,ca-certificates \
        trixie "$root" "$mirror" >"$work/debootstrap.log" 2>&1 \
        || { tail -5 "$work/debootstrap.log" >&2; die "debootstrap of trixie failed: see above"; }
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial"
    printf 'deb [arch=arm64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s trixie main\n' "$mirror" >"$work/sources.list"
    local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root
        -o APT::Architectures::=amd64 -o APT::Architectures::=arm64)
    ("${apt[@]}" update && cd "$work" && "${apt[@]}" download libstd-rust-web-dev:arm64) \
        || die "the package libstd-rust-web-dev for arm64 of Debian trixie cannot be had from $mirror: see above"
    # Unpacked alone: what it depends on would be for running there.
    as_root dpkg -x "$work"/libstd-rust-web-dev_*_arm64.deb "$root"
    as_root install -m 0644 "$bundle" "$root/etc/ssl/certs/ca-certificates.crt"
    as_root rm -rf "$root/var/cache/apt" "$root/var/lib/apt/lists"
    as_root tar -C "$root" -c . | docker import -c 'ENV CARGO_HOME=/usr/local/cargo CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc' \
        - "$arm64_builder" >/dev/null || die "docker import of $arm64_builder failed: see above"
}

# Whether an image is one for arm64, and the program in it (its name is $2) too: by its ELF header, where byte 4 is 2 for 64
# bits, byte 5 is 1 for little-endian, and bytes 18 and 19 are the machine's number, 183 for AArch64.
is_arm64() {
    local container header
    [ "$(docker image inspect --format '{{.Os}}/{{.Architecture}}' "$1")" = linux/arm64 ] || return 1
    container=$(docker create --platform linux/arm64 "$1") || return 1
    header=$(docker cp "$container:/$2" - | tar -xO | head -c 20 | od -An -tu1 | tr -s ' \n' ' ')
    docker rm "$container" >/dev/null
    say "  its ELF header:$header"
    read -ra header <<<"$header"
    [ "${header[*]:0:6}" = "127 69 76 70 2 1" ] && [ "${header[18]}" = 183 ] && [ "${header[19]}" = 0 ]
}
