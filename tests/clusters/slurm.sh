#!/bin/bash
# A real Slurm cluster of several nodes on one machine, from Debian packages. Needs root; needs
# neither systemd nor cgroups.
#
#   slurm.sh install          install the packages
#   slurm.sh start            start it; what runs already is left alone
#   slurm.sh status           one line a daemon, then sinfo; succeeds if all is up
#   slurm.sh stop             cancel all jobs, stop all daemons and nodes
#   slurm.sh purge            stop, and remove all files
#   slurm.sh env              print what a shell needs to reach it: eval "$(slurm.sh env)"
#
# To see how programs cope with failures ('start' brings everything back):
#   slurm.sh crash-ctld       SIGKILL the controller; jobs run on
#   slurm.sh crash-dbd        SIGKILL the accounting daemon
#   slurm.sh crash-slurmd N   SIGKILL the slurmd of node N; its jobs run on
#   slurm.sh crash-node N     power off node N
#
# Each node is a slurmd in UTS, mount and PID namespaces of its own, so that hostname(1) says node1,
# node2, ... and a node can be powered off. All nodes use the loopback network and the files of this
# machine. Several clusters can run side by side, each with its own SLURM_ROOT and SLURM_PORT.
#
# Settings, from the environment:
: "${SLURM_ROOT:=/tmp/exaworks-slurm}" # the folder for everything; others must be able to enter it
: "${SLURM_PORT:=18600}"               # slurmctld; slurmdbd has the next, node i has + 10 + i
: "${SLURM_CLUSTER:=exatest}"          # the name of the cluster
: "${SLURM_NODES:=4}"                  # number of nodes
: "${SLURM_CPUS:=8}"                   # CPUs that each node claims to have
: "${SLURM_MEM:=16000}"                # MiB that each node claims to have
: "${SLURM_GPUS:=2}"                   # GPUs that each node claims to have
: "${SLURM_ACCOUNTING:=1}"             # 1: slurmdbd with MariaDB, so that sacct works; 0: without
: "${SLURM_ENFORCE:=}"                 # AccountingStorageEnforce, e.g. associations,limits,qos
: "${SLURM_EXTRA:=}"                   # further lines for slurm.conf
: "${SLURM_MPI:=0}"                    # 1: install adds Open MPI
: "${SLURM_MIN_JOB_AGE:=60}"           # seconds for which an ended job stays listed
: "${SLURM_KILL_WAIT:=5}"              # seconds between SIGTERM and SIGKILL
: "${SLURM_NODE_TIMEOUT:=20}"          # seconds until a silent node is taken for down
: "${SLURM_CRED_EXPIRE:=120}"           # seconds until a job that is requeued can start again
: "${SLURM_MSG_TIMEOUT:=10}"           # seconds that a command tries to reach an absent slurmctld
set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
NAME=slurm.sh
R=$SLURM_ROOT ETC=$SLURM_ROOT/etc LOG=$SLURM_ROOT/log RUN=$SLURM_ROOT/run
export SLURM_CONF=$ETC/slurm.conf

nodes() { seq -f 'node%g' 1 "$SLURM_NODES"; }

do_install() {
    local mpi=()
    [ "$SLURM_MPI" != 1 ] || mpi=(openmpi-bin)
    need_packages slurm-client slurmctld slurmd slurmdbd munge mariadb-server mariadb-client \
        slurm-wlm-basic-plugins slurm-wlm-mysql-plugin util-linux procps "${mpi[@]}"
    slurmctld -V
}

# render TEMPLATE FILE
render() {
    sed -e "s|@ROOT@|$R|g" -e "s|@LOG@|$LOG|g" -e "s|@RUN@|$RUN|g" \
        -e "s|@HOST@|$(hostname -s)|g" -e "s|@CLUSTER@|$SLURM_CLUSTER|g" \
        -e "s|@PORT@|$SLURM_PORT|g" -e "s|@DBDPORT@|$((SLURM_PORT + 1))|g" \
        -e "s|@MINJOBAGE@|$SLURM_MIN_JOB_AGE|g" -e "s|@KILLWAIT@|$SLURM_KILL_WAIT|g" \
        -e "s|@NODETIMEOUT@|$SLURM_NODE_TIMEOUT|g" -e "s|@MSGTIMEOUT@|$SLURM_MSG_TIMEOUT|g" \
        -e "s|@CREDEXPIRE@|$SLURM_CRED_EXPIRE|g" \
        -e "s|@UNKILLABLE@|$((SLURM_MSG_TIMEOUT * 6))|g" -e "s|@LOGLEVEL@|info|g" "$1" >"$2"
}

