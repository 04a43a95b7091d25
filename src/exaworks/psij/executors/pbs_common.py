"""What the executors for PBS Pro and for Torque have in common.

Sources: qsub(1B), qstat(1B), qdel(1B), qselect(1B) of OpenPBS 23.06 and of Torque 6.1, the
messages and codes of pbs_messages.c and pbs_error.h, and what these programs print. How a job is
described to PBS is in :mod:`exaworks.psij.executors.pbs_options`, and what PBS says about jobs in
:mod:`exaworks.psij.executors.pbs_output`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import ClassVar

from exaworks.psij.executors import pbs_output
from exaworks.psij.executors.batch import (
    Accepted,
    Answer,
    Details,
    Hint,
    Observation,
    Option,
    Rejected,
    SchedulerAdapter,
    Site,
)
from exaworks.psij.executors.pbs_records import job_id, read_records
from exaworks.psij.runner import Command, CommandResult

__all__ = ["PbsAdapter"]

# What describes the job that we run in, if we do, must not be taken for the new job's; nor may
# variables of the user change what the commands do or print.
_SUBMIT_UNSET = (
    "PBS_ARRAYID",
    "PBS_ARRAY_*",
    "PBS_DPREFIX",
    "PBS_ENVIRONMENT",
    "PBS_GPUFILE",
    "PBS_JOB*",
    "PBS_MOMPORT",
    "PBS_NODE*",
    "PBS_NP",
    "PBS_NUM_*",
    "PBS_O_*",
    "PBS_QUEUE",
    "PBS_TASKNUM",
    "PBS_VERSION",
    "PBS_VNODENUM",
    "PBS_WALLTIME",
)
_QUERY_UNSET = ("PBS_QSTAT_EXECONLY", "PBS_QSTAT_NO_COMPLETE")
_ENVIRONMENT = {"LC_ALL": "C"}

_SUBMITTED = re.compile(r"^(\d+)(\[\])?((?:\.[A-Za-z0-9._-]+)?)$", re.MULTILINE | re.ASCII)
_LIMIT = re.compile(
    r"would exceed (?!.*limit on resource)|Maximum number of jobs .*already in|"
    r"per-(?:user|group|project) limit$|exceeds? the maximum number of jobs",
    re.IGNORECASE,
)
_UNREACHABLE = re.compile(
    r"cannot connect to server|could not connect to|Communication failure|Connection (?:refused|"
    r"timed out|reset)|Server shutting down|Server connection table full|No free connections|"
    r"Unable to communicate|End of File|Premature end of message|currently too busy|"
    r"Resource temporarily unavailable|Try (?:the request )?again|[Tt]imed? ?out|"
    r"Batch protocol error|Could not contact|Failed to save job|no default server",
)
_UNCERTAIN = re.compile(
    r"Communication failure|Connection reset|[Tt]imed? ?out|End of File|Premature end|"
    r"Batch protocol error"
)
_GONE = re.compile(
    r"Unknown Job ?Id|Job has finished|history job|not configured to maintain job history|"
    r"Request invalid for finished array subjob",
    re.IGNORECASE,
)
_TOO_LATE = re.compile(
    r"Request invalid for state of job|invalid for job state|Job already in exit state|"
    r"Delete already in progress|already (?:being )?(?:deleted|in progress)",
    re.IGNORECASE,
)
_MANY = 1000  # words in a command


def parts(words: Sequence[str]) -> Iterable[Sequence[str]]:
    """Parts that are not too long for one command."""
    return [words[at : at + _MANY] for at in range(0, len(words), _MANY)]


def by_array(native_ids: Iterable[str]) -> tuple[list[str], dict[str, list[int]]]:
    """Jobs, and by array (``"4[].server"``) the numbers of elements."""
    jobs: list[str] = []
    arrays: dict[str, list[int]] = {}
    for native_id in native_ids:
        match = re.fullmatch(r"(\d+)\[(\d+)\](.*)", native_id, re.ASCII)
        if match is None:
            jobs.append(native_id)
        else:
            arrays.setdefault(f"{match[1]}[]{match[3]}", []).append(int(match[2]))
    return jobs, arrays


class PbsAdapter(SchedulerAdapter):
    """What there is to know about PBS of any kind.

    A native id is ``"123.server"``, or ``"123[4].server"`` for an element of an array. The server
    may be left out: then it is the default one.
    """

    directive = "#PBS"
    dependency_kinds = frozenset(("after", "afterok", "afternotok", "afterany"))
    shell_id = "$PBS_JOBID"
    shell_element_id = "$PBS_JOBID"
    shell_restarts = "0"
    shell_nodes = '$(command -p sort -u "$PBS_NODEFILE" 2>/dev/null | command -p paste -sd, -)'
    shell_site = "${PBS_JOBID#*.}"
    shell_node_list = '[ ! -r "$PBS_NODEFILE" ] || command -p cat -- "$PBS_NODEFILE"'

    codes: ClassVar[pbs_output.Codes]
    """What exit codes below zero mean."""

    most_elements: ClassVar[int]
    """The largest array, if the server does not say."""

    qstat: ClassVar[tuple[str, ...]]
    """The command that tells all about the jobs that are then named."""

    def log_path(self, stem: str, array: bool) -> str:
        """See :meth:`SchedulerAdapter.log_path`."""
        return stem + ("_^array_index^.log" if array else ".log")

    def submit_command(
        self, options: Sequence[Option], outside: Sequence[Option], script: bytes, path: str
    ) -> Command:
        """See :meth:`SchedulerAdapter.submit_command`. The script goes to standard input."""
        words = [word for option in outside for word in option]
        return Command(("qsub", *words), script, unset=_SUBMIT_UNSET)

    def parse_submit(self, result: CommandResult, array_count: int | None) -> Accepted | Rejected:
        """See :meth:`SchedulerAdapter.parse_submit`."""
        if not result.ok:
            return self._rejected(result)
        found = _SUBMITTED.findall(result.stdout)
        if not found:
            return Rejected(f"qsub printed no job id: {result.stdout!r}", uncertain=True)
        base, array, server = found[-1]
        if (array_count is None) == bool(array):
            return Rejected(f"qsub printed the id of another kind of job: {result.stdout!r}")
        if array_count is None:
            return Accepted([base + server])
        return Accepted([f"{base}[{index}]{server}" for index in range(array_count)])

    def _rejected(self, result: CommandResult) -> Rejected:
        if result.missing:
            return Rejected(
                f"the commands of {self.title} are not in PATH ({result.command.argv[0]} was not "
                "found): load the site's PBS module, or log in to a machine that has them"
            )
        text = re.sub(r"(?m)^usage: (?s:.*)", "", result.stderr).strip() or result.complaint()
        text = re.sub(r"\bq(?:sub|stat|del|hold|rls|select): ", "", " ".join(text.split()))
        limit = _LIMIT.search(text) is not None
        return Rejected(
            text,
            transient=limit or result.unanswered or _UNREACHABLE.search(text) is not None,
            queue_limit=limit,
            uncertain=result.unanswered or _UNCERTAIN.search(text) is not None,
        )

    def site_command(self) -> Command:
        """See :meth:`SchedulerAdapter.site_command`."""
        return self._command("qstat", "-B", "-f")

    def parse_site(self, result: CommandResult) -> Site | None:
        """See :meth:`SchedulerAdapter.parse_site`."""
        server = re.search(r"^Server:[ \t]*(\S+)", result.stdout, re.MULTILINE)
        if not result.ok or server is None:
            return None
        limit = re.search(
            r"^ +max_(?:job_)?array_size = (\d{1,9})$", result.stdout, re.MULTILINE | re.ASCII
        )
        return Site(server[1], int(limit[1]) if limit else self.most_elements)

    def ping_command(self) -> Command:
        """See :meth:`SchedulerAdapter.ping_command`."""
        return self.site_command()

    def parse_ping(self, result: CommandResult) -> str | None:
        """See :meth:`SchedulerAdapter.parse_ping`."""
        return None if self.parse_site(result) is not None else self._rejected(result).message

    def record_name(self, native_id: str) -> tuple[str | None, str]:
        """See :meth:`SchedulerAdapter.record_name`."""
        return native_id.partition(".")[2] or None, native_id

    def check_id(self, native_id: str) -> str | None:
        """See :meth:`SchedulerAdapter.check_id`."""
        if job_id(native_id) and "[]" not in native_id:
            return None
        return (
            f"{native_id!r} is not the id of a PBS job: it must be like '12.server', or "
            "'12[3].server' for an element of an array; the server may be left out"
        )

    # -- status

    @staticmethod
    def _command(*argv: str, scope: str = "") -> Command:
        return Command(argv, environment=_ENVIRONMENT, unset=_QUERY_UNSET, scope=scope)

    def _asking(self, native_ids: Collection[str], *more: str) -> list[Command]:
        """Commands that tell about jobs, and about all elements of arrays."""
        jobs, arrays = by_array(native_ids)
        scope = " ".join(native_ids)
        return [
            self._command(*self.qstat, *more, "-t", *part, scope=scope)
            for part in parts([*jobs, *arrays])
        ]

    def _problem(self, result: CommandResult) -> str | None:
        """What is wrong with an answer about jobs; nothing, if just some of them are gone."""
        if result.ok:
            return None
        if result.unanswered or result.missing or _UNREACHABLE.search(result.stderr):
            return self._rejected(result).message
        if _GONE.search(result.stderr):
            return None
        return self._rejected(result).message

    def query_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.query_commands`."""
        return self._asking(native_ids)

    def parse_query(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_query`."""
        answer = pbs_output.parse_answer(result, self.codes)
        return Answer(answer.observations, self._problem(result))

    def accounting_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.accounting_commands`."""
        return []

    def parse_accounting(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_accounting`."""
        off = "not configured to maintain job history" in result.stderr
        answer = self.parse_query(result)
        if off or result.missing:
            said = "PBS keeps no history of jobs" if off else answer.problem
            return Answer(answer.observations, said, unavailable=True)
        return answer

    def look_again(
        self, native_id: str, told: Mapping[str, Observation]
    ) -> tuple[Observation | None, bool]:
        """See :meth:`SchedulerAdapter.look_again`."""
        return pbs_output.look_again(native_id, told)

    def read_log(self, text: str) -> Hint | None:
        """See :meth:`SchedulerAdapter.read_log`."""
        return pbs_output.read_log(text)

    # -- management

    def cancel_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.cancel_commands`."""
        return self._request("qdel", native_ids)

    def hold_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.hold_commands`."""
        return self._request("qhold", native_ids)

    def release_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.release_commands`."""
        return self._request("qrls", native_ids)

    def _request(self, program: str, native_ids: Collection[str]) -> list[Command]:
        return [self._command(program, *part) for part in parts(self.words(native_ids))]

    def words(self, native_ids: Collection[str]) -> list[str]:
        """The jobs as the commands take them."""
        return list(native_ids)

    def parse_request(self, result: CommandResult) -> Rejected | None:
        """See :meth:`SchedulerAdapter.parse_request`. To cancel what has ended is no error."""
        if result.ok:
            return None
        lines = [line for line in result.stderr.split("\n") if line.strip()]
        if result.command.argv[0] == "qdel" and lines:
            done = (_GONE.search(line) or _TOO_LATE.search(line) for line in lines)
            if all(done):
                return None
        return self._rejected(result)

    def _of_user(self, owner: str | None, *program: str) -> Command:
        """A command about all jobs of a user that have not ended; ``None``: one's own."""
        # a job may end between the two commands
        text = (
            'ids=$(qselect -u "${1:-$(id -un)}") || exit; shift\n'
            '[ -z "$ids" ] || "$@" $ids || case $? in 35 | 153) ;; *) exit 1 ;; esac'
        )
        return self._command("/bin/sh", "-c", text, "exaworks", owner or "", *program)

    def list_command(self) -> Command:
        """See :meth:`SchedulerAdapter.list_command`."""
        return self._of_user(None, *self.qstat, "-t")

    def parse_list(self, result: CommandResult) -> list[str]:
        """See :meth:`SchedulerAdapter.parse_list`."""
        return [
            name
            for name, record in read_records(result.stdout).items()
            if record.get("job_state") not in ("F", "X", "C", "M") and "[]" not in name
        ]

    def logs_command(self) -> Command:
        """See :meth:`SchedulerAdapter.logs_command`."""
        return self._of_user(None, *self.qstat)

    def parse_logs(self, result: CommandResult) -> dict[str, str]:
        """See :meth:`SchedulerAdapter.parse_logs`."""
        return pbs_output.parse_logs(result)

    def details_commands(
        self, native_ids: Collection[str] | None, owner: str | None
    ) -> list[Command]:
        """See :meth:`SchedulerAdapter.details_commands`."""
        if native_ids is not None:
            return self._asking(native_ids)
        if owner is not None:
            return [self._of_user(owner, *self.qstat, "-t")]
        return [self._command(*self.qstat, "-t")]

    def parse_details(self, result: CommandResult) -> list[Details]:
        """See :meth:`SchedulerAdapter.parse_details`."""
        return pbs_output.parse_details(result, self.codes)
