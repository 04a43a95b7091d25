"""The executor for Cobalt, the resource manager that Argonne's machines had until 2023.

Sources: the manual pages and the source text of Cobalt 1.0 (qsub.py, qstat.py, client_utils.py,
cqm.py; BSD licence), and what the programs print. What Cobalt says about jobs is read in
:mod:`exaworks.psij.executors.cobalt_output`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence

from exaworks.psij.exceptions import InvalidJobException
from exaworks.psij.executors import cobalt_output
from exaworks.psij.executors.batch import (
    Accepted,
    Answer,
    BatchExecutor,
    Details,
    Hint,
    Option,
    Rejected,
    Request,
    SchedulerAdapter,
    Site,
)
from exaworks.psij.executors.batch.workers import Workers
from exaworks.psij.job import Job
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import JobStatus
from exaworks.psij.runner import Command, CommandResult

__all__ = ["CobaltAdapter", "CobaltJobExecutor"]

_ENVIRONMENT = {"LC_ALL": "C"}
# Variables that change what qstat prints, and those of the job that we run in, if we do.
_UNSET = ("CQSTAT_*", "QSTAT_*", "COBALT_*")

_LONG_NAMES = {
    "A": "project",
    "I": "interactive",
    "K": "kerneloptions",
    "M": "notify",
    "O": "outputprefix",
    "e": "error",
    "h": "held",
    "i": "inputfile",
    "n": "nodecount",
    "o": "output",
    "q": "queue",
    "t": "time",
    "u": "umask",
}
_HIDDEN = "set spec.stdout_path and spec.stderr_path"
_REFUSED = {
    "cwd": "set spec.directory",
    "debug": "leave it out",
    "debuglog": _HIDDEN,
    "dependencies": "set attributes.dependencies",
    "env": "set spec.environment",
    "error": _HIDDEN,
    "help": "leave it out",
    "inputfile": "set spec.stdin_path",
    "interactive": "use job.wait()",
    "mode": "set spec.executable and spec.launcher",
    "output": _HIDDEN,
    "outputprefix": _HIDDEN,
    "version": "leave it out",
}

_SUBMITTED = re.compile(r"^(\d+)$", re.MULTILINE | re.ASCII)
_LIMIT = re.compile(r"limit of \S+ (?:jobs|node hours) per user .*has been reached")
_UNREACHABLE = re.compile(
    r"Failed to connect to |Failed to contact |Connection refused|Connection reset|timed out|"
    r"Unable to (?:reach|contact)|Temporary failure|ComponentLookupError|try again",
    re.IGNORECASE,
)
_UNCERTAIN = re.compile(r"trying to execute|timed out|Connection reset", re.IGNORECASE)
_HARMLESS = re.compile(
    r"already (?:completed|in state|has a pending|active)|does not have a '|not found$|"
    r"Failed to (?:place|remove) |^\s*(?:No jobs found\.|Failed to match any jobs)?\s*$|"
    r"^ *(?:Placed|Removed) |^ +\d+"
)
_MANY = 1000  # words in a command

# Cobalt gives a job no environment but what qsub is told: the whole environment is left in a file
# beside the script. Cobalt starts that script by its path.
_SUBMIT_WITH_ENVIRONMENT = """\
umask 077
unset PWD OLDPWD SHLVL
export -p >"$1.env" || exit
shift
exec "$@\""""
_TAKE_ENVIRONMENT = '[ ! -r "$0.env" ] || { . "$0.env"; command -p rm -f -- "$0.env"; }'

# A Cray has no file with the names of nodes.
_NODE_LIST = """\
_psij_each=$((${COBALT_JOBSIZE:-1} / ${COBALT_PARTSIZE:-1}))
while [ -r "${COBALT_NODEFILE:-}" ] && read -r _psij_host; do
    _psij_left=$_psij_each
    while [ "$_psij_left" -gt 1 ]; do
        printf '%s\\n' "$_psij_host"
        _psij_left=$((_psij_left - 1))
    done
    printf '%s\\n' "$_psij_host"
done <"${COBALT_NODEFILE:-/dev/null}\""""


def _custom(attributes: JobAttributes) -> Iterator[tuple[str, str | None]]:
    """Options from custom attributes ``cobalt.X``: name and value."""
    for key, value in (attributes.custom_attributes or {}).items():
        prefix, dot, name = key.partition(".")
        if prefix.lower() != "cobalt" or not dot:
            continue
        name = _LONG_NAMES.get(name, name)
        if re.fullmatch(r"[A-Za-z][A-Za-z0-9_]+", name, re.ASCII) is None:
            raise InvalidJobException(
                f"custom attribute {key!r} names no option of qsub; write 'cobalt.' and the name "
                "of the option without hyphens in front, for instance 'cobalt.attrs'"
            )
        if name in _REFUSED:
            raise InvalidJobException(
                f"custom attribute {key!r} is not possible here: {_REFUSED[name]} instead"
            )
        text = "" if value is None or value is True else str(value)
        if "\0" in text:
            raise InvalidJobException(f"custom attribute {key!r} contains a NUL character")
        if value is not False:
            yield name, text or None


