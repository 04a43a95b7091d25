"""The executor for NEC NQSV (Network Queuing System V).

Sources: NQSV User's Guide [Operation] and [Reference] as far as they are quoted in public, the
usage text of its programs, and what they print. How a job is described to NQSV is in
:mod:`exaworks.psij.executors.nqsv_options`, and what NQSV says about jobs in
:mod:`exaworks.psij.executors.nqsv_output`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from exaworks.psij.executors import nqsv_options, nqsv_output
from exaworks.psij.executors.batch import (
    Accepted,
    Answer,
    BatchExecutor,
    Details,
    Hint,
    Observation,
    Option,
    Rejected,
    Request,
    SchedulerAdapter,
    Site,
)
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.resource_spec import ResourceSpecV1
from exaworks.psij.runner import Command, CommandResult

__all__ = ["NqsvAdapter", "NqsvJobExecutor"]

_ENVIRONMENT = {"LC_ALL": "C"}
# What describes the job that we run in, if we do. NQSV_MPI_VER and others are the user's own.
_SUBMIT_UNSET = ("PBS_*", "NQSII_*", "_NQS*")

# NQSV is installed where PATH often does not lead.
_IN_PATH = 'PATH=$PATH:/opt/nec/nqsv/bin; export PATH; exec "$@"'

_NATIVE_ID = re.compile(r"\d+(?:\[\d+\])?(?:\.[A-Za-z0-9_-][A-Za-z0-9._-]*)?", re.ASCII)
_SUBMITTED = re.compile(
    r"^Request (\d+)(?:\[\])?(\.[A-Za-z0-9._-]+)? submitted to queue", re.MULTILINE | re.ASCII
)
_LIMIT = re.compile(r"(?:submit|queued|request)[^.]*\blimit\b|too many requests", re.IGNORECASE)
_UNREACHABLE = re.compile(
    r"(?:can(?:no|')t|[Uu]nable to|[Ff]ailed to) (?:connect|communicate|contact)|timed? ?out|"
    r"Connection (?:refused|reset)|batch server (?:is )?(?:down|not)|try again|"
    r"server is (?:down|busy)|temporarily unavailable",
    re.IGNORECASE,
)
_UNCERTAIN = re.compile(r"timed? ?out|Connection reset", re.IGNORECASE)
_MOST_ELEMENTS = 1000
_MANY = 500  # words in a command

_NODE_LIST = """\
_psij_hosts() {
    while [ -r "${PBS_NODEFILE:-}" ] && read -r _psij_host _psij_rest; do
        _psij_left=$1
        while [ "$_psij_left" -gt 0 ]; do
            printf '%s\\n' "$_psij_host"
            _psij_left=$((_psij_left - 1))
        done
    done <"${PBS_NODEFILE:-/dev/null}"
}
_psij_hosts 1"""


def _found(*argv: str) -> tuple[str, ...]:
    return ("/bin/sh", "-c", _IN_PATH, "exaworks", *argv)


def _command(*argv: str, scope: str = "") -> Command:
    return Command(_found(*argv), environment=_ENVIRONMENT, scope=scope)


def _program(result: CommandResult) -> str:
    return result.command.argv[4] if len(result.command.argv) > 4 else result.command.argv[0]


def _on(program: Sequence[str], native_ids: Collection[str]) -> list[Command]:
    ids = list(native_ids)
    return [_command(*program, *ids[at : at + _MANY]) for at in range(0, len(ids), _MANY)]


class NqsvAdapter(SchedulerAdapter):
    """What there is to know about NQSV.

    A native id is ``"123.host"``, or ``"123[4].host"`` for an element of an array (a sub-request
    of a parametric request); the host may be left out. NQSV forgets a request some seconds after
    its end.
    """

    name = "nqsv"
    title = "NQSV"
    directive = "#PBS"
    script_file = True
    array_base = 1
    shell_id = '$(_psij_n=${PBS_JOBID#*:}; echo "${_psij_n%%[!0-9]*}")'
    shell_element_id = '$(_psij_n=${PBS_JOBID#*:}; echo "${_psij_n%%[!0-9]*}[$PBS_SUBREQNO]")'
    shell_index = "$PBS_SUBREQNO"
    shell_restarts = "0"
    shell_nodes = (
        '$(command -p cut -d " " -f 1 "${PBS_NODEFILE:-/dev/null}" 2>/dev/null | '
        "command -p paste -s -d , -)"
    )
    shell_site = "nqsv"
    shell_node_list = _NODE_LIST

    def options(self, request: Request) -> list[Option]:
        """See :meth:`SchedulerAdapter.options`."""
        return nqsv_options.options(request)

    def log_path(self, stem: str, array: bool) -> str:
        """See :meth:`SchedulerAdapter.log_path`. Of an array, the script writes the logs."""
        return f"{stem}_%I.log" if array else f"{stem}.log"

    def setup(self, spec: JobSpec) -> list[str]:
        """See :meth:`SchedulerAdapter.setup`."""
        lines = [nqsv_options.OWN_LOG]
        needs = spec.resources
        each = needs.computed_processes_per_node if isinstance(needs, ResourceSpecV1) else 1
        if each > 1:
            lines.append(f'_psij_hosts {each} >"$_psij_nodefile"')
        return lines

    def submit_command(
        self, options: Sequence[Option], outside: Sequence[Option], script: bytes, path: str
    ) -> Command:
        """See :meth:`SchedulerAdapter.submit_command`."""
        words = (word for option in outside for word in option)
        return Command(_found("qsub", *words, path), unset=_SUBMIT_UNSET)

    def parse_submit(self, result: CommandResult, array_count: int | None) -> Accepted | Rejected:
        """See :meth:`SchedulerAdapter.parse_submit`."""
        found = _SUBMITTED.findall(result.stdout)
        if not found and not result.ok:
            return self._rejected(result)
        if not found:
            return Rejected(f"qsub printed no request id: {result.complaint()}", uncertain=True)
        number, host = found[-1]
        if array_count is None:
            return Accepted([f"{number}{host}"])
        return Accepted([f"{number}[{index}]{host}" for index in range(1, array_count + 1)])

    @staticmethod
    def _rejected(result: CommandResult) -> Rejected:
        if result.missing or result.returncode == 127:
            return Rejected(
                "NQSV's commands are neither in PATH nor in /opt/nec/nqsv/bin: log in to a "
                "machine that has them"
            )
        text = result.complaint()
        if result.unanswered and not result.unreachable:
            text = f"{_program(result)} did not end in time"
        limit = _LIMIT.search(text) is not None
        return Rejected(
            text,
            transient=limit or result.unanswered or _UNREACHABLE.search(text) is not None,
            queue_limit=limit,
            uncertain=result.unanswered or _UNCERTAIN.search(text) is not None,
        )

    def site_command(self) -> Command:
        """See :meth:`SchedulerAdapter.site_command`."""
        return self.ping_command()

    def parse_site(self, result: CommandResult) -> Site | None:
        """See :meth:`SchedulerAdapter.parse_site`."""
        return Site(self.name, _MOST_ELEMENTS) if self.parse_ping(result) is None else None

    def ping_command(self) -> Command:
        """See :meth:`SchedulerAdapter.ping_command`. Without ``-n`` there is a header."""
        return _command("qstat", "-F", nqsv_output.QUERY_ITEMS, "-l")

    def parse_ping(self, result: CommandResult) -> str | None:
        """See :meth:`SchedulerAdapter.parse_ping`. Other schedulers also have a qstat."""
        if not result.ok:
            return self._rejected(result).message
        known = "RequestID" in result.stdout or nqsv_output.listed(result.stdout)
        return None if known or not result.stdout.strip() else "qstat is not that of NQSV"

    def record_name(self, native_id: str) -> tuple[str | None, str]:
        """See :meth:`SchedulerAdapter.record_name`."""
        return self.name, native_id.partition(".")[0]

    def check_id(self, native_id: str) -> str | None:
        """See :meth:`SchedulerAdapter.check_id`."""
        if _NATIVE_ID.fullmatch(native_id):
            return None
        return (
            f"{native_id!r} is not the id of an NQSV request: it must be like '12.host', or "
            "'12[3].host' for an element of an array; the host may be left out"
        )

    # -- status

    def query_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.query_commands`.

        All of the user's requests are listed; with elements of arrays among them also the
        parametric requests that they belong to.
        """
        scope = " ".join(native_ids)
        words = ("-F", nqsv_output.QUERY_ITEMS, "-n", "-l")
        commands = [_command("qstat", *words, scope=scope)]
        if any("[" in native_id for native_id in native_ids):
            commands.append(_command("qstat", "-R", *words, scope=scope))
        return commands

    def parse_query(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_query`."""
        if not result.ok:
            return Answer(problem=self._rejected(result).message)
        return nqsv_output.parse_query(result)

    def look_again(
        self, native_id: str, told: Mapping[str, Observation]
    ) -> tuple[Observation | None, bool]:
        """See :meth:`SchedulerAdapter.look_again`."""
        return nqsv_output.look_again(native_id, told)

    def accounting_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.accounting_commands`. Users may not read it."""
        return []

    def parse_accounting(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_accounting`."""
        return Answer(unavailable=True)

    def read_log(self, text: str) -> Hint | None:
        """See :meth:`SchedulerAdapter.read_log`."""
        return nqsv_output.read_log(text)

    # -- management

    def cancel_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.cancel_commands`."""
        return _on(("qdel",), native_ids)

    def hold_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.hold_commands`."""
        return _on(("qhold",), native_ids)

    def release_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.release_commands`."""
        return _on(("qrls",), native_ids)

    def parse_request(self, result: CommandResult) -> Rejected | None:
        """See :meth:`SchedulerAdapter.parse_request`. To cancel what has ended is no error."""
        if result.ok:
            return None
        lines = [line for line in f"{result.stdout}\n{result.stderr}".split("\n") if line.strip()]
        gone = result.returncode is not None and bool(lines)
        if gone and all(re.search(r"does not exist|No such request", line) for line in lines):
            return None
        return self._rejected(result)

    def list_command(self) -> Command:
        """See :meth:`SchedulerAdapter.list_command`."""
        return _command("qstat", "-F", nqsv_output.QUERY_ITEMS, "-n", "-l")

    def parse_list(self, result: CommandResult) -> list[str]:
        """See :meth:`SchedulerAdapter.parse_list`."""
        names = (f"{number}{host}" for number, host, _ in nqsv_output.listed(result.stdout))
        return [name for name in names if "[]" not in name]

    def logs_command(self) -> Command:
        """See :meth:`SchedulerAdapter.logs_command`."""
        return _command("qstat", "-f")

    def parse_logs(self, result: CommandResult) -> dict[str, str]:
        """See :meth:`SchedulerAdapter.parse_logs`."""
        return nqsv_output.parse_logs(result)

    def details_commands(
        self, native_ids: Collection[str] | None, owner: str | None
    ) -> list[Command]:
        """See :meth:`SchedulerAdapter.details_commands`. Those of others need a privilege."""
        if native_ids is not None:
            return _on(("qstat", "-f"), native_ids)
        return [_command("qstat", "-f", *(("-u", owner) if owner else ()))]

    def parse_details(self, result: CommandResult) -> list[Details]:
        """See :meth:`SchedulerAdapter.parse_details`."""
        return nqsv_output.parse_details(result)


class NqsvJobExecutor(BatchExecutor):
    """Submits to NQSV with its commands: ``qsub``, ``qstat``, ``qdel``, ``qhold``, ``qrls``.

    Custom attributes named ``nqsv.X`` become the option ``-X`` of qsub if X is a letter, else
    ``--X``; ``nqsv.l.X`` becomes ``-l X=value``.

    NQSV kills a job at its time limit at once, with SIGKILL, so that the job's script cannot tell
    of it, and then forgets the job. Only the job's log tells what has happened.
    """

    _NAME_ = "nqsv"
    _VERSION_ = "0.3.0"
    ADAPTER = NqsvAdapter
