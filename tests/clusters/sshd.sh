#!/bin/bash
# A private OpenSSH server on the loopback address, so that this machine is reached "from anywhere".
# Needs root; needs no systemd.
#
#   sshd.sh install          install the packages
#   sshd.sh start            start it; what runs already is left alone
#   sshd.sh status           succeeds if it is up
#   sshd.sh stop             stop it and all connections
#   sshd.sh purge            stop, and remove all files
#   sshd.sh env              print what a shell needs to use it: eval "$(sshd.sh env)"
#
# To see how programs cope with failures:
#   sshd.sh cut              SIGKILL all connections; the server stays
#   sshd.sh newkey           give the server another host key, as an impostor would have
#   sshd.sh oldkey           and back
#
# Hosts that `ssh -F $EXAWORKS_TEST_SSH_CONFIG HOST` knows: cluster, this machine; cluster-csh,
# the same with tcsh as the login shell (user exacsh).
#
# Settings, from the environment:
: "${SSHD_ROOT:=/tmp/exaworks-sshd}"   # the folder for everything
: "${SSHD_PORT:=18722}"                # where it listens
: "${SSHD_ENV:=SLURM_CONF=${SLURM_CONF:-}}" # variables that sessions get, on one line
set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
NAME=sshd.sh
R=$SSHD_ROOT

do_install() { need_packages openssh-server openssh-client procps tcsh; }

# Sessions of a user whose password is locked are refused, so it is set to one that nothing matches.
make_csh_user() {
    id exacsh >/dev/null 2>&1 || useradd --create-home --shell /usr/bin/tcsh exacsh
    usermod --password '*' exacsh
}

configure() {
    mkdir -p "$R"
    chmod 755 "$R"
    make_csh_user
    for key in host_key other_key id; do
        [ -e "$R/$key" ] || ssh-keygen -q -t ed25519 -N '' -C "exaworks-$key" -f "$R/$key"
    done
    cp "$R/id.pub" "$R/authorized_keys"
    cat >"$R/sshd_config" <<END
ListenAddress 127.0.0.1
Port $SSHD_PORT
HostKey $R/current_key
PidFile $R/sshd.pid
AuthorizedKeysFile $R/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
# the folder may be below one that everybody can write to
StrictModes no
UsePAM no
UseDNS no
PrintMotd no
MaxStartups 100:30:200
END
    # only the first SetEnv of a file counts
    # With this SHLVL bash does not take itself for the first shell, and leaves ~/.bashrc alone: what
    # is in there may be slow, and must not be killed half-way by 'cut'.
    echo "SetEnv SHLVL=1 $SSHD_ENV" >>"$R/sshd_config"
    cat >"$R/ssh_config" <<END
Host cluster
    User root
Host cluster-csh
    User exacsh
Host cluster cluster-csh
    HostName 127.0.0.1
    Port $SSHD_PORT
    IdentityFile $R/id
    IdentitiesOnly yes
    IdentityAgent none
    UserKnownHostsFile $R/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
END
    sed "s/^/[127.0.0.1]:$SSHD_PORT /" "$R/host_key.pub" >"$R/known_hosts"
    [ -e "$R/current_key" ] || use_key host_key
}

use_key() { install -m 600 "$R/$1" "$R/current_key"; }

listens() { alive "$R/sshd.pid" sshd; }

serves_current_key() {
    ssh-keyscan -t ed25519 -p "$SSHD_PORT" 127.0.0.1 2>/dev/null |
        grep -qF "$(ssh-keygen -yf "$R/current_key" | cut -d' ' -f1,2)"
}

reload() {
    listens || return 0
    # it writes the file again when it has read its configuration
    local pid
    pid=$(cat "$R/sshd.pid")
    rm -f "$R/sshd.pid"
    kill -HUP "$pid"
    until_ok 10 test -s "$R/sshd.pid" || die "it did not come back, see $R/log"
    until_ok 10 serves_current_key || die "it does not serve the new key, see $R/log"
}

do_start() {
    need_root
    reserve_ports "$SSHD_PORT" "$SSHD_PORT"
    configure
    listens && { reload; return; }
    mkdir -p /run/sshd
    /usr/sbin/sshd -f "$R/sshd_config" -E "$R/log" || die "cannot start sshd, see $R/log"
    until_ok 10 ssh -F "$R/ssh_config" cluster true || die "it does not answer, see $R/log"
    say "up: ssh -F $R/ssh_config cluster"
}

# The sessions of our server are the children of its process.
do_cut() {
    local pid
    for pid in $(pgrep -P "$(cat "$R/sshd.pid")"); do
        pkill -9 -P "$pid" -x sshd
        kill -9 "$pid"
    done 2>/dev/null
    true
}

do_stop() {
    listens || return 0
    do_cut
    kill_pidfile "$R/sshd.pid" 5
}

case ${1:-} in
install) do_install ;;
start) do_start ;;
status) listens ;;
stop) do_stop ;;
purge) do_stop; rm -rf -- "$R" ;;
env) echo "export EXAWORKS_TEST_SSH_CONFIG=$R/ssh_config EXAWORKS_TEST_SSHD=$HERE/sshd.sh" ;;
cut) do_cut ;;
newkey) use_key other_key; reload ;;
oldkey) use_key host_key; reload ;;
*) usage ;;
esac
