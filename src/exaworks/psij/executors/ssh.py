"""The executor for machines without a scheduler, which are reached over SSH.

A job begins when it is submitted. What a scheduler does elsewhere is done by the shell text of
:mod:`exaworks.psij.executors.ssh_scripts`; nothing needs to be installed there.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import datetime

from exaworks.psij.exceptions import InvalidJobException
from exaworks.psij.executors import ssh_scripts
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
from exaworks.psij.job_executor_config import JobExecutorConfig
from exaworks.psij.job_info import JobInfo
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import Reason
from exaworks.psij.runner import Command, CommandResult

__all__ = ["SshAdapter", "SshJobExecutor"]

_ID = re.compile(r"\d+-\d+", re.ASCII)
_DETAILS = re.compile(r"(\S+ \S+ \S+) (\d+) (.*)", re.ASCII)
_MOST_ELEMENTS = 1000

_STATES = {
    "HELD": (JobState.QUEUED, None, None),
    "RUNNING": (JobState.ACTIVE, None, None),
    "ENDED": (JobState.COMPLETED, None, None),
    "TIMEOUT": (JobState.FAILED, Reason.TIMEOUT, "ran longer than its time limit"),
    "CANCELED": (JobState.CANCELED, Reason.CANCELED, "was cancelled"),
    "KILLED": (JobState.FAILED, Reason.SIGNAL, "all its processes were killed"),
}

_NODE_LIST = """\
_psij_count=${EXAWORKS_PROCESSES:-1}
while [ "$_psij_count" -gt 0 ]; do
    uname -n
    _psij_count=$((_psij_count - 1))
