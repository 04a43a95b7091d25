"""The executor for IBM Spectrum LSF.

Sources: the command reference of LSF 10.1 (bsub, bjobs, bkill, bstop, bresume, lsid, bparams,
bqueues), and what these programs print. How a job is described to LSF is in
:mod:`exaworks.psij.executors.lsf_options`, and what LSF says about jobs in
:mod:`exaworks.psij.executors.lsf_output`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from exaworks.psij.executors import lsf_options, lsf_output
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
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.resource_spec import ResourceSpecV1
from exaworks.psij.runner import Command, CommandResult

__all__ = ["LsfAdapter", "LsfJobExecutor"]

# The commands try again and again if LSF is busy; that is for us to do. bsub is not told, because
# the job would inherit it.
_ENVIRONMENT = {"LC_ALL": "C", "LSB_NTRIES": "1"}
_QUERY_UNSET = ("LSB_BJOBS_FORMAT", "BSUB_*")
# What describes the job that we run in, if we do, must not be taken for the new job's; nor may
# variables of the user suppress bsub's answer (BSUB_QUIET).
_SUBMIT_UNSET = (
    "BSUB_*",
    "LSB_ACCT_FILE",
    "LSB_AFFINITY_*",
    "LSB_BATCH_JID",
    "LSB_BIND_*",
    "LSB_CHKPNT_*",
    "LSB_DEPEND_COND",
    "LSB_DJOB_*",
    "LSB_ECHKPNT_*",
    "LSB_EEXEC_*",
    "LSB_EFFECTIVE_RSRCREQ",
    "LSB_ERRORFILE",
    "LSB_EXEC_*",
    "LSB_EXIT_*",
    "LSB_HOSTS",
    "LSB_INTERACTIVE",
    "LSB_JOB*",
    "LSB_MAX_NUM_PROCESSORS",
    "LSB_MCPU_HOSTS",
    "LSB_OUTDIR",
    "LSB_OUTPUTFILE",
    "LSB_PROJECT_NAME",
    "LSB_QUEUE",
    "LSB_RESTART*",
    "LSB_SUB_*",
    "LSB_TRAPSIGS",
    "LSB_UNIXGROUP*",
    "LS_EXEC_T",
    "LS_JOBPID",
    "LS_SUBCWD",
)

_JOB_ID = re.compile(r"(\d+)(?:\[(\d+)\])?", re.ASCII)
_SUBMITTED = re.compile(r"^Job <(\d+)> is submitted to ", re.MULTILINE | re.ASCII)
_LIMIT = re.compile(
    r"[Pp]ending job (?:slot )?(?:threshold|limit)|has reached its (?:pending )?job(?: slot)? limit"
)
_UNREACHABLE = re.compile(
    r"LSF is (?:down|processing your request)|Cannot connect to LSF|daemon not responding|"
    r"Batch system concurrent query limit|Connection refused by server|Communication time ?out|"
    r"Timeout on connect|Operation is in progress|Master batch daemon internal error|"
    r"MBD_?UNREACHABLE|LIM is down|Failed in an LSF library call|Batch daemon cannot fork|"
    r"not responding|End of file|Please wait|temporarily unavailable|Retrying in",
    re.IGNORECASE,
)
_UNCERTAIN = re.compile(r"Communication time ?out|End of file|Batch protocol error", re.IGNORECASE)
_HARMLESS = re.compile(
    r"is being (?:terminated|stopped|resumed|signaled)|already (?:finished|been)|"
    r"No matching job found|is not found|^\s*$"
)
_MANY = 500  # words in a command

_SITE_SCRIPT = "lsid || exit; bparams -a 2>/dev/null; bqueues -l 2>/dev/null; :"

# LSB_MCPU_HOSTS looks like "hostA 4 hostB 2": hosts and slots. _psij_hosts SLOTS prints each host
# once for that many of its slots.
_NODE_LIST = """\
_psij_hosts() {
    _psij_each=$1
    set -- $LSB_MCPU_HOSTS
    while [ $# -gt 1 ]; do
        _psij_left=$(($2 / _psij_each))
        while [ "$_psij_left" -gt 0 ]; do
            printf '%s\\n' "$1"
            _psij_left=$((_psij_left - 1))
        done
        shift 2
    done
}
_psij_hosts 1"""

# With whole nodes, as on Summit, the first host is the one that the script runs on.
_WHOLE_NODES = """\
_psij_whole() {
    _psij_each=$1
    set -- $LSB_MCPU_HOSTS
    [ $# -le 2 ] || shift 2
    while [ $# -gt 1 ]; do
        _psij_left=$_psij_each
        while [ "$_psij_left" -gt 0 ]; do
            printf '%s\\n' "$1"
            _psij_left=$((_psij_left - 1))
        done
        shift 2
    done
}"""


def _command(*argv: str) -> Command:
    return Command(argv, environment=_ENVIRONMENT, unset=_QUERY_UNSET)


def _compress(native_ids: Iterable[str]) -> list[str]:
    """Ids in which those of elements of an array are put together, as ``4[1-3,7]``."""
    words: list[str] = []
    arrays: dict[str, set[int]] = {}
    for native_id in native_ids:
        base, _, index = native_id.rstrip("]").partition("[")
        if index:
            arrays.setdefault(base, set()).add(int(index))
        else:
            words.append(base)
    for base, indices in arrays.items():
        ranges: list[list[int]] = []
        for number in sorted(indices):
            if ranges and number == ranges[-1][1] + 1:
                ranges[-1][1] = number
            else:
                ranges.append([number, number])
        texts = [str(a) if a == b else f"{a}-{b}" for a, b in ranges]
        words += [f"{base}[{','.join(texts[i : i + 200])}]" for i in range(0, len(texts), 200)]
    return words


def _on(program: str, native_ids: Collection[str]) -> list[Command]:
    words = _compress(native_ids)
    return [_command(program, *words[at : at + _MANY]) for at in range(0, len(words), _MANY)]


def _bases(native_ids: Iterable[str]) -> list[str]:
    """The ids of jobs and of whole arrays."""
    return list(dict.fromkeys(native_id.partition("[")[0] for native_id in native_ids))


class LsfAdapter(SchedulerAdapter):
    """What there is to know about LSF.

    A native id is a number, or ``"array[index]"`` for an element of an array.
    """

    name = "lsf"
    title = "LSF"
    directive = "#BSUB"
    dependency_kinds = frozenset(("after", "afterok", "afternotok", "afterany"))
    array_base = 1
    shell_id = "$LSB_JOBID"
    shell_element_id = "${LSB_JOBID}[$LSB_JOBINDEX]"
    shell_index = "$LSB_JOBINDEX"
    shell_restarts = '$([ -z "$LSB_RESTART" ]; echo $?)'
    shell_nodes = (
        "$(set -- $LSB_MCPU_HOSTS; _psij_nodes=; while [ $# -gt 1 ]; do "
        '_psij_nodes=$_psij_nodes,$1; shift 2; done; echo "${_psij_nodes#,}")'
    )
    shell_site = (
        '$(_psij_cluster=$("${LSF_BINDIR:+$LSF_BINDIR/}lsid" 2>/dev/null | '
        "command -p sed -n 's/^My cluster name is //p'); echo \"${_psij_cluster:-lsf}\")"
    )
    shell_stopped = '[ -n "$_psij_run_limit" ]'
    shell_node_list = _NODE_LIST

    def options(self, request: Request) -> list[Option]:
        """See :meth:`SchedulerAdapter.options`."""
        return lsf_options.options(request)

    def log_path(self, stem: str, array: bool) -> str:
        """See :meth:`SchedulerAdapter.log_path`. The script writes it; LSF keeps the path."""
        return stem + ("_%I.log" if array else ".log")

    def setup(self, spec: JobSpec) -> list[str]:
        """See :meth:`SchedulerAdapter.setup`. At the run limit, LSF sends SIGUSR2 first."""
        lines = ['exec >"$_psij_log" 2>&1', "trap '_psij_run_limit=1' USR2"]
        needs = spec.resources
        if not isinstance(needs, ResourceSpecV1):
            return lines
        cores = needs.cpu_cores_per_process or 1
        if lsf_options.allocated_nodes(spec):
            each = needs.computed_processes_per_node
            lines += [_WHOLE_NODES, f'_psij_whole {each} >"$_psij_nodefile"']
        elif cores > 1:
            lines.append(f'_psij_hosts {cores} >"$_psij_nodefile"')
        return lines

    def submit_command(
        self, options: Sequence[Option], outside: Sequence[Option], script: bytes, path: str
    ) -> Command:
        """See :meth:`SchedulerAdapter.submit_command`. The script goes to standard input."""
        words = [word for option in outside for word in option]
        text = lsf_options.one_line(script, len(options) - len(outside))
        return Command(("bsub", *words), text, unset=_SUBMIT_UNSET)

    def parse_submit(self, result: CommandResult, array_count: int | None) -> Accepted | Rejected:
        """See :meth:`SchedulerAdapter.parse_submit`."""
        found = _SUBMITTED.findall(result.stdout)
        if not found and not result.ok:
            return self._rejected(result)
        if not found:
            return Rejected(f"bsub printed no job id: {result.complaint()}", uncertain=True)
        if array_count is None:
            return Accepted([found[-1]])
        return Accepted([f"{found[-1]}[{index}]" for index in range(1, array_count + 1)])

    @staticmethod
    def _rejected(result: CommandResult) -> Rejected:
        program = result.command.argv[0]
        if result.missing or (program == "/bin/sh" and result.returncode == 127):
            return Rejected(
                "LSF's commands are not in PATH: source the site's profile.lsf or load its LSF "
                "module, or log in to a machine that has them"
            )
        text = result.complaint()
        if "lsf.conf" in text:
            text += " (source the profile.lsf of the installation, which sets LSF_ENVDIR)"
        limit = _LIMIT.search(text) is not None
        return Rejected(
            text,
            transient=limit or result.unanswered or _UNREACHABLE.search(text) is not None,
            queue_limit=limit,
            uncertain=result.unanswered or _UNCERTAIN.search(text) is not None,
        )

    def site_command(self) -> Command:
        """See :meth:`SchedulerAdapter.site_command`."""
        return _command("/bin/sh", "-c", _SITE_SCRIPT)

    def parse_site(self, result: CommandResult) -> Site | None:
        """See :meth:`SchedulerAdapter.parse_site`."""
        return lsf_output.parse_site(result)

    def ping_command(self) -> Command:
        """See :meth:`SchedulerAdapter.ping_command`."""
        return _command("lsid")

    def parse_ping(self, result: CommandResult) -> str | None:
        """See :meth:`SchedulerAdapter.parse_ping`."""
        return None if self.parse_site(result) is not None else self._rejected(result).message

    def record_name(self, native_id: str) -> tuple[str | None, str]:
        """See :meth:`SchedulerAdapter.record_name`."""
        return None, native_id

    def check_id(self, native_id: str) -> str | None:
        """See :meth:`SchedulerAdapter.check_id`."""
        if _JOB_ID.fullmatch(native_id):
            return None
        return (
            f"{native_id!r} is not the id of an LSF job: it must be a number, or like '12[3]' for "
            "an element of an array"
        )

    # -- status

    def _bjobs(self, native_ids: Collection[str], fields: str) -> list[Command]:
        """Commands that tell about jobs; of very many, all of the user's are listed."""
        words = ("bjobs", "-a", "-json", "-o", fields)
        bases = _bases(native_ids)
        return [_command(*words, *(bases if len(bases) <= _MANY else ()))]

    def query_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.query_commands`."""
        return self._bjobs(native_ids, lsf_output.QUERY_FIELDS)

    def parse_query(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_query`."""
        answer = lsf_output.parse_query(result)
        return Answer(problem=self._rejected(result).message) if answer is None else answer

    def accounting_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.accounting_commands`.

        There are none: bjobs tells about jobs for an hour after their end (``CLEAN_PERIOD``).
        """
        return []

    def parse_accounting(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_accounting`."""
        return Answer(unavailable=True)

    # -- management

    def cancel_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.cancel_commands`."""
        return _on("bkill", native_ids)

    def hold_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.hold_commands`."""
        return _on("bstop", native_ids)

    def release_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.release_commands`."""
        return _on("bresume", native_ids)

    def parse_request(self, result: CommandResult) -> Rejected | None:
        """See :meth:`SchedulerAdapter.parse_request`. It is no failure if a job has ended."""
        if result.ok:
            return None
        lines = f"{result.stdout}\n{result.stderr}".split("\n")
        if result.returncode is not None and any(line.strip() for line in lines):
            complaints = [line for line in lines if not _HARMLESS.search(line)]
            if not complaints:
                return None
        return self._rejected(result)

    def list_command(self) -> Command:
        """See :meth:`SchedulerAdapter.list_command`."""
        return self._listing(lsf_output.QUERY_FIELDS)

    def parse_list(self, result: CommandResult) -> list[str]:
        """See :meth:`SchedulerAdapter.parse_list`."""
        return lsf_output.parse_list(result)

    def logs_command(self) -> Command:
        """See :meth:`SchedulerAdapter.logs_command`."""
        return self._listing(lsf_output.LOGS_FIELDS)

    @staticmethod
    def _listing(fields: str) -> Command:
        """All of the user's jobs. bjobs may end with 255 if there are none."""
        text = 'bjobs -a -json -o "$1"; case $? in 0 | 255) ;; *) exit 1 ;; esac'
        return _command("/bin/sh", "-c", text, "exaworks", fields)

    def parse_logs(self, result: CommandResult) -> dict[str, str]:
        """See :meth:`SchedulerAdapter.parse_logs`."""
        return lsf_output.parse_logs(result)

    def details_commands(
        self, native_ids: Collection[str] | None, owner: str | None
    ) -> list[Command]:
        """See :meth:`SchedulerAdapter.details_commands`."""
        if native_ids is not None:
            return self._bjobs(native_ids, lsf_output.DETAILS_FIELDS)
        words = ("-json", "-o", lsf_output.DETAILS_FIELDS, "-u", owner or "all")
        return [_command("bjobs", *words)]

    def parse_details(self, result: CommandResult) -> list[Details]:
        """See :meth:`SchedulerAdapter.parse_details`."""
        return lsf_output.parse_details(result, datetime.now())


class LsfJobExecutor(BatchExecutor):
    """Submits to LSF with its commands: ``bsub``, ``bjobs``, ``bkill``, ``bstop``, ``bresume``.

    Custom attributes named ``lsf.X`` become the option ``-X`` of bsub.
    """

    _NAME_ = "lsf"
    _VERSION_ = "0.3.0"
    ADAPTER = LsfAdapter
