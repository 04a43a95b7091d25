#!/bin/bash
# A real (Son of) Grid Engine on one machine, from Debian packages. Needs root; needs no systemd.
#
#   gridengine.sh install          install the packages
#   gridengine.sh start            start it; what runs already is left alone
#   gridengine.sh status           one line a daemon, then qstat -f; succeeds if all is up
#   gridengine.sh stop             delete all jobs, stop the daemons
#   gridengine.sh purge            stop, and remove all files
#   gridengine.sh env              print what a shell needs to reach it: eval "$(gridengine.sh env)"
#
# To see how programs cope with failures ('start' brings everything back):
#   gridengine.sh crash-qmaster    SIGKILL the master; jobs run on
#   gridengine.sh crash-execd      SIGKILL the execution daemon; jobs run on
#
# One master and one execution daemon on this host, which has the queues all.q and debug.q (limit:
# 30 minutes), the parallel environments smp and mpi, the project proj1, and the resources gpu (a
# number for each job) and exclusive. Everything is in SGE_ROOT below the folder, also what the
# packages would have below /var/lib/gridengine. Several can run side by side, each with its own
# GE_ROOT and GE_PORT.
#
# Settings, from the environment:
: "${GE_ROOT:=/tmp/exaworks-gridengine}" # the folder for everything; others must be able to enter it
: "${GE_PORT:=18800}"                    # the master; the execution daemon has the next
: "${GE_SLOTS:=32}"                      # slots of all.q
: "${GE_GPUS:=4}"                        # GPUs that the host claims to have
: "${GE_UNHEARD:=00:00:30}"              # time after which a silent execution daemon is unknown
: "${GE_ACCOUNTING_DELAY:=00:00:01}"     # the longest that an entry of the accounting may take
set -u
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$HERE/lib.sh"
NAME=gridengine.sh
R=$GE_ROOT LOG=$GE_ROOT/log HOST=$(hostname)
export SGE_ROOT=$R/sge SGE_CELL=default SGE_ARCH=lx-amd64
export SGE_QMASTER_PORT=$GE_PORT SGE_EXECD_PORT=$((GE_PORT + 1))
LIB=/usr/lib/gridengine
PATH=$LIB:$PATH # the programs themselves: what is in /usr/bin are shell scripts around them
QMASTER=$R/qmaster/qmaster.pid

do_install() {
    # The packages are not to set up a cell of their own.
    command -v debconf-set-selections >/dev/null && debconf-set-selections <<-END
	gridengine-master shared/gridengineconfig boolean false
	gridengine-common shared/gridengineconfig boolean false
	END
    need_packages gridengine-master gridengine-exec gridengine-client procps
    dpkg-query -W gridengine-master
}

# The other names of the loopback addresses: the daemons would take them for other hosts.
loopback_names() {
    awk -v host="$HOST" '$1 == "127.0.0.1" || $1 == "127.0.1.1" {
        for (i = 2; i <= NF; i++) if ($i != host && $i != "localhost") printf " %s", $i }' /etc/hosts
}

