# shellcheck shell=bash
# Functions for scripts that run a batch scheduler on one machine. Sourced by bash.
PATH=$PATH:/usr/sbin:/sbin
NAME=${0##*/}

say() { echo "$NAME: $*" >&2; }
die() { say "$*"; exit 1; }
need_root() { [ "$(id -u)" = 0 ] || die "needs root"; }

# The comment at the top of the script is its help.
usage() { awk 'NR > 1 && /^set -u/ { exit } NR > 1 { sub(/^# ?/, ""); print }' "$0"; exit 2; }

# gone PID: whether it has ended (a zombie has)
gone() {
    [ ! -e "/proc/$1/stat" ] ||
        [ "$(sed 's/.*) //; s/ .*//' "/proc/$1/stat" 2>/dev/null || echo Z)" = Z ]
}

# alive PIDFILE [NAME]: whether the process in PIDFILE runs and its name begins with NAME
alive() {
    local pid
    pid=$(cat "$1" 2>/dev/null) && [ -n "$pid" ] && ! gone "$pid" || return 1
    [ -z "${2:-}" ] || grep -q "^${2:0:15}" "/proc/$pid/comm" 2>/dev/null
}

# until_ok SECONDS COMMAND...: try every 0.1 s until it succeeds
until_ok() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

# kill_pidfile PIDFILE SECONDS: SIGTERM, then SIGKILL
kill_pidfile() {
    local pid
    alive "$1" || { rm -f "$1"; return 0; }
    pid=$(cat "$1")
    kill "$pid" 2>/dev/null
    until_ok "$2" gone "$pid" || { kill -9 "$pid" 2>/dev/null; until_ok 5 gone "$pid"; }
    rm -f "$1"
}

# need_packages NAME...: install those that are missing
need_packages() {
    local package missing=()
    need_root
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
            missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return 0
    apt-get update -qq || true
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq \
        --no-install-recommends "${missing[@]}" >/dev/null || die "cannot install ${missing[*]}"
}

# reserve_ports FIRST LAST: the kernel is not to give these to outgoing connections
reserve_ports() {
    local file=/proc/sys/net/ipv4/ip_local_reserved_ports present
    present=$(cat "$file" 2>/dev/null) || return 0
    { echo "${present:+$present,}$1-$2" >"$file"; } 2>/dev/null || true
}

# A host is a set of UTS, mount and PID namespaces that belong to a bash, its process 1: it reaps
# orphans, and if it is killed, all processes of the host die with it, as in a power cut.
#   FOLDER/unshare.pid   the unshare(1) that made it        FOLDER/init.pid   its process 1

# spawn_host NAME FOLDER HOSTS: HOSTS becomes its /etc/hosts
spawn_host() {
    local folder=$2
    mkdir -p "$folder"
    rm -f "$folder/init.pid"
    setsid unshare --uts --mount --pid --fork --kill-child --mount-proc bash -c '
        hostname "$1"
        mount --bind "$2" /etc/hosts
        trap : TERM INT HUP
        while :; do sleep infinity & wait $!; done' "init-$1" "$1" "$3" \
        </dev/null >>"$folder/err" 2>&1 9>&- &
    echo $! >"$folder/unshare.pid"
    until_ok 10 find_init "$folder" || die "no namespaces for $1, see $folder/err"
    until_ok 10 in_host "$folder" sh -c "[ \$(hostname) = $1 ]" || die "no host $1, see $folder/err"
}

find_init() {
    local parent child
    parent=$(cat "$1/unshare.pid") &&
        child=$(cat "/proc/$parent/task/$parent/children" 2>/dev/null) &&
        child=${child// } && [ -n "$child" ] && echo "$child" >"$1/init.pid"
}

# in_host FOLDER COMMAND...: run it in the host
in_host() {
    local folder=$1 pid
    shift
    pid=$(cat "$folder/init.pid") || return 1
    nsenter --target "$pid" --uts --mount --pid --root --wd="$PWD" -- "$@"
}

# kill_host FOLDER: power off
kill_host() {
    local pid
    if alive "$1/unshare.pid" unshare; then
        pid=$(cat "$1/init.pid")
        kill -9 "$pid" 2>/dev/null
        until_ok 5 gone "$pid"
        kill -9 "$(cat "$1/unshare.pid")" 2>/dev/null
    fi
    rm -f "$1/unshare.pid" "$1/init.pid"
}
