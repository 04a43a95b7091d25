"""Pieces of shell for jobs of Flux. What goes wrong, and states, they tell by memos on the job."""

from __future__ import annotations

from collections.abc import Sequence

from exaworks.psij import script
from exaworks.psij.executors.flux.events import END_MEMO, STATE_MEMO
from exaworks.psij.job import Job
from exaworks.psij.job_launcher import Launcher, PrefixLauncher
from exaworks.psij.validate import resources

__all__ = ["NESTED_COMMAND", "SHELL", "RunLauncher", "guard_text", "script_text"]

SHELL = ("/bin/bash", "--norc", "-c")
"""The command that runs the script given as its next word.

Standard input of a task is a socket, from which bash concludes that it is run by a remote shell
daemon and must read ``.bashrc`` (Bash manual, section 6.2), unless it is told not to.
"""

# The folder of the broker's socket has a link to the flux command of the instance. What is not
# UTF-8 cannot be in a memo.
_TELL = """\
_psij_uri=${_psij_outer_uri:-$FLUX_URI}
_psij_id=${_psij_outer_id:-$FLUX_JOB_ID}
unset _psij_outer_uri _psij_outer_id
_psij_flux=${_psij_uri#local://}
_psij_flux=${_psij_flux%%/*}/bin/flux
[ -x "$_psij_flux" ] || _psij_flux=flux
_psij_tell() { # KEY=VALUE
    FLUX_URI=$_psij_uri "$_psij_flux" job memo "$_psij_id" "$1" </dev/null >/dev/null 2>&1 ||
        FLUX_URI=$_psij_uri "$_psij_flux" job memo "$_psij_id" \\
            "$(printf %%s "$1" | LC_ALL=C tr -cd '\\12\\40-\\176')" </dev/null >/dev/null 2>&1
}
"""

_MEMOS = {"end": END_MEMO, "state": STATE_MEMO}

# Runs before each task and becomes the task. Arguments: directory, file for standard input, and the
# command. One task of each node tells what is wrong; the others give it the time to do so before
# they end, and thereby the job.
_GUARD = """\
_psij_fail() {
    echo "$1" >&2
    if [ "${FLUX_TASK_LOCAL_ID:-0}" = 0 ]; then _psij_tell "%(end)s=setup: $1"; else sleep 1; fi
    exit 1
}
if [ -n "$0" ]; then
    cd -- "$0" 2>/dev/null || _psij_fail "cannot enter the job's directory $0 on $(hostname): \
it must exist and be accessible there"
fi
if [ -n "$1" ]; then
    command exec <"$1" || _psij_fail "cannot open the job's standard input $1"
fi
shift
_PSI_J_PROCESS_INDEX_=$((FLUX_TASK_RANK + 1))
_PSI_J_PROCESS_COUNT=$FLUX_JOB_SIZE
export _PSI_J_PROCESS_INDEX_ _PSI_J_PROCESS_COUNT
exec "$@"
"""

_FIRST_NODE_ONLY = '[ "${FLUX_TASK_RANK:-0}" = 0 ] || exit 0\n'

_FUNCTIONS = """\
_psij_step=
_psij_event() { # STATE
    _psij_step=$1
    case " %(told)s " in *" $1 "*) _psij_tell "%(state)s=$1" ;; esac
}
_psij_record() { # CODE TERM MESSAGE
    if [ "$1" -eq 0 ]; then
        [ -z "$_psij_log" ] || rm -f -- "$_psij_log"
        return
    fi
    _psij_about=$_psij_phase
    [ "$_psij_about,$_psij_step" != setup,STAGE_IN ] || _psij_about=stage-in
    case $_psij_about,$1 in launch,12[67]) set -- "$1" "$2" "$3" told ;; esac
    [ -z "$3$4" ] || _psij_tell "%(end)s=$_psij_about: $3"
}
"""

_LOG = """\
_psij_log=%s
if mkdir -p -- "${_psij_log%%/*}" && : >"$_psij_log"; then
    exec >>"$_psij_log" 2>&1
else
    _psij_log=
fi
"""

