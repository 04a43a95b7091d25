"""The executor for Task Spooler, a queue of commands on one machine (tsp(1), version 1.0).

``tsp COMMAND`` puts a command into the queue and prints its number; ``tsp`` lists all commands;
``tsp -r`` and ``tsp -k`` remove and kill one. That is all that a scheduler needs.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime

from exaworks.psij import InvalidJobException, JobInfo, JobSpec, JobState, Reason
from exaworks.psij.executors.batch import (
    Accepted,
    Answer,
    BatchExecutor,
    Details,
    Observation,
    Option,
    Rejected,
    Request,
    SchedulerAdapter,
    Site,
)
from exaworks.psij.runner import Command, CommandResult

__all__ = ["TaskSpoolerAdapter", "TaskSpoolerJobExecutor"]

# ID, state, file of the output, exit code and times if it has ended, and the command behind its
# label. Our label is the name of the submission and the name of the job.
_LINE = re.compile(
    r"(\d+) +(queued|allocating|running|finished|skipped) +\S+ +(?:(-?\d+) +\S+ +)?"
    r"\[([\w-]+):([^\]]*)\]",
    re.ASCII,
)
_TIMED_OUT = 124  # timeout(1)

# With -n, which keeps it from storing the output, it does not print the number; so that is found by
# the label, here and in the job, whose script has the name of the submission.
_NUMBER = """tsp -l | sed -n "s/^\\([0-9]*\\) .*\\[$%s:.*/\\1/p" | head -n 1"""
_SUBMIT = 'label=$1; shift; tsp -n "$@" >/dev/null && ' + _NUMBER % "label"
_OWN_ID = f"$(_psij_label=${{0##*/}}; _psij_label=${{_psij_label%.sh}}; {_NUMBER % '_psij_label'})"

_CANCEL = """\
for id; do
    case $(tsp -s "$id") in
    running) tsp -k "$id" ;;
    finished | skipped) ;;
    *) tsp -r "$id" ;;
    esac
done"""

_DETAILS = """\
id -un
tsp -l
for id; do
    echo "ID: $id"
    tsp -i "$id" 2>/dev/null