configure_accounting() {
    render "$HERE/slurm/slurmdbd.conf.in" "$ETC/slurmdbd.conf"
    chown slurm: "$ETC/slurmdbd.conf"
    chmod 600 "$ETC/slurmdbd.conf"
    cat <<-END
	AccountingStorageType=accounting_storage/slurmdbd
	AccountingStorageHost=127.0.0.1
	AccountingStoragePort=$((SLURM_PORT + 1))
	AccountingStoragePass=$R/munge/munge.socket
	END
    [ -z "$SLURM_ENFORCE" ] || echo "AccountingStorageEnforce=$SLURM_ENFORCE"
    [ "$SLURM_GPUS" = 0 ] || echo "AccountingStorageTRES=gres/gpu"
}

# Slurm insists on device files; each of our GPUs is another /dev/null.
configure_gpus() {
    local i device
    echo "GresTypes=gpu"
    for i in $(seq 0 $((SLURM_GPUS - 1))); do
        device=$R/dev/gpu$i
        [ -c "$device" ] || mknod -m 666 "$device" c 1 3 || ln -sf /dev/null "$device"
        echo "Name=gpu Type=a100 File=$device" >>"$ETC/gres.conf"
    done
}

configure_nodes() {
    local i gpus=
    [ "$SLURM_GPUS" = 0 ] || gpus=Gres=gpu:a100:$SLURM_GPUS
    cp /etc/hosts "$ETC/hosts"
    for i in $(seq 1 "$SLURM_NODES"); do
        echo "127.0.0.1 node$i" >>"$ETC/hosts"
        echo "NodeName=node$i NodeHostname=node$i NodeAddr=127.0.0.1 Port=$((SLURM_PORT + 10 + i))" \
            "CPUs=$SLURM_CPUS RealMemory=$SLURM_MEM $gpus State=UNKNOWN"
    done
    cat <<-END
	PartitionName=debug Nodes=ALL Default=YES MaxTime=30:00 DefaultTime=10:00 State=UP PriorityTier=10
	PartitionName=batch Nodes=ALL MaxTime=7-00:00:00 DefaultTime=1:00:00 State=UP PriorityTier=1
	PartitionName=small Nodes=node1 MaxTime=UNLIMITED MaxNodes=1 State=UP
	PartitionName=closed Nodes=ALL State=DOWN
	END
}

configure() {
    mkdir -p "$ETC" "$LOG" "$RUN" "$R/state" "$R/munge" "$R/dev" || die "cannot use $R"
    chmod 755 "$R" "$ETC" "$LOG" "$RUN" "$R/munge"
    chmod 700 "$R/state"
    chown slurm: "$R/state" "$LOG" "$RUN"
    : >"$ETC/gres.conf"
    render "$HERE/slurm/slurm.conf.in" "$ETC/slurm.conf.new"
    {
        [ "$SLURM_ACCOUNTING" != 1 ] || configure_accounting
        [ "$SLURM_GPUS" = 0 ] || configure_gpus
        configure_nodes
        [ -z "$SLURM_EXTRA" ] || printf '%s\n' "$SLURM_EXTRA"
    } >>"$ETC/slurm.conf.new"
    mv "$ETC/slurm.conf.new" "$ETC/slurm.conf"
    chmod 644 "$ETC/slurm.conf" "$ETC/gres.conf" "$ETC/hosts"
}

start_munge() {
    alive "$RUN/munged.pid" munged && return 0
    chown munge: "$R/munge"
    if [ ! -s "$R/munge/munge.key" ]; then
        (umask 077 && head -c 128 /dev/urandom >"$R/munge/munge.key")
        chown munge: "$R/munge/munge.key"
    fi
    rm -f "$R/munge/munge.socket"*
    runuser -u munge -- /usr/sbin/munged --force --socket="$R/munge/munge.socket" \
        --key-file="$R/munge/munge.key" --pid-file="$R/munge/munged.pid" \
        --log-file="$R/munge/munged.log" --seed-file="$R/munge/munged.seed" --num-threads=4 ||
        die "munged did not start, see $R/munge/munged.log"
    until_ok 5 test -s "$R/munge/munged.pid"
    cp "$R/munge/munged.pid" "$RUN/munged.pid"
}

