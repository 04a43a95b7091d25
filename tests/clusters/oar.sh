#!/bin/bash
# A real OAR with its database on one machine, from Debian packages. Needs root; needs no systemd.
#
#   oar.sh install          install the packages
#   oar.sh start            start it; what runs already is left alone
#   oar.sh status           one line a daemon, then the nodes; succeeds if all is up
#   oar.sh stop             delete all jobs, stop the daemons
#   oar.sh purge            stop, remove all files, and put OAR's own configuration back
#   oar.sh env              print what a shell needs to use it: eval "$(oar.sh env)"
#
# To see how programs cope with failures ('start' brings everything back):
#   oar.sh crash-server     SIGKILL the server; jobs run on
#   oar.sh crash-nodes      SIGKILL what runs jobs on the nodes, and the jobs
#
# Four nodes, the loopback addresses 127.0.1.1 to 127.0.1.4, which OAR reaches with ssh. There are
# no cpusets. OAR takes no jobs of root: they are submitted by the user OAR_USER, who is made if
# need be. OAR's commands have the path of their configuration compiled in, so that there can be
# only one OAR: /etc/oar/oar.conf is replaced, and kept as oar.conf.exaworks until 'purge'. All
# else is below the folder.
#
# Settings, from the environment:
: "${OAR_ROOT:=/tmp/exaworks-oar}" # the folder for everything; others must be able to enter it
: "${OAR_PORT:=18900}"             # the server; the next are the database's and the nodes' sshd's
: "${OAR_NODES:=4}"                # nodes
: "${OAR_CPUS:=8}"                 # cores of a node
: "${OAR_USER:=exauser}"           # who submits jobs
set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
NAME=oar.sh
R=$OAR_ROOT CONF=/etc/oar/oar.conf KEPT=/etc/oar/oar.conf.exaworks
PG=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -1)
DB_PORT=$((OAR_PORT + 1)) SSH_PORT=$((OAR_PORT + 2))

do_install() {
    need_packages oar-server oar-server-pgsql oar-node oar-user oar-user-pgsql postgresql \
        openssh-server openssh-client procps
    dpkg-query -W oar-server
}

database() { [ -s "$R/db/postmaster.pid" ] && ! gone "$(head -1 "$R/db/postmaster.pid")"; }
server() { alive "$R/server.pid"; }
nodes() { alive "$R/sshd.pid" sshd; }

start_database() {
    database && return
    if [ ! -s "$R/db/PG_VERSION" ]; then
        mkdir -p "$R/db"
        chown postgres: "$R/db"
        runuser -u postgres -- "$PG/initdb" -D "$R/db" -A trust -U postgres --no-sync -E UTF8 \
            --locale=C >"$R/initdb.log" 2>&1 || die "no database, see $R/initdb.log"
        cat >>"$R/db/postgresql.conf" <<-END
	listen_addresses = '127.0.0.1'
	port = $DB_PORT
	unix_socket_directories = '$R/db'
	fsync = off
	synchronous_commit = off
	full_page_writes = off
	END
    fi
    rm -f "$R/db/postmaster.pid"
    runuser -u postgres -- "$PG/pg_ctl" -D "$R/db" -l "$R/db/log" -w -t 30 start \
        >/dev/null 9>&- || die "PostgreSQL did not start, see $R/db/log"
}

set_value() { # NAME VALUE
    sed -i -E "s|^#?$1=.*|$1=\"$2\"|" "$R/oar.conf"
    grep -q "^$1=" "$R/oar.conf" || echo "$1=\"$2\"" >>"$R/oar.conf"
}

# The check of nodes is switched off: on a busy machine it takes them for dead.
configure() {
    local node
    id "$OAR_USER" >/dev/null 2>&1 || { useradd --create-home "$OAR_USER" && : >"$R/user"; } ||
        die "cannot make the user $OAR_USER"
    [ -e "$KEPT" ] || cp -p "$CONF" "$KEPT"
    cp "$KEPT" "$R/oar.conf"
    set_value DB_TYPE Pg
    set_value DB_HOSTNAME 127.0.0.1
    set_value DB_PORT "$DB_PORT"
    set_value DB_BASE_PASSWD oar
    set_value DB_BASE_PASSWD_RO oar_ro
    set_value SERVER_HOSTNAME 127.0.0.1
    set_value SERVER_PORT "$OAR_PORT"
    set_value LOG_FILE "$R/oar.log"
    set_value OPENSSH_CMD "/usr/bin/ssh -p $SSH_PORT -e none"
    set_value PINGCHECKER_GENERIC_COMMAND /bin/true
    set_value FINAUD_FREQUENCY 0
    set_value SCHEDULER_JOB_SECURITY_TIME 5
    set_value SCHEDULER_MIN_TIME_BETWEEN_2_CALLS 0
    set_value SCHEDULER_FAIRSHARING_MAX_JOB_PER_USER 1000
    set_value ENERGY_SAVING_INTERNAL no
    sed -i -E 's/^(JOB_RESOURCE_MANAGER_PROPERTY_DB_FIELD=|PINGCHECKER_SENTINELLE)/#&/' \
        "$R/oar.conf"
    install -o oar -g oar -m 600 "$R/oar.conf" "$CONF"
    touch "$R/oar.log"
    chown oar: "$R/oar.log"
    # without what today's sshd no longer knows
    sed -E -e "s|^Port .*|Port $SSH_PORT|" -e '/^(UsePrivilegeSeparation|KeepAlive|Protocol)/d' \
        /etc/oar/sshd_config >"$R/sshd_config"
    for node in $(seq "$OAR_NODES"); do
        echo "ListenAddress 127.0.1.$node" >>"$R/sshd_config"
    done
    mkdir -p /run/sshd
    # Sessions of a user whose password is locked would be refused.
    case $(getent shadow oar | cut -d: -f2) in '!'*) usermod -p '*' oar ;; esac
}