# The nodes of the job, a line for each process, from the list of hosts (RFC 29) in its R.
_NODEFILE = """\
PSIJ_NODEFILE=${FLUX_JOB_TMPDIR:-/tmp}/exaworks.nodes.$$
{
    if [ %(nodes)d -gt 1 ]; then
        FLUX_URI=$_psij_uri "$_psij_flux" job info "$_psij_id" R |
            sed -e 's/.*"nodelist": *\\["//' -e 's/"\\].*//' -e 's/", *"/,/g'
    else
        hostname
    fi
} | awk -v copies=%(copies)d '
function put(name,  i) { for (i = 0; i < copies; i++) print name }
function expand(item,  open, shut, parts, n, i, ends, k) {
    open = index(item, "[")
    if (!open) { put(item); return }
    shut = index(item, "]")
    n = split(substr(item, open + 1, shut - open - 1), parts, ",")
    for (i = 1; i <= n; i++) {
        if (split(parts[i], ends, "-") < 2) ends[2] = ends[1]
        for (k = ends[1] + 0; k <= ends[2] + 0; k++)
            expand(substr(item, 1, open - 1) \\
                sprintf("%%0" length(ends[1]) "d", k) substr(item, shut + 1))
    }
}
{
    item = ""
    for (at = 1; at <= length($0); at++) {
        c = substr($0, at, 1)
        if (c == "[") inside = 1
        if (c == "]") inside = 0
        if (c == "," && !inside) { expand(item); item = "" } else item = item c
    }
    if (item != "") expand(item)
}' >"$PSIJ_NODEFILE"
export PSIJ_NODEFILE
"""


def guard_text() -> str:
    """What runs before each task of a parallel job, for ``sh -c``."""
    return (_TELL + _GUARD) % _MEMOS


def script_text(
    job: Job,
    launcher: Launcher,
    cwd: str,
    log: str | None,
    exports: bool,
    nested: bool,
    site_setup: Sequence[str] = (),
) -> str:
    """A script (of bash) for a whole job.

    Args:
        job: the job, checked.
        launcher: its launcher.
        cwd: the directory to run in if the job names none.
        log: the file for what the script itself prints; ``None``: nowhere.
        exports: set the job's environment variables too.
        nested: it runs in an instance of its own, see :data:`NESTED_COMMAND`.
        site_setup: lines of shell that the site wants to be run first.
    """
    spec = job.spec
    assert spec is not None
    needs = resources(job)
    told = [
        *(["ACTIVE"] if spec.stage_in else []),
        *(["STAGE_OUT"] if spec.stage_out else []),
        *(["CLEANUP"] if spec.cleanup else []),
    ]
    limit = spec.attributes.duration
    nodes, count = needs.computed_node_count, needs.computed_process_count
    copies = needs.computed_processes_per_node if nodes > 1 else count
    return "\n".join(
        [
            (_FIRST_NODE_ONLY if nodes > 1 and not nested else "") + (_TELL % ()).rstrip(),
            (_FUNCTIONS % {**_MEMOS, "told": " ".join(told)}).rstrip(),
            _LOG % script.quote(log) if log is not None else "_psij_log=",
            *([(_NODEFILE % {"nodes": nodes, "copies": copies}).rstrip()] if count > 1 else []),
            *site_setup,
            *script.element(job, launcher, cwd, exports=exports),
            script.batch_body(spec, launcher, int(limit.total_seconds()) if limit else None),
        ]
    )


# One of these runs on each node; together they are an instance of Flux in which the script, on the
# first node, can start parallel programs.
_NESTED = """\
_psij_outer_uri=$FLUX_URI
_psij_outer_id=$FLUX_JOB_ID
export _psij_outer_uri _psij_outer_id
_psij_flux=${FLUX_URI#local://}
_psij_flux=${_psij_flux%/*}/bin/flux
[ -x "$_psij_flux" ] || _psij_flux=flux
exec "$_psij_flux" start /bin/bash --norc -c "$0"
"""
NESTED_COMMAND = ("/bin/sh", "-c", _NESTED)
"""The command that runs the script given as its next word in an instance of its own."""


class RunLauncher(PrefixLauncher):
    """Starts the processes with ``flux run`` (flux-run(1)), in an instance of the job's own."""

    def prefix(self, job: Job) -> list[str]:
        """``flux run`` with tasks, nodes, cores and GPUs."""
        needs = resources(job)
        words = ["flux", "run", f"--ntasks={needs.computed_process_count}"]
        if needs.computed_node_count > 1:
            words.append(f"--nodes={needs.computed_node_count}")
        if needs.cpu_cores_per_process is not None:
            words.append(f"--cores-per-task={needs.cpu_cores_per_process}")
        if needs.gpu_cores_per_process:
            words.append(f"--gpus-per-task={needs.gpu_cores_per_process}")
        return words