start_mariadb() {
    local data=$R/mysql/data socket=$R/mysql/mysql.sock
    alive "$RUN/mariadbd.pid" mariadbd && return 0
    mkdir -p "$data"
    chown mysql: "$R/mysql"
    if [ ! -d "$data/mysql" ]; then
        mariadb-install-db --no-defaults --user=mysql --datadir="$data" --skip-test-db \
            --auth-root-authentication-method=normal --innodb-log-file-size=32M \
            >"$R/mysql/install.log" 2>&1 || die "no database, see $R/mysql/install.log"
    fi
    rm -f "$socket" "$R/mysql/mariadbd.pid"
    setsid mariadbd --no-defaults --user=mysql --datadir="$data" --socket="$socket" \
        --pid-file="$R/mysql/mariadbd.pid" --log-error="$R/mysql/mariadbd.log" \
        --skip-networking --skip-name-resolve --skip-log-bin --max-allowed-packet=16M \
        --innodb-buffer-pool-size=128M --innodb-log-file-size=32M --innodb-doublewrite=0 \
        --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=900 \
        </dev/null >/dev/null 2>&1 &
    until_ok 60 mariadb --no-defaults -uroot -S "$socket" -e 'select 1' ||
        die "mariadbd did not start, see $R/mysql/mariadbd.log"
    cp "$R/mysql/mariadbd.pid" "$RUN/mariadbd.pid"
    mariadb --no-defaults -uroot -S "$socket" -e "create database if not exists slurm_acct_db;
        create user if not exists slurm@localhost identified by 'slurm';
        grant all on slurm_acct_db.* to slurm@localhost" || die "no accounting database"
}

start_slurmdbd() {
    alive "$RUN/slurmdbd.pid" slurmdbd && return 0
    rm -f "$RUN/slurmdbd.pid"
    MYSQL_UNIX_PORT=$R/mysql/mysql.sock setsid slurmdbd </dev/null >/dev/null \
        2>>"$LOG/slurmdbd.err" || die "slurmdbd did not start, see $LOG/slurmdbd.log"
    until_ok 90 sacctmgr -n -i list cluster || die "slurmdbd is silent, see $LOG/slurmdbd.log"
    [ ! -e "$R/accounts" ] || return 0
    sacctmgr -i -Q add cluster "$SLURM_CLUSTER" >/dev/null
    sacctmgr -i -Q add account proj1,proj2 cluster="$SLURM_CLUSTER" >/dev/null
    sacctmgr -i -Q add user root account=proj1,proj2 >/dev/null
    : >"$R/accounts"
}

start_slurmctld() {
    local try
    alive "$RUN/slurmctld.pid" slurmctld && return 0
    # On a busy machine it may not answer in time when it starts from nothing.
    for try in 1 2 3; do
        rm -f "$RUN/slurmctld.pid"
        setsid slurmctld -f "$SLURM_CONF" </dev/null >/dev/null 2>>"$LOG/slurmctld.err" &&
            until_ok 20 scontrol ping && return 0
        say "slurmctld did not answer (try $try): $(tail -n 3 "$LOG/slurmctld.log" 2>&1)"
        kill_pidfile "$RUN/slurmctld.pid" 10
    done
    die "slurmctld did not start, see $LOG/slurmctld.log"
}

has_slurmd() { in_host "$R/nodes/$1" pgrep -x slurmd >/dev/null 2>&1; }

start_node() {
    local folder=$R/nodes/$1
    mkdir -p "$folder/spool"
    chmod 755 "$folder" "$folder/spool"
    alive "$folder/unshare.pid" unshare || spawn_host "$1" "$folder" "$ETC/hosts"
    has_slurmd "$1" && return 0
    in_host "$folder" env SLURM_CONF="$SLURM_CONF" setsid slurmd -N "$1" -f "$SLURM_CONF" \
        </dev/null >>"$folder/err" 2>&1 || die "$1 did not start, see $LOG/slurmd.$1.log"
}