def _minutes(attributes: JobAttributes) -> str:
    """The walltime, which qsub insists on; 0 is the longest that the queue allows."""
    if attributes.duration is None:
        return "0"
    return str(max(1, -int(-attributes.duration.total_seconds() // 60)))


def _options(request: Request) -> list[Option]:
    attributes, needs = request.spec.attributes, request.needs
    chosen: dict[str, str | None] = {
        "nodecount": str(needs.computed_node_count),
        "proccount": str(needs.computed_process_count),
        "time": _minutes(attributes),
        # a reservation has a queue of its own
        "queue": attributes.reservation_id or attributes.queue_name,
        "project": attributes.account,
        "jobname": request.name,
    }
    chosen = {key: value for key, value in chosen.items() if value}
    chosen.update(_custom(attributes))
    ids = request.dependencies.get("afterok")
    if ids:
        chosen["dependencies"] = ":".join(ids)
    if request.held:
        chosen["held"] = None
    # qsub takes blanks out of the script's path, and Cobalt replaces $jobid in paths
    if re.search(r"[\s$]", request.log):
        raise InvalidJobException(
            f"Cobalt cannot use a work directory whose path contains a blank or '$': {request.log}"
        )
    if request.log:
        chosen.update(dict.fromkeys(("output", "error", "debuglog"), request.log))
    chosen["mode"] = "script"
    return [(f"--{k}",) if v is None else (f"--{k}={v}",) for k, v in chosen.items()]


class CobaltAdapter(SchedulerAdapter):
    """What there is to know about Cobalt. A native id is a number.

    Cobalt forgets a job as soon as it has ended; only the record of the job's script, and what
    Cobalt wrote into its log, tell how.
    """

    name = "cobalt"
    title = "Cobalt"
    directive = "#COBALT"
    script_file = True
    dependency_kinds = frozenset(("afterok",))
    shell_id = "$COBALT_JOBID"
    shell_element_id = "$COBALT_JOBID"
    shell_index = "0"
    shell_restarts = "0"
    shell_nodes = (
        '$([ -r "${COBALT_NODEFILE:-}" ] && command -p paste -s -d , "$COBALT_NODEFILE" || '
        'echo "${COBALT_PARTNAME:-}")'
    )
    shell_site = "cobalt"
    shell_node_list = _NODE_LIST

    def options(self, request: Request) -> list[Option]:
        """See :meth:`SchedulerAdapter.options`.

        Nodes are given whole, so there is nothing to say about cores, GPUs and memory.
        """
        return _options(request)

    def log_path(self, stem: str, array: bool) -> str:
        """See :meth:`SchedulerAdapter.log_path`. There are no arrays."""
        return f"{stem}.log"

    def setup(self, spec: JobSpec) -> list[str]:
        """See :meth:`SchedulerAdapter.setup`."""
        return [_TAKE_ENVIRONMENT] if spec.inherit_environment else []

    def submit_command(
        self, options: Sequence[Option], outside: Sequence[Option], script: bytes, path: str
    ) -> Command:
        """See :meth:`SchedulerAdapter.submit_command`."""
        argv = ("qsub", *(word for option in outside for word in option), path)
        if _TAKE_ENVIRONMENT.encode() in script:
            argv = ("/bin/sh", "-c", _SUBMIT_WITH_ENVIRONMENT, "qsub", path, *argv)
        return Command(argv, unset=_UNSET)

    def parse_submit(self, result: CommandResult, array_count: int | None) -> Accepted | Rejected:
        """See :meth:`SchedulerAdapter.parse_submit`. Everything but the id goes to stderr."""
        found = _SUBMITTED.findall(result.stdout)
        if found:
            return Accepted([found[-1]])
        if result.ok:
            return Rejected(f"qsub printed no job id: {result.complaint()}", uncertain=True)
        return self._rejected(result)

    @staticmethod
    def _rejected(result: CommandResult) -> Rejected:
        if result.missing or result.returncode == 127:
            return Rejected(
                "Cobalt's commands are not in PATH: load the site's Cobalt module, or log in to a "
                "machine that has them"
            )
        text = result.complaint()
        limit = _LIMIT.search(text) is not None
        return Rejected(
            text,
            transient=limit or result.unanswered or _UNREACHABLE.search(text) is not None,
            queue_limit=limit,
            uncertain=result.unanswered or _UNCERTAIN.search(text) is not None,
        )

    @staticmethod
    def _command(*argv: str) -> Command:
        return Command(argv, environment=_ENVIRONMENT, unset=_UNSET)

    def site_command(self) -> Command:
        """See :meth:`SchedulerAdapter.site_command`."""
        return self._command("qstat", "-Q")

    def parse_site(self, result: CommandResult) -> Site | None:
        """See :meth:`SchedulerAdapter.parse_site`. Other schedulers also have a qstat."""
        return Site(self.name) if result.ok and "MaxUserNodes" in result.stdout else None

    def ping_command(self) -> Command:
        """See :meth:`SchedulerAdapter.ping_command`."""
        return self.site_command()

    def parse_ping(self, result: CommandResult) -> str | None:
        """See :meth:`SchedulerAdapter.parse_ping`."""
        if self.parse_site(result) is not None:
            return None
        return "qstat is not that of Cobalt" if result.ok else self._rejected(result).message

    def record_name(self, native_id: str) -> tuple[str | None, str]:
        """See :meth:`SchedulerAdapter.record_name`."""
        return self.name, native_id

    def check_id(self, native_id: str) -> str | None:
        """See :meth:`SchedulerAdapter.check_id`."""
        if re.fullmatch(r"\d+", native_id, re.ASCII):
            return None
        return f"{native_id!r} is not the id of a Cobalt job: it must be a number"

    # -- status

    def _qstat(self, native_ids: Collection[str], *words: str) -> list[Command]:
        ids = list(native_ids)
        return [
            self._command("qstat", *words, *ids[at : at + _MANY])
            for at in range(0, len(ids), _MANY)
        ]

    def query_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.query_commands`."""
        return self._qstat(native_ids, "-l", f"--header={cobalt_output.QUERY_HEADER}")

    def parse_query(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_query`. If all jobs are gone, qstat just fails."""
        nothing = result.returncode == 1 and not result.stdout.strip()
        if result.ok or (nothing and not result.stderr.strip()):
            return Answer(cobalt_output.parse_query(result))
        return Answer(cobalt_output.parse_query(result), problem=self._rejected(result).message)

    def accounting_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.accounting_commands`. There is none."""
        return []

    def parse_accounting(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_accounting`."""
        return Answer(unavailable=True)

    def read_log(self, text: str) -> Hint | None:
        """See :meth:`SchedulerAdapter.read_log`."""
        return cobalt_output.read_log(text)

    # -- management

    def cancel_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.cancel_commands`."""
        return [self._command("qdel", *native_ids)]

    def hold_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.hold_commands`."""
        return [self._command("qhold", *native_ids)]

    def release_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.release_commands`."""
        return [self._command("qrls", *native_ids)]

    def parse_request(self, result: CommandResult) -> Rejected | None:
        """See :meth:`SchedulerAdapter.parse_request`. qhold says what failed, and ends with 0."""
        if not result.ok:
            return self._rejected(result)
        if result.command.argv[0] == "qdel":
            return None
        lines = f"{result.stdout}\n{result.stderr}".split("\n")
        complaints = [line.strip() for line in lines if not _HARMLESS.search(line)]
        return Rejected("; ".join(complaints)) if complaints else None

    def _of_user(self, owner: str | None, *words: str) -> Command:
        text = 'user=${1:-$(id -un)}; shift; exec qstat -u "$user" "$@"'
        return self._command("/bin/sh", "-c", text, "qstat", owner or "", *words)

    def list_command(self) -> Command:
        """See :meth:`SchedulerAdapter.list_command`."""
        return self._of_user(None, "-l", f"--header={cobalt_output.QUERY_HEADER}")

    def parse_list(self, result: CommandResult) -> list[str]:
        """See :meth:`SchedulerAdapter.parse_list`."""
        return [record["JobID"] for record in cobalt_output.records(result.stdout)]

    def logs_command(self) -> Command:
        """See :meth:`SchedulerAdapter.logs_command`."""
        return self._of_user(None, "-l", "--header=JobID:OutputPath")

    def parse_logs(self, result: CommandResult) -> dict[str, str]:
        """See :meth:`SchedulerAdapter.parse_logs`."""
        found = cobalt_output.records(result.stdout)
        return {record["JobID"]: record.get("OutputPath", "") for record in found}

    def details_commands(
        self, native_ids: Collection[str] | None, owner: str | None
    ) -> list[Command]:
        """See :meth:`SchedulerAdapter.details_commands`."""
        if native_ids is not None:
            return self._qstat(native_ids, "-f", "-l")
        if owner is not None:
            return [self._of_user(owner, "-f", "-l")]
        return [self._command("qstat", "-f", "-l")]

    def parse_details(self, result: CommandResult) -> list[Details]:
        """See :meth:`SchedulerAdapter.parse_details`."""
        return cobalt_output.parse_details(result)


class CobaltJobExecutor(BatchExecutor):
    """Submits to Cobalt with its commands: ``qsub``, ``qstat``, ``qdel``, ``qhold``, ``qrls``.

    Custom attributes named ``cobalt.X`` become the option ``--X`` of qsub.

    Cobalt keeps a job for ever whose dependency has failed. For us it has been cancelled, and it
    is deleted.
    """

    _NAME_ = "cobalt"
    _VERSION_ = "0.3.0"
    ADAPTER = CobaltAdapter

    def _set_job_status(self, job: Job, status: JobStatus) -> None:
        word = (status.metadata or {}).get("scheduler_state")
        if status.state is JobState.CANCELED and word == cobalt_output.NEVER:
            (command,) = self.adapter.cancel_commands([str(job.native_id)])
            Workers.get().run(lambda: self._runner.run(command))
        super()._set_job_status(job, status)