done"""


def _sh(text: str, words: Collection[str] = ()) -> Command:
    return Command(("/bin/sh", "-c", text, "tsp", *words))


class TaskSpoolerAdapter(SchedulerAdapter):
    """What there is to know about Task Spooler. A native id is the number that it gives."""

    name = "task_spooler"
    title = "Task Spooler"
    directive = ""
    script_file = True
    can_hold = False
    shell_id = _OWN_ID
    shell_element_id = _OWN_ID
    shell_index = "0"
    shell_restarts = "0"
    shell_nodes = "$(hostname)"
    shell_site = "task_spooler"
    shell_node_list = "hostname"

    # -- submission

    def options(self, request: Request) -> list[Option]:
        """The limit, the number of slots, the name and the log."""
        spec = request.spec
        for key in spec.attributes.custom_attributes or {}:
            if key.startswith("task_spooler."):
                raise InvalidJobException(f"custom attribute {key!r}: there are none")
        limit = spec.attributes.duration if spec.attributes.duration_given else None
        cores = request.needs.computed_process_count * (request.needs.cpu_cores_per_process or 1)
        return [
            ("limit", str(limit.total_seconds()) if limit is not None else "0"),
            ("slots", str(cores)),
            ("name", re.sub(r"[\]\n]", "_", request.name or "")),
            ("log", request.log),
            ("environment", "all" if spec.inherit_environment else "none"),
        ]

    def log_path(self, stem: str, array: bool) -> str:
        """The script's output goes there through the shell."""
        return f"{stem}.log"

    def setup(self, spec: JobSpec) -> list[str]:
        """Nothing."""
        return []

    def submit_command(
        self, options: Sequence[Option], outside: Sequence[Option], script: bytes, path: str
    ) -> Command:
        """``tsp`` with the script, which lies in a file until the job has ended."""
        said = dict(option for option in options if len(option) == 2)
        label = path.rpartition("/")[2].removesuffix(".sh")
        words = [label, "-N", said["slots"], "-L", f"{label}:{said['name']}"]
        if said["limit"] != "0":
            words += ["timeout", "-k", "5", said["limit"]]
        if said["environment"] == "none":
            words += ["env", "-i", "PATH=/usr/bin:/bin"]
        words += ["/bin/sh", "-c", 'exec "$0" >"$1" 2>&1', path, said["log"]]
        return _sh(_SUBMIT, words)

    def parse_submit(self, result: CommandResult, array_count: int | None) -> Accepted | Rejected:
        """The number is printed."""
        if result.ok and result.stdout.strip().isdigit():
            return Accepted([result.stdout.strip()])
        return Rejected(result.complaint(), uncertain=result.unanswered)

    def site_command(self) -> Command:
        """Whether it is there."""
        return Command(("tsp", "-l"))

    def parse_site(self, result: CommandResult) -> Site | None:
        """There are no arrays."""
        return Site("task_spooler") if result.ok else None

    def ping_command(self) -> Command:
        """Its queue is started by the first command, so this only fails if it is not installed."""
        return Command(("tsp", "-l"))

    def parse_ping(self, result: CommandResult) -> str | None:
        """See :meth:`ping_command`."""
        return None if result.ok else result.complaint()

    # -- status

    def record_name(self, native_id: str) -> tuple[str | None, str]:
        """Jobs know their number."""
        return "task_spooler", native_id

    def check_id(self, native_id: str) -> str | None:
        """It must be a number."""
        if native_id.isascii() and native_id.isdigit():
            return None
        return f"{native_id!r} is not the number of a job of Task Spooler"

    def query_commands(self, native_ids: Collection[str]) -> list[Command]:
        """One list of all, which is short."""
        return [Command(("tsp", "-l"))]

    def parse_query(self, result: CommandResult) -> Answer:
        """A job that has been cleared from the list has left a record."""
        if not result.ok:
            return Answer(problem=result.complaint())
        matches = map(_LINE.match, result.stdout.split("\n"))
        return Answer([_observation(match) for match in matches if match is not None])

    def accounting_commands(self, native_ids: Collection[str]) -> list[Command]:
        """There is none."""
        return []

    def parse_accounting(self, result: CommandResult) -> Answer:
        """There is none."""
        return Answer(unavailable=True)

    # -- management

    def cancel_commands(self, native_ids: Collection[str]) -> list[Command]:
        """Remove or kill them, depending on the state."""
        return [_sh(_CANCEL, native_ids)]

    def hold_commands(self, native_ids: Collection[str]) -> list[Command]:
        """It cannot hold jobs."""
        return []

    def release_commands(self, native_ids: Collection[str]) -> list[Command]:
        """It cannot hold jobs."""
        return []

    def parse_request(self, result: CommandResult) -> Rejected | None:
        """What has ended meanwhile cannot be cancelled any more, which is no problem."""
        return None if result.returncode is not None else Rejected(result.complaint())

    def list_command(self) -> Command:
        """All jobs."""
        return Command(("tsp", "-l"))

    def parse_list(self, result: CommandResult) -> list[str]:
        """Those that have not ended."""
        seen = self.parse_query(result).observations
        return [each.native_id for each in seen if each.state is not None and not each.state.final]

    def logs_command(self) -> Command:
        """All jobs; the label tells the submission."""
        return Command(("tsp", "-l"))

    def parse_logs(self, result: CommandResult) -> dict[str, str]:
        """The name of the file is all that is asked for."""
        matches = map(_LINE.match, result.stdout.split("\n"))
        return {match[1]: match[4] for match in matches if match is not None}

    def details_commands(
        self, native_ids: Collection[str] | None, owner: str | None
    ) -> list[Command]:
        """Details of each job; of one's own only, because everybody has a queue of his own."""
        if native_ids is not None:
            return [_sh(_DETAILS, native_ids)]
        mine = '[ "${1:-$(id -un)}" = "$(id -un)" ] || exit 0\n'
        every = "set -- $(tsp -l | sed -n 's/^\\([0-9][0-9]*\\) .*/\\1/p')\n"
        return [_sh(mine + every + _DETAILS, [owner or ""])]

    def parse_details(self, result: CommandResult) -> list[Details]:
        """Read the list, and what follows about each job."""
        owner = result.stdout.partition("\n")[0]
        listed = {}
        for match in map(_LINE.match, result.stdout.split("\n")):
            if match is not None:
                listed[match[1]] = (_observation(match), match[5])
        found = []
        for part in result.stdout.split("\nID: ")[1:]:
            seen, name = listed.get(part.partition("\n")[0], (None, ""))
            if seen is None:
                continue
            info = JobInfo(
                owner=owner,
                submission_time=_time(part, "Enqueue"),
                dispatch_time=_time(part, "Start"),
            )
            found.append(Details(seen, info, JobSpec(name=name or None)))
        return found


def _time(text: str, what: str) -> datetime | None:
    found = re.search(rf"^{what} time: (.+)$", text, re.MULTILINE)
    return datetime.strptime(found[1], "%a %b %d %H:%M:%S %Y") if found else None


def _observation(match: re.Match[str]) -> Observation:
    native_id, word, code = match[1], match[2], int(match[3] or 0)
    if word in ("queued", "allocating"):
        return Observation(native_id, JobState.QUEUED, word)
    if word == "running":
        return Observation(native_id, JobState.ACTIVE, word)
    if word == "skipped":
        return Observation(native_id, JobState.CANCELED, word, reason=Reason.CANCELED)
    if code == 0:
        return Observation(native_id, JobState.COMPLETED, word, 0)
    if code == _TIMED_OUT:
        message = "ran longer than its time limit"
        return Observation(
            native_id, JobState.FAILED, word, None, None, Reason.TIMEOUT, None, message
        )
    if code < 0:  # ended by a signal from outside, as tsp -k sends it
        message = "was killed"
        return Observation(
            native_id, JobState.CANCELED, word, None, None, Reason.CANCELED, None, message
        )
    return Observation(native_id, JobState.FAILED, word, code)


class TaskSpoolerJobExecutor(BatchExecutor):
    """Submits to Task Spooler."""

    ADAPTER = TaskSpoolerAdapter
