# shellcheck shell=bash
# What deploy/up and deploy/down share: the programs as plain processes, and the stand-in's count. For bash, to be sourced.

server_port=${PATTOO_SERVER_PORT:-20201}

# Where the plain processes keep their configuration, state and logs: one folder each.
state=$(realpath -m "${PATTOO_STATE:-target/up}")

# Runs one of the plain processes' programs: its name in the state folder, then the program's options.
control() {
    local name=$1 program=pattoo_agent_os_hubd
    shift
    [[ $name != spoke-* ]] || program=pattoo_agent_os_spoked
    env -u PATTOO_FOREGROUND PATTOO_CONFIGDIR="$state/$name/config" "$state/bin/$program" "$@"
}

# Writes a folder for one of the plain processes: its name, the program's configuration, what stands beside it in pattoo.yaml.
folder() {
    local name=$1 program=pattoo_agent_os_hubd
    [[ $name != spoke-* ]] || program=pattoo_agent_os_spoked
    mkdir -p "$state/$name"/{config,daemon,cache,run,log}
    cat >"$state/$name/config/pattoo.yaml" <<EOF
pattoo:
    log_level: info
    log_directory: "$state/$name/log"
    cache_directory: "$state/$name/cache"
    daemon_directory: "$state/$name/daemon"
    system_daemon_directory: "$state/$name/run"
$3
EOF
    printf '%s:\n%s\n' "$program" "$2" >"$state/$name/config/$program.yaml"
}

# The number of posts that the stand-in has taken, from its metrics; nothing where it does not answer.
taken() {
    # shellcheck disable=SC2016 # expanded by the inner shell
    timeout 3 bash -c '
        exec 3<>"/dev/tcp/127.0.0.1/$1" || exit
        printf "GET /metrics HTTP/1.0\r\nHost: 127.0.0.1:%s\r\n\r\n" "$1" >&3
        cat <&3' - "$server_port" 2>/dev/null \
        | awk '/^pattoo_hub_posts_taken_total/ { sum += $NF; found = 1 } END { if (found) printf "%d", sum }'
}

# Waits until the stand-in has taken three posts (one from each spoke, where all is well). $1 tells where to look if it does not.
wait_for_posts() {
    local deadline=$((SECONDS + 120)) count
    say "Waiting until the stand-in has taken posts (the hub asks every 10 s)"
    until count=$(taken) && [ "${count:-0}" -ge 3 ]; do
        [ "$SECONDS" -lt "$deadline" ] \
            || die "after 120 s the stand-in on port $server_port has taken ${count:-no} posts. Look at: $1"
        sleep 0.5
    done
    say
    say "The stand-in has taken $count posts."
}
