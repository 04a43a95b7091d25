"""Shell for Grid Engine: what its jobs do, and questions that take more than one command."""

from __future__ import annotations

from exaworks.psij.executors.grid_engine_output import ACCOUNTING_FIELDS

__all__ = ["ACCOUNTING_SCRIPT", "CLUSTER", "HOSTS", "SETUP", "SITE_SCRIPT"]

CLUSTER = 'cat "$SGE_ROOT/${SGE_CELL:-default}/common/cluster_name" 2>/dev/null'
"""Prints the name of the cluster. It fails if the installation has none."""

SITE_SCRIPT = f"""\
printf 'cluster %s\\n' "$({CLUSTER} || echo default)"
exec qconf -sconf"""
"""For ``sh -c``: prints facts about the installation."""

# One pass through the accounting, however many jobs it is about. It is a long file.
ACCOUNTING_SCRIPT = f"""\
qacct -o "$(id -un)" -d 7 -j | grep -E '^(=====|{"|".join(ACCOUNTING_FIELDS)})'
"""
"""For ``sh -c``: prints what the accounting knows of the user's jobs."""

# $PE_HOSTFILE has lines like "host 4 all.q@host UNDEFINED".
HOSTS = """\
_psij_hosts() { # SLOTS of a process
    if [ ! -r "${PE_HOSTFILE:-}" ]; then
        printf '%s\\n' "$HOSTNAME"
        return
    fi
    while read -r _psij_host _psij_slots _psij_rest; do
        _psij_slots=$((_psij_slots / $1))
        while [ "$_psij_slots" -gt 0 ]; do
            printf '%s\\n' "$_psij_host"
            _psij_slots=$((_psij_slots - 1))
        done
    done <"$PE_HOSTFILE"
}
_psij_hosts 1"""
"""Prints the host of each slot, and defines how that is done for wider processes."""

# SIGUSR1, SIGUSR2 and SIGXCPU are how Grid Engine announces limits (s_rt, s_cpu) and, with -notify,
# that it will stop or kill the job. They reach the job and the script: the job decides, and the
# script notes that there is more to its end than the job's exit code.
#
# At its end, the script is to leave with an exit code, after it has reported. Grid Engine would
# run the job again if that were 99, and keep it in the queue if it were 100. And it must be told
# from a script that was killed, so it does not kill itself by the signal that has ended the job,
# unless Grid Engine has sent that. A shell in POSIX mode does not let these names be functions.
SETUP = """\
_psij_nodes=${_psij_nodes:-$HOSTNAME}
_psij_notified=
trap '_psij_notified=1' USR1 USR2 XCPU
case :$SHELLOPTS: in
*:posix:*) ;;
*) eval '
    exit() {
        [ -z "$_psij_ended" ] || case ${1:-} in 99 | 100) set -- 1 ;; esac
        builtin exit "$@"
    }
    kill() {
        [ -z "$_psij_ended" ] || [ -n "$_psij_notified" ] || return 0
        [ -z "$_psij_ended" ] || trap - USR1 USR2 XCPU
        builtin kill "$@"
    }' ;;
esac"""
"""For the beginning of a job script."""
