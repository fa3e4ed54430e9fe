# shellcheck shell=bash
# What a machine needs to build and run the images, installed where it is missing: the Compose and Buildx plugins, and the
# builder image. For bash, to be sourced; deploy/up and .ci/setup use it. A second call finds everything in place.
# Everything that is kept lies in this folder, so that a second clone on the machine finds it too.
cache=${XDG_CACHE_HOME:-$HOME/.cache}/pattoo-hub-and-spoke
work=$cache/work
builder_image=rust:1.95-slim-bookworm

say() { printf '%s\n' "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# Runs a command as root, through sudo where we are not root.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo -- "$@"
    else die "this must run as root, and sudo is not installed: $*"
    fi
}

# Prints those of the named Debian packages that are not installed.
missing_packages() {
    local name
    for name; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || printf '%s ' "$name"
    done
}

# Installs the named Debian packages that are missing. Says that it needs root before it asks for it.
install_packages() {
    local missing
    read -ra missing <<<"$(missing_packages "$@")"
    [ ${#missing[@]} -gt 0 ] || return 0
    say "Needs root: installing the Debian packages ${missing[*]}"
    as_root apt-get -qq update || die "apt-get update failed: see above; then install by hand: ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends -y "${missing[@]}" >/dev/null \
        || die "apt-get install failed: see above; then install by hand: ${missing[*]}"
}

# Runs the function $1 in an empty $work, one caller at a time. What an earlier run left there half-finished is removed.
alone() {
    mkdir -p "$cache"
    (
        flock 9
        [ ! -e "$work" ] || rm -rf --one-file-system "$work" 2>/dev/null || as_root rm -rf --one-file-system "$work"
        mkdir "$work"
        "$1"
        rm -rf --one-file-system "$work" 2>/dev/null || as_root rm -rf --one-file-system "$work"
    ) 9>"$cache/lock"
}

# The mirror that this machine's packages come from.
debian_mirror() {
    local mirror
    # shellcheck disable=SC2016 # apt's own placeholders
    mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' 2>/dev/null \
        | awk '$2 == "bookworm" && $1 ~ /debian\/?$/ { print $1; exit }')
    printf '%s' "${mirror:-http://deb.debian.org/debian}"
}

docker_works() { command -v docker >/dev/null && docker version >/dev/null 2>&1; }
plugins_present() { docker compose version >/dev/null 2>&1 && docker buildx version >/dev/null 2>&1; }
builder_present() { docker image inspect "$builder_image" >/dev/null 2>&1; }

# Compose 2 and Buildx. Bookworm has neither; those of trixie need no library that bookworm lacks. They go into the
# user's own Docker configuration: no root needed, and /etc/apt stays as it is.
install_plugins() {
    plugins_present && return
    say "Installing the Docker plugins compose and buildx into ${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins"
    [ -x "$cache/cli-plugins/docker-buildx" ] || alone download_plugins
    mkdir -p "${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins"
    docker compose version >/dev/null 2>&1 || install -m 0755 -t "${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins" "$cache/cli-plugins/docker-compose"
    docker buildx version >/dev/null 2>&1 || install -m 0755 -t "${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins" "$cache/cli-plugins/docker-buildx"
    plugins_present || die "the plugins in ${DOCKER_CONFIG:-$HOME/.docker}/cli-plugins do not run: install Docker's compose and buildx plugins by hand"
}

download_plugins() {
    [ ! -x "$cache/cli-plugins/docker-buildx" ] || return 0
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/root"
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s trixie main\n' "$(debian_mirror)" >"$work/sources.list"
    local apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null
        -o "Dir::State::lists=$work/lists" -o "Dir::Cache=$work/cache" -o APT::Sandbox::User=root)
    ("${apt[@]}" update && cd "$work" && "${apt[@]}" download docker-compose docker-buildx) \
        || die "the packages docker-compose and docker-buildx of Debian trixie cannot be had from $(debian_mirror): install Docker's compose and buildx plugins by hand"
    for deb in "$work"/*.deb; do dpkg -x "$deb" "$work/root"; done
    rm -rf "$cache/cli-plugins"
    mv "$work/root/usr/libexec/docker/cli-plugins" "$cache/cli-plugins"
}

# The image that the Dockerfiles build in, from the registry. Gives up where the registry has not answered in 10 s.
pull_builder() {
    local log pid i
    log=$(mktemp)
    docker pull "$builder_image" >"$log" 2>&1 &
    pid=$!
    for ((i = 0; i < 50; i++)); do
        kill -0 "$pid" 2>/dev/null || break
        if grep -q 'Pulling from' "$log"; then
            say "Pulling $builder_image"
            break
        fi
        sleep 0.2
    done
    [ "$i" -lt 50 ] || kill "$pid"
    wait "$pid" 2>/dev/null && builder_present
    local result=$?
    rm -f "$log"
    return "$result"
}

# The packages that are needed to make the builder image here.
builder_packages=(debootstrap debian-archive-keyring ca-certificates)

# Makes the builder image where it is neither present nor to be had from a registry: a Debian bookworm with a C linker,
# this machine's Rust toolchain, and this machine's certificates, without which cargo could not reach the crate registry.
# It stays on this machine.
install_builder() {
    builder_present && return
    pull_builder && return
    command -v rustc >/dev/null || die "rustc is not found: install Rust 1.95 or later (https://rustup.rs), or let this machine reach an image registry for $builder_image"
    say "No registry gives $builder_image. Needs root: making a stand-in with debootstrap (a minute or two, once a machine)"
    install_packages "${builder_packages[@]}"
    alone make_builder
}

make_builder() {
    builder_present && return
    local root=$work/root toolchain bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
    toolchain=$(rustc --print sysroot)
    # In a mount namespace of its own: what debootstrap mounts goes when it ends, however it ends.
    as_root unshare --mount debootstrap --variant=minbase --include=gcc,libc6-dev,ca-certificates \
        bookworm "$root" "$(debian_mirror)" >"$work/debootstrap.log" 2>&1 \
        || { tail -5 "$work/debootstrap.log" >&2; die "debootstrap failed: see above"; }
    as_root install -m 0644 "$bundle" "$root/etc/ssl/certs/ca-certificates.crt"
    as_root cp "$toolchain/bin/cargo" "$toolchain/bin/rustc" "$root/usr/local/bin/"
    as_root cp -r "$toolchain/lib/." "$root/usr/local/lib/"
    as_root rm -rf "$root/var/cache/apt" "$root/var/lib/apt/lists" "$root/usr/local/lib/rustlib/src"
    as_root tar -C "$root" -c . | docker import -c 'ENV CARGO_HOME=/usr/local/cargo' \
        -c "LABEL pattoo.stand-in=$(rustc --version | cut -d' ' -f2)" - "$builder_image" >/dev/null \
        || die "docker import of $builder_image failed: see above"
}