# edit FILE NAME VALUE ...: set values in a configuration
edit() {
    local file=$1
    shift
    while [ $# -gt 1 ]; do
        sed -i -e "s|^$1 .*|$1 $2|" "$file"
        grep -q "^$1 " "$file" || echo "$1 $2" >>"$file"
        shift 2
    done
}

configure() {
    local common=$SGE_ROOT/$SGE_CELL/common folder
    mkdir -p "$common" "$R/qmaster/job_scripts" "$R/spooldb" "$R/execd" "$LOG" || die "cannot use $R"
    chmod 755 "$R"
    for folder in bin lib utilbin util; do
        ln -sfn "/var/lib/gridengine/$folder" "$SGE_ROOT/$folder"
    done
    sed -e "s|^spooling_params.*|spooling_params $R/spooldb|" \
        -e "s|^qmaster_spool_dir.*|qmaster_spool_dir $R/qmaster|" \
        /usr/share/gridengine/default-bootstrap >"$common/bootstrap"
    echo "$HOST" >"$common/act_qmaster"
    echo exatest >"$common/cluster_name"
    echo "$HOST localhost$(loopback_names)" >"$common/host_aliases"
    chown -R sgeadmin: "$SGE_ROOT" "$R/qmaster" "$R/spooldb" "$R/execd"
    [ ! -e "$R/spooldb/sge" ] || return 0
    cp /usr/share/gridengine/default-configuration "$R/configuration"
    edit "$R/configuration" execd_spool_dir "$R/execd" mailer /bin/true min_uid 0 min_gid 0 \
        load_report_time 00:00:05 max_unheard "$GE_UNHEARD" \
        reporting_params "accounting=true reporting=false flush_time=00:00:01 accounting_flush_time=$GE_ACCOUNTING_DELAY joblog=false sharelog=00:00:00"
    runuser -u sgeadmin -- env SGE_ROOT="$SGE_ROOT" SGE_CELL="$SGE_CELL" sh -ec "
        $LIB/spoolinit berkeleydb libspoolb $R/spooldb init
        $LIB/spooldefaults configuration $R/configuration
        $LIB/spooldefaults complexes /usr/share/gridengine/util/resources/centry
        $LIB/spooldefaults usersets /usr/share/gridengine/util/resources/usersets
        $LIB/spooldefaults managers sgeadmin root" >"$LOG/init" 2>&1 || die "no spool, see $LOG/init"
}

add_parallel_environment() { # NAME ALLOCATION_RULE
    cat >"$R/object" <<-END
	pe_name $1
	slots 999
	user_lists NONE
	xuser_lists NONE
	start_proc_args NONE
	stop_proc_args NONE
	allocation_rule $2
	control_slaves TRUE
	job_is_first_task TRUE
	urgency_slots min
	accounting_summary TRUE
	qsort_args NONE
	END
    qconf -Ap "$R/object" >/dev/null
}

# There are no load thresholds: else a busy machine would take no job.
add_queue() { # NAME SLOTS LIMIT
    qconf -sq >"$R/object"
    edit "$R/object" qname "$1" hostlist @allhosts slots "$2" h_rt "$3" load_thresholds NONE \
        pe_list "smp mpi" tmpdir /tmp
    qconf -Aq "$R/object" >/dev/null
}

add_objects() {
    [ ! -e "$R/complete" ] || return 0
    qconf -as "$HOST" >/dev/null
    qconf -ah "$HOST" >/dev/null 2>&1
    qconf -sc >"$R/object"
    cat >>"$R/object" <<-END
	gpu gpu INT <= YES JOB 0 0
	exclusive excl BOOL EXCL YES YES 0 1000
	END
    qconf -Mc "$R/object" >/dev/null
    cat >"$R/object" <<-END
	hostname $HOST
	load_scaling NONE
	complex_values gpu=$GE_GPUS,exclusive=true
	user_lists NONE
	xuser_lists NONE
	projects NONE
	xprojects NONE
	usage_scaling NONE
	report_variables NONE
	END
    qconf -Ae "$R/object" >/dev/null
    printf 'group_name @allhosts\nhostlist %s\n' "$HOST" >"$R/object"
    qconf -Ahgrp "$R/object" >/dev/null
    add_parallel_environment smp '$pe_slots'
    add_parallel_environment mpi '$round_robin'
    add_queue all.q "$GE_SLOTS" INFINITY
    add_queue debug.q 4 0:30:0
    printf 'name proj1\noticket 0\nfshare 0\nacl NONE\nxacl NONE\n' >"$R/object"
    qconf -Aprj "$R/object" >/dev/null
    qconf -ssconf >"$R/object"
    # As Debian sets it up, the priority of a job means nothing, and the time that it waits all.
    edit "$R/object" schedule_interval 0:0:1 flush_submit_sec 1 flush_finish_sec 1 \
        job_load_adjustments NONE maxujobs 0 weight_priority 1.0 \
        weight_urgency 0.1 weight_waiting_time 0 weight_ticket 0.01
    qconf -Msconf "$R/object" >/dev/null
    # Jobs are not to run the files of a login: these may be slow, and jobs get killed in them.
    qconf -sconf | sed 's/^login_shells .*/login_shells none/' >"$R/global"
    qconf -Mconf "$R/global" >/dev/null
    rm -f "$R/global"
    rm -f "$R/object"
    : >"$R/complete"
}

# The execution daemon names its folder after the host as it sees it.
execd() { alive "$(echo "$R"/execd/*/execd.pid)" sge_execd; }

# SGE_ND keeps a daemon from going to the background on its own.
launch() { SGE_ND=1 setsid "/usr/sbin/$1" </dev/null >>"$LOG/$1" 2>&1 9>&- & }

reports_load() { qhost -h "$HOST" | tail -n +4 | grep -v -q ' - .* - .* - '; }

do_start() {
    need_root
    [ -x /usr/sbin/sge_qmaster ] || die "not installed; run: $0 install"
    mkdir -p "$(dirname "$R")"
    exec 9>"${R%/}.lock"
    flock 9
    reserve_ports "$GE_PORT" "$SGE_EXECD_PORT"
    if ! alive "$QMASTER" sge_qmaster; then
        configure
        rm -f "$QMASTER"
        launch sge_qmaster
        until_ok 30 qconf -sh || die "no answer, see $LOG/sge_qmaster and $R/qmaster/messages"
    fi
    add_objects
    if ! execd; then
        rm -f "$R"/execd/*/execd.pid
        launch sge_execd
        until_ok 10 execd || die "sge_execd did not start, see $LOG/sge_execd"
    fi
    until_ok 30 reports_load || die "the host reports no load, see $R/execd/*/messages"
    say "up: SGE_ROOT=$SGE_ROOT"
}

do_status() {
    local all=0
    state() { if "${@:2}"; then echo "$1 up"; else echo "$1 DOWN"; all=1; fi; }
    state sge_qmaster alive "$QMASTER" sge_qmaster
    state sge_execd execd
    [ "$all" = 0 ] && qstat -f
}

# Jobs that an execution daemon has left behind; their shepherds work in folders of its own.
kill_shepherds() {
    local pid
    for pid in $(pgrep -x sge_shepherd); do
        case $(readlink "/proc/$pid/cwd") in "$R"/*) pkill -9 -P "$pid"; kill -9 "$pid" ;; esac
    done 2>/dev/null
}

do_stop() {
    [ -d "$R" ] || { say "there is nothing at $R"; return 0; }
    if alive "$QMASTER" sge_qmaster; then
        timeout 20 qdel -f -u '*' >/dev/null 2>&1
        until_ok 6 eval '! qstat -u "*" | grep -q .'
        # Unlike SIGTERM, this also ends what jobs are left.
        execd && timeout 10 qconf -kej "$HOST" >/dev/null 2>&1 && until_ok 8 eval '! execd'
    fi
    kill_pidfile "$(echo "$R"/execd/*/execd.pid)" 10
    kill_shepherds
    kill_pidfile "$QMASTER" 15
    say "stopped"
}

crash() { kill -9 "$(cat "$1")" && until_ok 5 gone "$(cat "$1")"; }

case ${1:-} in
install) do_install ;;
start) do_start ;;
status) do_status ;;
stop) do_stop ;;
purge) do_stop; rm -rf "${R:?}" "${R%/}.lock" ;;
env)
    echo "export SGE_ROOT=$SGE_ROOT SGE_CELL=$SGE_CELL SGE_ARCH=$SGE_ARCH" \
        "SGE_QMASTER_PORT=$SGE_QMASTER_PORT SGE_EXECD_PORT=$SGE_EXECD_PORT"
    echo "export PATH=$LIB:\$PATH"
    ;;
crash-qmaster) crash "$QMASTER" ;;
crash-execd) crash "$(echo "$R"/execd/*/execd.pid)" ;;
*) usage ;;
esac
