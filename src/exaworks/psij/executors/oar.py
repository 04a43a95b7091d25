"""The executor for OAR.

Sources: oarsub(1), oarstat(1), oardel(1), oarhold(1) and oarresume(1) of OAR 2.5.9, and what
these programs print. How a job is described to OAR is in
:mod:`exaworks.psij.executors.oar_options`, and what OAR says about jobs in
:mod:`exaworks.psij.executors.oar_output`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence

from exaworks.psij.executors import oar_options, oar_output
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

__all__ = ["OarAdapter", "OarJobExecutor"]

_ENVIRONMENT = {"LC_ALL": "C"}
# What describes the job that we run in, if we do, must not be taken for the new job's.
_SUBMIT_UNSET = ("OAR_*", "PSIJ_NODEFILE")
_ID = re.compile(r"[0-9]{1,18}")
_SUBMITTED = re.compile(r"^OAR_JOB_ID=([0-9]+)$", re.MULTILINE)
_CHATTER = re.compile(
    r"^(?:\[ADMISSION RULE\] (?:Modify|Set) .*|\[ERROR\] Oarsub failed, please verify your request "
    r"syntax\.|OAR_JOB_ID=.*|(?:Simple|Multiple) array job submission is used|Generate a job key.*"
    r"|Deleting the job .*|The job\(s\) \[.*)$",
    re.MULTILINE,
)
_UNREACHABLE = re.compile(
    r"cannot connect to|connection (?:refused|error|timed out)|could not connect|"
    r"connect to (?:database|server)|server closed the connection",
    re.IGNORECASE,
)
_LIMIT = re.compile(r"(?:too many|maximum|max(?:imal)?) .*jobs?|quota", re.IGNORECASE)
_HARMLESS = re.compile(r"already (?:been )?(?:killed|terminated|finished)", re.IGNORECASE)
_MANY = 1000  # words in a command
_MOST_ELEMENTS = 1000


def _query(*words: str) -> Command:
    return Command(words, environment=_ENVIRONMENT)


def _parts(native_ids: Iterable[str]) -> list[list[str]]:
    """Parts that are not too long for one command."""
    words = list(native_ids)
    return [words[at : at + _MANY] for at in range(0, len(words), _MANY)]


def _words_of(result: CommandResult) -> str:
    """What a command has to say, without what it says every time."""
    said = "\n".join(filter(None, (result.stderr.strip(), result.stdout.strip())))
    words = " ".join(_CHATTER.sub("", said).split())
    return words[:600] or result.complaint()


class OarAdapter(SchedulerAdapter):
    """What there is to know about OAR.

    A native id is a number; each element of an array has its own.
    """

    name = "oar"
    title = "OAR"
    directive = ""
    script_file = True
    # It does not matter to OAR how the other job ends.
    dependency_kinds = frozenset(("afterany",))
    shell_id = "$OAR_JOB_ID"
    shell_element_id = "$OAR_JOB_ID"
    array_base = 1
    shell_index = "$OAR_ARRAY_INDEX"
    # What OAR runs again has another id.
    shell_restarts = "0"
    shell_nodes = '$(command -p sort -u "$OAR_NODEFILE" | command -p paste -s -d + -)'
    shell_site = "oar"
    shell_node_list = oar_options.HOSTS

    def options(self, request: Request) -> list[Option]:
        """See :meth:`SchedulerAdapter.options`."""
        return oar_options.options(request)

    def log_path(self, stem: str, array: bool) -> str:
        """See :meth:`SchedulerAdapter.log_path`."""
        return f"{stem}_{oar_options.INDEX}.log" if array else f"{stem}.log"

    def setup(self, spec: JobSpec) -> list[str]:
        """See :meth:`SchedulerAdapter.setup`."""
        return oar_options.setup(spec)

    def submit_command(
        self, options: Sequence[Option], outside: Sequence[Option], script: bytes, path: str
    ) -> Command:
        """See :meth:`SchedulerAdapter.submit_command`.

        The script gets the environment, if it wants it, where it lies.
        """
        log = next((option[1] for option in options if option[0] == oar_options.LOG), "/dev/null")
        words = [word for option in options if option[0] != oar_options.LOG for word in option]
        words += [oar_options.LOG, "/dev/null", oar_options.command_of(path, log)]
        words.insert(0, "oarsub")
        return Command(carrying(path, script, words), unset=_SUBMIT_UNSET)

    def parse_submit(self, result: CommandResult, array_count: int | None) -> Accepted | Rejected:
        """See :meth:`SchedulerAdapter.parse_submit`."""
        found = _SUBMITTED.findall(result.stdout)
        if not result.ok:
            return self._rejected(result, uncertain=any(map(int, found)))
        if len(found) != (array_count or 1):
            said = " ".join(result.stdout.split())
            return Rejected(
                f"oarsub printed {len(found)} job ids for {array_count or 1} jobs: {said!r}",
                uncertain=True,
            )
        return Accepted(found)

    @staticmethod
    def _rejected(result: CommandResult, uncertain: bool = False) -> Rejected:
        if result.missing or (result.returncode == 127 and "not found" in result.stderr):
            return Rejected(
                "OAR's commands are not in PATH (oarsub was not found): log in to a machine that "
                "has them"
            )
        text = _words_of(result)
        limit = _LIMIT.search(text) is not None
        return Rejected(
            text,
            transient=limit or result.unanswered or _UNREACHABLE.search(text) is not None,
            queue_limit=limit,
            uncertain=uncertain or result.unanswered,
        )

    def site_command(self) -> Command:
        """See :meth:`SchedulerAdapter.site_command`. OAR has nothing to tell; it must answer."""
        return self.ping_command()

    def parse_site(self, result: CommandResult) -> Site | None:
        """See :meth:`SchedulerAdapter.parse_site`."""
        return Site("oar", _MOST_ELEMENTS) if result.ok else None

    def ping_command(self) -> Command:
        """See :meth:`SchedulerAdapter.ping_command`."""
        return _query("oarstat", "-J", "--sql", "job_id = 0")

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
        return f"{native_id!r} is not the id of an OAR job: it must be a number"

    def query_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.query_commands`. OAR never forgets a job."""
        return [
            _query("oarstat", "-J", "-f", "--sql", f"job_id IN ({','.join(part)})")
            for part in _parts(native_ids)
        ]

    def parse_query(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_query`."""
        return oar_output.parse_query(result)

    def accounting_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.accounting_commands`. Queries tell of ended jobs, too."""
        return []

    def parse_accounting(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_accounting`."""
        return Answer(unavailable=True)

    def cancel_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.cancel_commands`. A running job gets SIGKILL."""
        return [_query("oardel", *part) for part in _parts(native_ids)]

    def hold_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.hold_commands`."""
        return [
            _query("/bin/sh", "-c", oar_options.HOLD, "oarhold", ",".join(part), *part)
            for part in _parts(native_ids)
        ]

    def release_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.release_commands`."""
        return [_query("oarresume", *part) for part in _parts(native_ids)]

    def parse_request(self, result: CommandResult) -> Rejected | None:
        """See :meth:`SchedulerAdapter.parse_request`."""
        lines = [line for line in result.stderr.splitlines() if line.strip()]
        if result.ok or (lines and all(map(_HARMLESS.search, lines))):
            return None
        return self._rejected(result)

    def list_command(self) -> Command:
        """See :meth:`SchedulerAdapter.list_command`."""
        return _query("oarstat", "-J", "-u")

    def parse_list(self, result: CommandResult) -> list[str]:
        """See :meth:`SchedulerAdapter.parse_list`."""
        return oar_output.parse_ids(result)

    def logs_command(self) -> Command:
        """See :meth:`SchedulerAdapter.logs_command`."""
        return _query("oarstat", "-J", "-u")

    def parse_logs(self, result: CommandResult) -> dict[str, str]:
        """See :meth:`SchedulerAdapter.parse_logs`."""
        return oar_output.parse_logs(result)

    def details_commands(
        self, native_ids: Collection[str] | None, owner: str | None
    ) -> list[Command]:
        """See :meth:`SchedulerAdapter.details_commands`."""
        if native_ids is not None:
            return self.query_commands(native_ids)
        return [_query("oarstat", "-J", "-f", *(("-u", owner) if owner else ()))]

    def parse_details(self, result: CommandResult) -> list[Details]:
        """See :meth:`SchedulerAdapter.parse_details`."""
        return oar_output.parse_details(result)


class OarJobExecutor(BatchExecutor):
    """Submits to OAR with its commands: ``oarsub``, ``oarstat``, ``oardel``.

    Custom attributes named ``oar.X`` become the option ``-X`` or ``--X`` of oarsub.
    """

    _NAME_ = "oar"
    _VERSION_ = "0.3.0"
    ADAPTER = OarAdapter