stop_node() {
    local folder=$R/nodes/$1
    if alive "$folder/unshare.pid" unshare; then
        in_host "$folder" pkill -x slurmd 2>/dev/null
        until_ok 3 eval "! has_slurmd $1"
    fi
    kill_host "$folder"
    rm -f "$folder/slurmd.pid"
}

all_idle() {
    local up
    up=$(sinfo -h -N -p batch -o '%N %t' 2>/dev/null | sort -u | grep -c -E ' (idle|mix|alloc)$')
    [ "$up" -ge "$SLURM_NODES" ]
}

do_start() {
    local node
    need_root
    command -v slurmctld >/dev/null || die "not installed; run: $0 install"
    mkdir -p "$(dirname "$R")"
    exec 9>"${R%/}.lock"
    flock 9
    alive "$RUN/slurmctld.pid" slurmctld || configure
    reserve_ports "$SLURM_PORT" $((SLURM_PORT + 10 + SLURM_NODES))
    start_munge 9>&-
    if [ "$SLURM_ACCOUNTING" = 1 ]; then
        start_mariadb 9>&-
        start_slurmdbd 9>&-
    fi
    start_slurmctld 9>&-
    for node in $(nodes); do start_node "$node" 9>&-; done
    # Nodes that were lost, or drained because a lost controller had given ids away twice.
    for node in $(sinfo -h -N -p batch -o '%N %t' | awk '$2 ~ /^(down|drain|drng|fail)/ { print $1 }'); do
        scontrol update nodename="$node" state=resume 2>/dev/null
    done
    until_ok 30 all_idle || { sinfo -N -l >&2; die "not all nodes are up, see $LOG"; }
    say "up: SLURM_CONF=$SLURM_CONF"
}

do_status() {
    local node all=0
    state() { if "${@:2}"; then echo "$1 up"; else echo "$1 DOWN"; all=1; fi; }
    state munged alive "$RUN/munged.pid" munged
    if [ "$SLURM_ACCOUNTING" = 1 ]; then
        state mariadbd alive "$RUN/mariadbd.pid" mariadbd
        state slurmdbd alive "$RUN/slurmdbd.pid" slurmdbd
    fi
    state slurmctld alive "$RUN/slurmctld.pid" slurmctld
    for node in $(nodes); do state "$node" has_slurmd "$node"; done
    [ "$all" = 0 ] && sinfo
}

do_stop() {
    local folder jobs daemon
    [ -d "$R" ] || { say "there is nothing at $R"; return 0; }
    if alive "$RUN/slurmctld.pid" slurmctld; then
        jobs=$(timeout 10 squeue -h -o %A 2>/dev/null | sort -un)
        if [ -n "$jobs" ]; then
            # shellcheck disable=SC2086
            timeout 20 scancel -f $jobs 2>/dev/null
            until_ok $((SLURM_KILL_WAIT + 5)) eval '[ -z "$(squeue -h)" ]'
        fi
    fi
    for folder in "$R"/nodes/*/; do [ ! -d "$folder" ] || stop_node "$(basename "$folder")"; done
    for daemon in slurmctld slurmdbd mariadbd munged; do kill_pidfile "$RUN/$daemon.pid" 20; done
    say "stopped"
}

crash() { kill -9 "$(cat "$RUN/$1.pid")" && until_ok 5 gone "$(cat "$RUN/$1.pid")"; rm -f "$RUN/$1.pid"; }

case ${1:-} in
install) do_install ;;
start) do_start ;;
status) do_status ;;
stop) do_stop ;;
purge) do_stop; rm -rf "${R:?}" "${R%/}.lock" ;;
env) echo "export SLURM_CONF=$SLURM_CONF" ;;
crash-ctld) crash slurmctld ;;
crash-dbd) crash slurmdbd ;;
crash-slurmd) in_host "$R/nodes/$2" pkill -9 -x slurmd ;;
crash-node) kill_host "$R/nodes/$2"; rm -f "$R/nodes/$2/slurmd.pid" ;;
*) usage ;;
esac
