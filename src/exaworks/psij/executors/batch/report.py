"""What a job script tells about itself: small text files that it writes while it runs.

A report is written with one ``printf`` of the shell, and ends with a line that says so: without
that line it is not complete yet. Its values are of the scheduler and of our own scripts, one
``name=value`` a line; only the last, ``message``, may have several lines.
"""

from __future__ import annotations

from dataclasses import dataclass

from exaworks.psij.job_state import JobState
from exaworks.psij.script import quote

__all__ = ["END", "Report", "parse_report", "shell_functions"]

END = "END"
"""The state of a report that says that the script has ended."""

_LAST_LINE = b"\n--end--\n"
_STATES = {
    state.name: state
    for state in (JobState.STAGE_IN, JobState.ACTIVE, JobState.STAGE_OUT, JobState.CLEANUP)
}


@dataclass(frozen=True)
class Report:
    """One report of a job script.

    Attributes:
        token: which submission the script belongs to.
        native_id: the job, as the scheduler named it in the job.
        time: when it was written, in seconds since the epoch.
        state: the state that the job has entered; ``None``: the script has ended.
        restarts: how often the job was put back into the queue before.
        code: the exit code; 128 + n if signal n ended the job.
        terminated: whether the script was sent SIGTERM.
        phase: what the script was about when it ended, see :mod:`exaworks.psij.script`.
        step: the last state it had entered.
        nodes: the nodes, as the scheduler writes them.
        log: the file that the script itself printed to.
        message: why it could not run the job, if it could not.
        index: the number of the element in its array, from 0.
    """

    token: str
    native_id: str
    time: float
    state: JobState | None
    restarts: int = 0
    code: int = 0
    terminated: bool = False
    phase: str = ""
    step: str = ""
    begun: float | None = None
    ended: float | None = None
    nodes: str | None = None
    log: str | None = None
    message: str | None = None
    index: int = 0

    @property
    def signal(self) -> int | None:
        """The signal that ended the job, judging by the exit code."""
        return self.code - 128 if 128 < self.code <= 159 else None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() else None


def parse_report(data: bytes, written: float) -> Report | None:
    """Read a report.

    Args:
        data: what is in the file.
        written: when the file was last changed, in seconds since the epoch.

    Returns:
        the report; ``None`` if it is not complete or not a report at all.
    """
    if not data.endswith(_LAST_LINE):
        return None
    text = data[: -len(_LAST_LINE)].decode("utf-8", "surrogateescape")
    head, found, message = text.partition("\nmessage=")
    values = dict(line.partition("=")[::2] for line in head.split("\n"))
    state, code = values.get("state"), _number(values.get("code"))
    if not found or not values.get("token") or (state not in _STATES and state != END):
        return None
    if state == END and code is None:
        return None
    return Report(
        token=values["token"],
        native_id=values.get("id", ""),
        time=written,
        state=None if state == END else _STATES[state or ""],
        restarts=_number(values.get("restarts")) or 0,
        code=code or 0,
        terminated=values.get("term") == "1",
        phase=values.get("phase", ""),
        step=values.get("step", "") if values.get("step") in _STATES else "",
        begun=_number(values.get("begun")),
        ended=_number(values.get("ended")),
        nodes=values.get("nodes") or None,
        log=values.get("log") or None,
        message=message or None,
        index=_number(values.get("index")) or 0,
    )


# A job may run for weeks; whoever submitted it, and the folder for its reports, may be gone by
# then. So nothing that fails here may harm the job.
_FUNCTIONS = """\
_psij_report() { # FILE STATE CODE TERM MESSAGE
    { printf '%s\\n' "token=$_psij_token" "id=$_psij_id" "index=$_psij_index" "state=$2" \\
        "restarts=$_psij_restarts" "code=$3" "term=$4" "phase=$_psij_phase" "step=$_psij_step" \\
        "begun=$_psij_begun" "ended=$_psij_ended" "nodes=$_psij_nodes" "log=$_psij_log" \\
        "message=$5" '--end--' >"$1"; } 2>/dev/null
}
_psij_event() { # STATE
    _psij_step=$1
    _psij_report "$_psij_inbox/$_psij_token.$_psij_id.$_psij_restarts.$1" "$1" 0 0 ''
}
_psij_record() { # CODE TERM MESSAGE
    _psij_ended=$(command -p date +%s)
    if [ "$2" = 0 ] && _psij_stopped; then
        set -- "$1" 1 "$3"
    fi
    _psij_useless=$_psij_nodefile
    if [ "$2" = 0 ] && [ "$1" -le 128 ] && [ "$_psij_keep" = 0 ] &&
        { [ "$1" = 0 ] || [ ! -s "$_psij_log" ]; }; then
        _psij_useless=$_psij_log
        _psij_log=
    fi
    [ -d "$_psij_records" ] || command -p mkdir -p -- "$_psij_records" 2>/dev/null
    _psij_report "$_psij_records/$_psij_id" END "$1" "$2" "$3"
    _psij_report "$_psij_inbox/$_psij_token.$_psij_id.$_psij_restarts.END" END "$1" "$2" "$3"
    command -p rm -f -- "$_psij_nodefile" "$_psij_useless" 2>/dev/null
}
"""


def shell_functions(
    token: str, inbox: str, records: str, log: str, keep: bool, native: dict[str, str]
) -> str:
    """The part of a job script that defines how it reports.

    Args:
        token: the submission.
        inbox: the folder for reports to the process that submits.
        records: the folder for the reports of the ends of jobs.
        log: a shell word for the file that the script itself prints to.
        keep: keep that file also after success.
        native: shell words for ``id``, ``index``, ``restarts``, ``nodes`` and ``site``, and the
            shell command ``stopped``.
    """
    lines = [
        f"_psij_token={quote(token)}",
        f"_psij_id={native['id']}",
        f"_psij_index={native['index']}",
        f"_psij_restarts={native['restarts']}",
        f"_psij_nodes={native['nodes']}",
        f"_psij_inbox={quote(inbox)}",
        f"_psij_records={quote(records)}/{native['site']}",
        f"_psij_log={log}",
        f"_psij_keep={int(keep)}",
        "_psij_step= _psij_phase= _psij_begun= _psij_ended=",
        "_psij_nl='\n'",
        f"_psij_stopped() {{ {native['stopped']}; }}",
    ]
    return "\n".join(lines) + "\n" + _FUNCTIONS