done"""


def _sh(text: str, *words: str, ids: Collection[str] = ()) -> Command:
    given = "".join(f"{native_id}\n" for native_id in ids).encode()
    return Command(("/bin/sh", "-c", text, "exaworks", *words), given)


class SshAdapter(SchedulerAdapter):
    """What there is to know about a machine without a scheduler.

    A native id is the number of a process and the time of its start, as ``"4711-123456"``.
    """

    name = "ssh"
    title = "The machine"
    directive = ""
    script_file = True
    interpreter = "/bin/sh"
    shell_id = "$EXAWORKS_JOB"
    shell_element_id = "$EXAWORKS_JOB"
    shell_index = "${EXAWORKS_INDEX:-0}"
    shell_restarts = "0"
    shell_nodes = "$(uname -n)"
    shell_site = "$(uname -n)"
    shell_stopped = '[ -e "$EXAWORKS_JOB_FOLDER/cancel" ] || [ -e "$EXAWORKS_JOB_FOLDER/timeout" ]'
    shell_node_list = _NODE_LIST

    def options(self, request: Request) -> list[Option]:
        """See :meth:`SchedulerAdapter.options`. They are for :meth:`submit_command` only."""
        spec = request.spec
        for key in spec.attributes.custom_attributes or {}:
            if key.lower().startswith("ssh."):
                raise InvalidJobException(
                    f"custom attribute {key!r}: a machine without a scheduler has no options"
                )
        limit = spec.attributes.duration if spec.attributes.duration_given else None
        return [
            ("log", request.log),
            ("limit", str(-int(-limit.total_seconds() // 1)) if limit is not None else "0"),
            ("count", str(request.array_count or 0)),
            ("processes", str(request.needs.computed_process_count)),
            ("environment", "all" if spec.inherit_environment else "none"),
            ("held", "yes" if request.held else "no"),
            ("name", " ".join((request.name or "").split())),
        ]

    def log_path(self, stem: str, array: bool) -> str:
        """See :meth:`SchedulerAdapter.log_path`. The end of the name is added there."""
        return stem

    def setup(self, spec: JobSpec) -> list[str]:
        """See :meth:`SchedulerAdapter.setup`."""
        return []

    def submit_command(
        self, options: Sequence[Option], outside: Sequence[Option], script: bytes, path: str
    ) -> Command:
        """See :meth:`SchedulerAdapter.submit_command`."""
        said = dict(option for option in options if len(option) == 2)
        return Command(
            _sh(
                ssh_scripts.SUBMIT,
                ssh_scripts.JOB,
                path,
                *(said[name] for name in ("log", "limit", "environment", "count", "held", "name")),
            ).argv,
            environment={"EXAWORKS_PROCESSES": said["processes"]},
        )

    def parse_submit(self, result: CommandResult, array_count: int | None) -> Accepted | Rejected:
        """See :meth:`SchedulerAdapter.parse_submit`."""
        if not result.ok:
            return self._rejected(result)
        started = {}
        for line in result.stdout.split("\n"):
            index, _, native_id = line.partition(" ")
            if index.isdigit() and _ID.fullmatch(native_id):
                started[int(index)] = native_id
        count = array_count or 1
        if set(started) != set(range(count)):
            return Rejected(
                f"{len(started)} of {count} processes could be started: {result.complaint()}",
                uncertain=True,
            )
        return Accepted([started[index] for index in range(count)])

    @staticmethod
    def _rejected(result: CommandResult) -> Rejected:
        unknown = result.unanswered
        return Rejected(result.complaint(), transient=unknown, uncertain=unknown)

    def site_command(self) -> Command:
        """See :meth:`SchedulerAdapter.site_command`."""
        return _sh(ssh_scripts.SITE)

    def parse_site(self, result: CommandResult) -> Site | None:
        """See :meth:`SchedulerAdapter.parse_site`."""
        return Site(result.stdout.strip(), _MOST_ELEMENTS) if result.ok else None

    def ping_command(self) -> Command:
        """See :meth:`SchedulerAdapter.ping_command`."""
        return _sh(ssh_scripts.SITE)

    def parse_ping(self, result: CommandResult) -> str | None:
        """See :meth:`SchedulerAdapter.parse_ping`."""
        return None if result.ok else result.complaint()

    def record_name(self, native_id: str) -> tuple[str | None, str]:
        """See :meth:`SchedulerAdapter.record_name`."""
        return None, native_id

    def check_id(self, native_id: str) -> str | None:
        """See :meth:`SchedulerAdapter.check_id`."""
        if _ID.fullmatch(native_id):
            return None
        return f"{native_id!r} is not the id of a job there: it must be two numbers like '471-1234'"

    def query_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.query_commands`."""
        return [_sh(ssh_scripts.QUERY, ids=native_ids)]

    def parse_query(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_query`."""
        if not result.ok:
            return Answer(problem=result.complaint())
        *lines, last = result.stdout.rstrip("\n").split("\n")
        problem = None if last == "end" else "the answer was cut short"
        found, skipped = [], []
        for line in lines:
            observation = _observation(line)
            if observation is None:
                skipped.append(line)
            else:
                found.append(observation)
        return Answer(found, problem, skipped=skipped)

    def accounting_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.accounting_commands`. There is none."""
        return []

    def parse_accounting(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_accounting`."""
        return Answer(unavailable=True)

    def cancel_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.cancel_commands`. After five seconds SIGKILL follows."""
        return [_sh(ssh_scripts.CANCEL, ids=native_ids)]

    def hold_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.hold_commands`. Only a job that is held can stay so."""
        return [_sh(ssh_scripts.HOLD, ids=native_ids)]

    def release_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.release_commands`."""
        return [_sh(ssh_scripts.RELEASE, ids=native_ids)]

    def parse_request(self, result: CommandResult) -> Rejected | None:
        """See :meth:`SchedulerAdapter.parse_request`."""
        return None if result.ok else self._rejected(result)

    def list_command(self) -> Command:
        """See :meth:`SchedulerAdapter.list_command`."""
        return _sh(ssh_scripts.LIST)

    def parse_list(self, result: CommandResult) -> list[str]:
        """See :meth:`SchedulerAdapter.parse_list`."""
        return [line for line in result.stdout.split("\n") if _ID.fullmatch(line)]

    def logs_command(self) -> Command:
        """See :meth:`SchedulerAdapter.logs_command`."""
        return _sh(ssh_scripts.LOGS)

    def parse_logs(self, result: CommandResult) -> dict[str, str]:
        """See :meth:`SchedulerAdapter.parse_logs`."""
        pairs = (line.partition(" ") for line in result.stdout.split("\n"))
        return {native_id: log for native_id, _, log in pairs if _ID.fullmatch(native_id)}

    def details_commands(
        self, native_ids: Collection[str] | None, owner: str | None
    ) -> list[Command]:
        """See :meth:`SchedulerAdapter.details_commands`. Only one's own jobs are known."""
        if native_ids is not None:
            return [_sh(ssh_scripts.DETAILS, ids=native_ids)]
        words = (ssh_scripts.LIST, ssh_scripts.DETAILS, owner or "")
        return [_sh('/bin/sh -c "$1" | /bin/sh -c "$2" exaworks "$3"', *words)]

    def parse_details(self, result: CommandResult) -> list[Details]:
        """See :meth:`SchedulerAdapter.parse_details`."""
        owner = re.search(r"^owner (.*)$", result.stdout, re.MULTILINE)
        found = []
        for line in result.stdout.split("\n"):
            match = _DETAILS.fullmatch(line)
            seen = _observation(match[1]) if match is not None else None
            if match is None or seen is None:
                continue
            time = datetime.fromtimestamp(int(match[2]))
            info = JobInfo(
                owner=owner[1] if owner is not None else None,
                submission_time=time,
                dispatch_time=time,
            )
            held = seen.word == "HELD"
            found.append(Details(seen, info, JobSpec(name=match[3] or None), held))
        return found


def _observation(line: str) -> Observation | None:
    words = line.split(" ")
    if len(words) != 3 or not _ID.fullmatch(words[0]) or not words[2].isdigit():
        return None
    native_id, word, number = words
    state, reason, message = _STATES.get(word, (None, None, None))
    code: int | None = int(number)
    if state is None or not state.final:
        return Observation(native_id, state, word)
    if state is JobState.COMPLETED and code:
        state = JobState.FAILED
    signal = code - 128 if code is not None and 128 < code <= 159 else None
    return Observation(native_id, state, word, code, signal, reason, None, message)


class SshJobExecutor(BatchExecutor):
    """Runs jobs on another machine without a scheduler, at once; ``url`` is its address.

    A duration is enforced only if it was given. The ``/bin/sh`` of that machine does the work.
    """

    _NAME_ = "ssh"
    _VERSION_ = "0.3.0"
    ADAPTER = SshAdapter

    def __init__(self, url: str | None = None, config: JobExecutorConfig | None = None) -> None:
        """Make an executor. Nothing is connected yet.

        Args:
            url: the machine, as ``ssh://user@host:port``.
            config: settings.

        Raises:
            ValueError: the URL is of another kind, or missing.
        """
        if url is None:
            raise ValueError("the executor 'ssh' needs the address of a machine: url='ssh://host'")
        super().__init__(url, config)

    @classmethod
    def unusable(cls) -> str | None:
        """See :meth:`JobExecutor.unusable`. It depends on the address."""
        return "it needs the address of a machine (url='ssh://host')"
