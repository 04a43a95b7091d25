"""The executor for HTCondor.

Sources: condor_submit(1), condor_q(1), condor_history(1), condor_rm(1), condor_hold(1) and
condor_release(1) of HTCondor 23, and what these programs print. How a job is described to HTCondor
is in :mod:`exaworks.psij.executors.htcondor_options`, and what HTCondor says about jobs in
:mod:`exaworks.psij.executors.htcondor_output`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from exaworks.psij.executors import htcondor_options, htcondor_output
from exaworks.psij.executors.batch import (
    Accepted,
    Answer,
    BatchExecutor,
    Details,
    Option,
    Rejected,
    Request,
    SchedulerAdapter,
    Site,
)
from exaworks.psij.executors.script_environment import carrying
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.runner import Command, CommandResult

__all__ = ["HTCondorAdapter", "HTCondorJobExecutor"]

_ENVIRONMENT = {"LC_ALL": "C"}
# What describes the job that we run in, if we do, must not be taken for the new job's.
_SUBMIT_UNSET = (
    "BATCH_SYSTEM",
    "EXAWORKS_INDEX",
    "EXAWORKS_JOB",
    "EXAWORKS_POOL",
    "PSIJ_NODEFILE",
    "_CONDOR_ANCESTOR_*",
    "_CONDOR_CHIRP_CONFIG",
    "_CONDOR_JOB_*",
    "_CONDOR_MACHINE_AD",
    "_CONDOR_SCRATCH_DIR",
    "_CONDOR_SLOT",
)
_ID = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}")
_SUBMITTED = re.compile(r"^([0-9]+)\.([0-9]+) - ([0-9]+)\.([0-9]+)$", re.MULTILINE)
_LIMIT = re.compile(r"MAX_JOBS_(?:SUBMITTED|PER_OWNER|PER_SUBMISSION)|would exceed", re.IGNORECASE)
_UNREACHABLE = re.compile(
    r"can't find address of|failed to connect|failed to fetch ads|connection (?:refused|closed)|"
    r"timed? ?out|extra info: .*connect|disconnected|unable to locate",
    re.IGNORECASE,
)
_UNCERTAIN = re.compile(r"failed to commit|disconnected|timed? ?out", re.IGNORECASE)
_HARMLESS = re.compile(
    r"not found|couldn't find/\w+ all jobs|already (?:marked|removed|completed|held)|^\s*$",
    re.IGNORECASE,
)
_MANY = 1000  # words in a command
_MOST_ELEMENTS = 1000


def _query(*words: str) -> Command:
    return Command(words, environment=_ENVIRONMENT)


def _parts(native_ids: Iterable[str]) -> list[list[str]]:
    """Parts that are not too long for one command."""
    words = list(native_ids)
    return [words[at : at + _MANY] for at in range(0, len(words), _MANY)]


def _clusters(native_ids: Iterable[str]) -> list[str]:
    return sorted({native_id.partition(".")[0] for native_id in native_ids})


_FORMAT = ("-json", "-attributes", ",".join(htcondor_output.ATTRIBUTES))


class HTCondorAdapter(SchedulerAdapter):
    """What there is to know about HTCondor.

    A native id is ``"cluster.process"``, also of a job that is not in an array.
    """

    name = "htcondor"
    title = "HTCondor"
    directive = ""
    script_file = True
    # Set by the submit description.
    shell_id = "$EXAWORKS_JOB"
    shell_element_id = "$EXAWORKS_JOB"
    shell_index = "$EXAWORKS_INDEX"
    shell_restarts = (
        """$(command -p sed -n 's/^NumJobStarts = \\([0-9]*\\)$/\\1/p' "$_CONDOR_JOB_AD")"""
    )
    shell_nodes = "$(uname -n)"
    shell_site = "$EXAWORKS_POOL"
    shell_node_list = htcondor_options.HOSTS

    def options(self, request: Request) -> list[Option]:
        """See :meth:`SchedulerAdapter.options`."""
        return htcondor_options.options(request)

    def log_path(self, stem: str, array: bool) -> str:
        """See :meth:`SchedulerAdapter.log_path`."""
        text = htcondor_options.escape(stem)
        return f"{text}_{htcondor_options.PROCESS}.log" if array else f"{text}.log"

    def setup(self, spec: JobSpec) -> list[str]:
        """See :meth:`SchedulerAdapter.setup`."""
        return htcondor_options.setup(spec)

    def submit_command(
        self, options: Sequence[Option], outside: Sequence[Option], script: bytes, path: str
    ) -> Command:
        """See :meth:`SchedulerAdapter.submit_command`. The description goes to standard input.

        The script gets the environment, if it wants it, where it lies.
        """
        words = carrying(path, script, ("condor_submit", "-terse", "-"))
        text = htcondor_options.description(options, path)
        return Command(words, text.encode("utf-8", "surrogateescape"), unset=_SUBMIT_UNSET)

    def parse_submit(self, result: CommandResult, array_count: int | None) -> Accepted | Rejected:
        """See :meth:`SchedulerAdapter.parse_submit`."""
        if not result.ok:
            return self._rejected(result)
        found = _SUBMITTED.findall(result.stdout)
        ids = [
            f"{first}.{process}"
            for first, low, last, high in found[-1:]
            if first == last
            for process in range(int(low), int(high) + 1)
        ]
        if len(ids) != (array_count or 1):
            said = " ".join(result.stdout.split())[:300]
            return Rejected(
                f"condor_submit did not say that it has taken {array_count or 1} jobs: {said!r}",
                uncertain=True,
            )
        return Accepted(ids)

    @staticmethod
    def _rejected(result: CommandResult) -> Rejected:
        program = result.command.argv[0]
        if result.missing or (result.returncode == 127 and "not found" in result.stderr):
            return Rejected(
                "HTCondor's commands are not in PATH (condor_submit or "
                f"{program} was not found): log in to a machine that has them"
            )
        text = re.sub(r"^(?:ERROR: |WARNING: .*)", "", result.complaint(), flags=re.MULTILINE)
        limit = _LIMIT.search(text) is not None
        return Rejected(
            text.strip(),
            transient=limit or result.unanswered or _UNREACHABLE.search(text) is not None,
            queue_limit=limit,
            uncertain=result.unanswered or _UNCERTAIN.search(text) is not None,
        )

    def site_command(self) -> Command:
        """See :meth:`SchedulerAdapter.site_command`."""
        return _query("condor_config_val", "FULL_HOSTNAME")

    def parse_site(self, result: CommandResult) -> Site | None:
        """See :meth:`SchedulerAdapter.parse_site`."""
        name = result.stdout.strip().rpartition("\n")[2]
        return Site(name, _MOST_ELEMENTS) if result.ok and name else None

    def ping_command(self) -> Command:
        """See :meth:`SchedulerAdapter.ping_command`."""
        return _query("condor_q", "-totals")

    def parse_ping(self, result: CommandResult) -> str | None:
        """See :meth:`SchedulerAdapter.parse_ping`."""
        return None if result.ok else self._rejected(result).message

    def record_name(self, native_id: str) -> tuple[str | None, str]:
        """See :meth:`SchedulerAdapter.record_name`."""
        return None, native_id

    def check_id(self, native_id: str) -> str | None:
        """See :meth:`SchedulerAdapter.check_id`."""
        if _ID.fullmatch(native_id):
            return None
        return (
            f"{native_id!r} is not the id of an HTCondor job: it must be two numbers with a dot "
            "between, such as '12.0'"
        )

    def query_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.query_commands`.

        For very many jobs, all of the user's are listed, which costs no more.
        """
        clusters = _clusters(native_ids)
        return [_query("condor_q", *_FORMAT, *(clusters if len(clusters) <= _MANY else ()))]

    def parse_query(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_query`."""
        return htcondor_output.parse_answer(result, False)

    def accounting_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.accounting_commands`.

        The history is read from its end, until all jobs are found.
        """
        return [
            _query("condor_history", *_FORMAT, "-match", str(len(part)), *part)
            for part in _parts(native_ids)
        ]

    def parse_accounting(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_accounting`."""
        if result.missing:
            return Answer(problem=result.complaint(), unavailable=True)
        return htcondor_output.parse_answer(result, True)

    def cancel_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.cancel_commands`."""
        return [_query("condor_rm", *part) for part in _parts(native_ids)]

    def hold_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.hold_commands`.

        condor_hold would end a job that runs, and begin it anew later.
        """
        commands = []
        for part in _parts(native_ids):
            pairs = (native_id.partition(".")[::2] for native_id in part)
            which = " || ".join(f"(ClusterId == {c} && ProcId == {p})" for c, p in pairs)
            text = f"JobStatus == 1 && ({which})"
            commands.append(_query("condor_hold", "-constraint", text))
        return commands

    def release_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.release_commands`."""
        return [_query("condor_release", *part) for part in _parts(native_ids)]

    def parse_request(self, result: CommandResult) -> Rejected | None:
        """See :meth:`SchedulerAdapter.parse_request`."""
        if result.ok:
            return None
        if result.command.argv[0] == "condor_rm" and result.returncode is not None:
            lines = result.stderr.splitlines()
            if any(line.strip() for line in lines) and all(map(_HARMLESS.search, lines)):
                return None
        return self._rejected(result)

    def list_command(self) -> Command:
        """See :meth:`SchedulerAdapter.list_command`."""
        return _query("condor_q", *_FORMAT)

    def parse_list(self, result: CommandResult) -> list[str]:
        """See :meth:`SchedulerAdapter.parse_list`."""
        return htcondor_output.parse_ids(result)

    def logs_command(self) -> Command:
        """See :meth:`SchedulerAdapter.logs_command`."""
        return _query("condor_q", *_FORMAT)

    def parse_logs(self, result: CommandResult) -> dict[str, str]:
        """See :meth:`SchedulerAdapter.parse_logs`."""
        return htcondor_output.parse_logs(result)

    def details_commands(
        self, native_ids: Collection[str] | None, owner: str | None
    ) -> list[Command]:
        """See :meth:`SchedulerAdapter.details_commands`."""
        if native_ids is None:
            return [_query("condor_q", *_FORMAT, *((owner,) if owner else ("-allusers",)))]
        return [_query("condor_q", *_FORMAT, *part) for part in _parts(_clusters(native_ids))]

    def parse_details(self, result: CommandResult) -> list[Details]:
        """See :meth:`SchedulerAdapter.parse_details`."""
        return htcondor_output.parse_details(result)


class HTCondorJobExecutor(BatchExecutor):
    """Submits to HTCondor with its commands: ``condor_submit``, ``condor_q``, ``condor_rm``.

    Custom attributes named ``htcondor.X`` become the command X of the submit description.
    """

    _NAME_ = "htcondor"
    _VERSION_ = "0.3.0"
    ADAPTER = HTCondorAdapter