listens() { timeout 1 bash -c "</dev/tcp/127.0.0.1/$OAR_PORT"; }

start_server() {
    server && return
    kill_server KILL
    setsid oar-server 9>&- </dev/null >/dev/null 2>&1
    cp /var/run/oar-server.pid "$R/server.pid" || die "the server did not start, see $R/oar.log"
    ps -o pgid= -p "$(cat "$R/server.pid")" | tr -d ' ' >"$R/server.group"
    until_ok 20 listens || die "the server does not listen, see $R/oar.log"
}

add_nodes() {
    local node core=0
    [ ! -e "$R/complete" ] || return 0
    oarproperty -a core >/dev/null 2>&1
    oarproperty -a host -c >/dev/null 2>&1
    for node in $(seq "$OAR_NODES"); do
        for _ in $(seq "$OAR_CPUS"); do
            core=$((core + 1))
            oarnodesetting -a -h "127.0.1.$node" -p "host=node$node" -p "core=$core" \
                >/dev/null 2>&1 || die "cannot add core $core"
        done
    done
    : >"$R/complete"
}

do_start() {
    local node
    need_root
    [ -x /usr/sbin/oar-server ] || die "not installed; run: $0 install"
    mkdir -p "$R"
    chmod 755 "$R"
    exec 9>"${R%/}.lock"
    flock 9
    reserve_ports "$OAR_PORT" "$SSH_PORT"
    server || configure
    start_database
    oar-database --check >/dev/null 2>&1 ||
        oar-database --create -y --db-admin-user postgres --db-admin-pass x >"$R/tables.log" \
            2>&1 || die "no tables, see $R/tables.log"
    nodes || /usr/sbin/sshd -f "$R/sshd_config" -E "$R/sshd.log" -o "PidFile=$R/sshd.pid" ||
        die "sshd did not start, see $R/sshd.log"
    start_server
    add_nodes
    for node in $(seq "$OAR_NODES"); do
        oarnodesetting -s Alive -h "127.0.1.$node" >/dev/null 2>&1
    done
    say "up: jobs are submitted as $OAR_USER"
}

do_status() {
    local all=0
    state() { if "${@:2}"; then echo "$1 up"; else echo "$1 DOWN"; all=1; fi; }
    state database database
    state server server
    state nodes nodes
    [ "$all" = 0 ] && oarnodes -s
}

jobs() { oarstat -J 2>/dev/null | sed -n 's/^ *"\([0-9]*\)" *: *{.*/\1/p'; }

# What runs a job on a node is a perl that calls itself so; its session of sshd is its parent.
kill_jobs() {
    local pid
    for pid in $(pgrep -u oar -f 'OAREXEC$'); do
        pkill -9 -P "$pid"
        kill -9 "$pid"
    done 2>/dev/null
    true
}

# The server's processes are a group. As long as one of them is left, no new server can start.
no_group() { ! pgrep -g "$1"; }

kill_server() { # SIGNAL
    local group
    group=$(cat "$R/server.group" 2>/dev/null) || return 0
    kill "-$1" -- "-$group" 2>/dev/null
    until_ok 10 no_group "$group" || { kill -KILL -- "-$group"; until_ok 5 no_group "$group"; }
    rm -f "$R/server.pid" "$R/server.group"
}

do_stop() {
    local ids
    [ -d "$R" ] || { say "there is nothing at $R"; return 0; }
    if server; then
        ids=$(jobs)
        [ -z "$ids" ] || oardel $ids >/dev/null 2>&1
        until_ok 20 eval '[ -z "$(jobs)" ]' || say "some jobs did not end"
        kill_server TERM
    fi
    kill_jobs
    kill_pidfile "$R/sshd.pid" 5
    ! database || runuser -u postgres -- "$PG/pg_ctl" -D "$R/db" -m fast -w stop >/dev/null
    say "stopped"
}

do_purge() {
    do_stop
    [ ! -e "$KEPT" ] || mv "$KEPT" "$CONF"
    [ ! -e "$R/user" ] || userdel -r "$OAR_USER" 2>/dev/null
    rm -rf "${R:?}" "${R%/}.lock"
}

case ${1:-} in
install) do_install ;;
start) do_start ;;
status) do_status ;;
stop) do_stop ;;
purge) do_purge ;;
env) echo "export EXAWORKS_TEST_USER=$OAR_USER" ;;
crash-server) kill_server KILL ;;
crash-nodes) kill_jobs ;;
*) usage ;;
esac
