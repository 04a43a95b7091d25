"""The executor for Slurm.

Sources: sbatch(1), scancel(1) and scontrol(1) of Slurm 22.05 to 24.11, and what these programs
print. How a job is described to Slurm is in :mod:`exaworks.psij.executors.slurm_options`, and what
Slurm says about jobs in :mod:`exaworks.psij.executors.slurm_output`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from exaworks.psij.executors import slurm_options, slurm_output
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
from exaworks.psij.runner import Command, CommandResult, LocalRunner, Runner

if TYPE_CHECKING:
    from exaworks.psij.survey import Survey

__all__ = ["SlurmAdapter", "SlurmJobExecutor"]

# Variables that change what the commands do or print.
_QUERY_UNSET = ("SQUEUE_*", "SACCT_*", "SCANCEL_*", "SLURM_BITSTR_LEN")
_QUERY_ENVIRONMENT = {"SLURM_TIME_FORMAT": "standard", "LC_ALL": "C"}
# What describes the job that we run in, if we do, must not be taken for the new job's.
_SUBMIT_UNSET = (
    "SLURMD_NODENAME",
    "SLURM_ARRAY_*",
    "SLURM_CLUSTER_NAME",
    "SLURM_CPUS_*",
    "SLURM_DISTRIBUTION",
    "SLURM_EXPORT_ENV",
    "SLURM_GPUS*",
    "SLURM_GTIDS",
    "SLURM_HET_*",
    "SLURM_JOB*",
    "SLURM_LOCALID",
    "SLURM_MEM_*",
    "SLURM_NNODES",
    "SLURM_NODE*",
    "SLURM_NPROCS",
    "SLURM_NTASKS*",
    "SLURM_PROCID",
    "SLURM_RESTART_COUNT",
    "SLURM_STEP*",
    "SLURM_SUBMIT_*",
    "SLURM_TASK*",
    "SLURM_TRES_PER_TASK",
    "SLURM_WORKING_CLUSTER",
)

_ID = re.compile(r"\d+(?:_\d+)?(?:;[\w.-]+)?", re.ASCII)
# A line without an end may lack digits of the id.
_SUBMITTED = re.compile(r"^(\d+)(?:;([\w.-]+))?\n", re.MULTILINE | re.ASCII)
_LIMIT = re.compile(
    r"(?:Assoc|QOS)\w*Submit\w*Limit|temporarily unable to accept|Resource temporarily unavail"
)
_UNREACHABLE = re.compile(
    r"Unable to contact slurm controller|Socket timed out|Zero Bytes were transmitted|"
    r"Connection (?:refused|timed out|reset)|connect(?:ion)? failure|in standby mode|"
    r"in transition|Transport endpoint|try again",
    re.IGNORECASE,
)
_UNCERTAIN = re.compile(r"Socket timed out|Zero Bytes|Connection reset|Transport endpoint")
_MANY = 1000  # words in a command

# SLURM_TASKS_PER_NODE looks like "2(x3),1".
_NODE_LIST = """\
_psij_hosts() {
    if [ "${SLURM_JOB_NUM_NODES:-1}" = 1 ]; then
        set -- "$SLURM_JOB_NODELIST"
    else
        set -- $(scontrol show hostnames "$SLURM_JOB_NODELIST")
    fi
    _psij_rest=${SLURM_TASKS_PER_NODE:-1},
    while [ -n "$_psij_rest" ]; do
        _psij_group=${_psij_rest%%,*} _psij_rest=${_psij_rest#*,} _psij_times=1
        case $_psij_group in
        *x*) _psij_times=${_psij_group#*x} _psij_times=${_psij_times%%)*} ;;
        esac
        while [ "$_psij_times" -gt 0 ] && [ $# -gt 0 ]; do
            _psij_count=${_psij_group%%(*}
            while [ "$_psij_count" -gt 0 ]; do
                printf '%s\\n' "$1"
                _psij_count=$((_psij_count - 1))
            done
            shift
            _psij_times=$((_psij_times - 1))
        done
    done
}
_psij_hosts"""


def _compress(ids: Iterable[str]) -> list[str]:
    """Ids in which those of elements of an array are put together, as ``4_[0-2,7]``."""
    words: list[str] = []
    arrays: dict[str, set[int]] = {}
    for native_id in ids:
        base, _, number = native_id.partition("_")
        if number:
            arrays.setdefault(base, set()).add(int(number))
        else:
            words.append(base)
    for base, indices in arrays.items():
        ranges: list[list[int]] = []
        for index in sorted(indices):
            if ranges and index == ranges[-1][1] + 1:
                ranges[-1][1] = index
            else:
                ranges.append([index, index])
        texts = [str(a) if a == b else f"{a}-{b}" for a, b in ranges]
        words += [f"{base}_[{','.join(texts[i : i + 200])}]" for i in range(0, len(texts), 200)]
    return words


def _by_cluster(native_ids: Iterable[str]) -> dict[str, list[str]]:
    """The ids without cluster, by cluster (``""``: the default one)."""
    groups: dict[str, list[str]] = {}
    for native_id in native_ids:
        bare, _, cluster = native_id.partition(";")
        groups.setdefault(cluster, []).append(bare)
    return groups


def _bases(ids: Iterable[str]) -> list[str]:
    """The ids of jobs and of whole arrays."""
    return sorted({bare.partition("_")[0] for bare in ids})


def _parts(words: Sequence[str]) -> Iterable[Sequence[str]]:
    """Parts that are not too long for one command."""
    return [words[at : at + _MANY] for at in range(0, len(words), _MANY)]


def _query(cluster: str, program: str, *words: str) -> Command:
    where = (f"--clusters={cluster}",) if cluster else ()
    return Command(
        (program, *where, *words),
        environment=_QUERY_ENVIRONMENT,
        unset=_QUERY_UNSET,
        scope=cluster,
    )


class SlurmAdapter(SchedulerAdapter):
    """What there is to know about Slurm.

    A native id is a number, or ``"array_index"`` for an element of an array; either is followed by
    ``";cluster"`` if the job was sent to another cluster (custom attribute ``slurm.clusters``).
    """

    name = "slurm"
    title = "Slurm"
    directive = "#SBATCH"
    dependency_kinds = frozenset(("after", "afterok", "afternotok", "afterany"))
    shell_id = "$SLURM_JOB_ID"
    shell_element_id = "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
    shell_index = "$SLURM_ARRAY_TASK_ID"
    shell_restarts = "${SLURM_RESTART_COUNT:-0}"
    shell_nodes = "$SLURM_JOB_NODELIST"
    shell_site = "${SLURM_CLUSTER_NAME:-slurm}"
    # slurmstepd says so in the log before it sends signals.
    shell_stopped = (
        '[ -s "$_psij_log" ] && '
        """command -p grep -q '^slurmstepd.* CANCELLED AT ' "$_psij_log" """.rstrip()
    )
    shell_node_list = _NODE_LIST

    def options(self, request: Request) -> list[Option]:
        """See :meth:`SchedulerAdapter.options`."""
        return slurm_options.options(request)

    def log_path(self, stem: str, array: bool) -> str:
        """See :meth:`SchedulerAdapter.log_path`."""
        return stem.replace("%", "%%") + ("_%a.log" if array else ".log")

    def setup(self, spec: JobSpec) -> list[str]:
        """See :meth:`SchedulerAdapter.setup`."""
        # Otherwise srun would not hand the environment of the script on to the processes.
        return [] if spec.inherit_environment else ["export SLURM_EXPORT_ENV=ALL"]

    def submit_command(
        self, options: Sequence[Option], outside: Sequence[Option], script: bytes, path: str
    ) -> Command:
        """See :meth:`SchedulerAdapter.submit_command`. The script goes to standard input."""
        unset = (*_SUBMIT_UNSET, *slurm_options.overriding_variables(options))
        words = [word for option in outside for word in option]
        return Command(("sbatch", "--parsable", *words), script, unset=unset)

    def parse_submit(self, result: CommandResult, array_count: int | None) -> Accepted | Rejected:
        """See :meth:`SchedulerAdapter.parse_submit`."""
        if not result.ok:
            return self._rejected(result)
        found = _SUBMITTED.findall(result.stdout)
        if not found:
            return Rejected(f"sbatch printed no job id: {result.stdout!r}", uncertain=True)
        number, cluster = found[-1]
        suffix = f";{cluster}" if cluster else ""
        if array_count is None:
            return Accepted([number + suffix])
        return Accepted([f"{number}_{index}{suffix}" for index in range(array_count)])

    @staticmethod
    def _rejected(result: CommandResult) -> Rejected:
        if result.missing:
            return Rejected(
                f"Slurm's commands are not in PATH ({result.command.argv[0]} was not found): load "
                "the site's Slurm module, or log in to a machine that has them"
            )
        text = re.sub(r"\b(?:sbatch|scancel|squeue|scontrol): (?:error: )?", "", result.complaint())
        if "configuration source" in text:
            text += "; set SLURM_CONF to the path of slurm.conf"
        limit = _LIMIT.search(text) is not None
        return Rejected(
            text,
            transient=limit or result.unanswered or _UNREACHABLE.search(text) is not None,
            queue_limit=limit,
            uncertain=result.unanswered or _UNCERTAIN.search(text) is not None,
        )

    def site_command(self) -> Command:
        """See :meth:`SchedulerAdapter.site_command`."""
        return _query("", "scontrol", "show", "config")

    def parse_site(self, result: CommandResult) -> Site | None:
        """See :meth:`SchedulerAdapter.parse_site`."""
        return slurm_output.parse_site(result)

    def ping_command(self) -> Command:
        """See :meth:`SchedulerAdapter.ping_command`."""
        return _query("", "scontrol", "ping")

    def parse_ping(self, result: CommandResult) -> str | None:
        """See :meth:`SchedulerAdapter.parse_ping`. A backup controller will do."""
        if " is UP" in result.stdout or (result.ok and " is DOWN" not in result.stdout):
            return None
        return self._rejected(result).message

    def record_name(self, native_id: str) -> tuple[str | None, str]:
        """See :meth:`SchedulerAdapter.record_name`."""
        bare, _, cluster = native_id.partition(";")
        return cluster or None, bare

    def check_id(self, native_id: str) -> str | None:
        """See :meth:`SchedulerAdapter.check_id`."""
        if _ID.fullmatch(native_id):
            return None
        return (
            f"{native_id!r} is not the id of a Slurm job: it must be a number, or two numbers like "
            "'12_3' for an element of an array"
        )

    def query_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.query_commands`.

        For very many jobs, all of the user's are listed, which costs no more.
        """
        commands = []
        for cluster, ids in _by_cluster(native_ids).items():
            bases = _bases(ids)
            which = ("--me",) if len(bases) > _MANY else ("-j", ",".join(bases))
            words = ("-h", "-r", "-t", "all", *which, "-O", slurm_output.QUERY_FORMAT)
            commands.append(_query(cluster, "squeue", *words))
        return commands

    def parse_query(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_query`."""
        if not result.ok and "Invalid job id specified" not in result.stderr:
            return Answer(problem=self._rejected(result).message)
        return slurm_output.parse_query(result)

    def accounting_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.accounting_commands`."""
        words = ("-X", "-P", "-n", "-o", slurm_output.ACCOUNTING_FORMAT, "-j")
        return [
            _query(cluster, "sacct", *words, ",".join(part))
            for cluster, ids in _by_cluster(native_ids).items()
            for part in _parts(_bases(ids))
        ]

    def parse_accounting(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_accounting`."""
        if not result.ok:
            none = result.missing or "accounting storage is disabled" in result.stderr
            return Answer(problem=result.complaint(), unavailable=none)
        return slurm_output.parse_accounting(result)

    def look_again(
        self, native_id: str, told: Mapping[str, Observation]
    ) -> tuple[Observation | None, bool]:
        """See :meth:`SchedulerAdapter.look_again`."""
        return slurm_output.look_again(native_id, told)

    def read_log(self, text: str) -> Hint | None:
        """See :meth:`SchedulerAdapter.read_log`."""
        return slurm_output.read_log(text)

    def cancel_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.cancel_commands`."""
        return [
            _query(cluster, "scancel", *part)
            for cluster, ids in _by_cluster(native_ids).items()
            for part in _parts(_compress(ids))
        ]

    def hold_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.hold_commands`."""
        return self._scontrol("hold", native_ids)

    def release_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.release_commands`."""
        return self._scontrol("release", native_ids)

    @staticmethod
    def _scontrol(what: str, native_ids: Collection[str]) -> list[Command]:
        return [
            _query(cluster, "scontrol", what, ",".join(part))
            for cluster, ids in _by_cluster(native_ids).items()
            for part in _parts(ids)
        ]

    def parse_request(self, result: CommandResult) -> Rejected | None:
        """See :meth:`SchedulerAdapter.parse_request`."""
        if result.ok or "already completing or completed" in result.stderr:
            return None
        return self._rejected(result)

    def list_command(self) -> Command:
        """See :meth:`SchedulerAdapter.list_command`."""
        words = ("-h", "-r", "--me", "-t", "all", "-o", slurm_output.LIST_FORMAT)
        return _query("", "squeue", *words)

    def parse_list(self, result: CommandResult) -> list[str]:
        """See :meth:`SchedulerAdapter.parse_list`."""
        return slurm_output.parse_list(result)

    def logs_command(self) -> Command:
        """See :meth:`SchedulerAdapter.logs_command`."""
        words = ("-h", "-r", "--me", "-t", "all", "-O", slurm_output.LOGS_FORMAT)
        return _query("", "squeue", *words)

    def parse_logs(self, result: CommandResult) -> dict[str, str]:
        """See :meth:`SchedulerAdapter.parse_logs`."""
        return slurm_output.parse_logs(result)

    def details_commands(
        self, native_ids: Collection[str] | None, owner: str | None
    ) -> list[Command]:
        """See :meth:`SchedulerAdapter.details_commands`."""
        words = ("-h", "-r", "-t", "all", "-O", slurm_output.DETAILS_FORMAT)
        if native_ids is None:
            return [_query("", "squeue", *words, *(("-u", owner) if owner else ()))]
        return [
            _query(cluster, "squeue", *words, "-j", ",".join(part))
            for cluster, ids in _by_cluster(native_ids).items()
            for part in _parts(ids)
        ]

    def parse_details(self, result: CommandResult) -> list[Details]:
        """See :meth:`SchedulerAdapter.parse_details`."""
        return slurm_output.parse_details(result)


class SlurmJobExecutor(BatchExecutor):
    """Submits to Slurm with its commands: ``sbatch``, ``squeue``, ``sacct``, ``scancel``.

    Custom attributes named ``slurm.X`` become the option ``--X`` of sbatch.
    """

    _NAME_ = "slurm"
    _VERSION_ = "0.3.0"
    ADAPTER = SlurmAdapter

    @classmethod
    def survey(cls, runner: Runner | None = None) -> Survey | None:
        """What Slurm says about itself, here or where ``runner`` runs commands.

        Raises:
            SurveyFailed: it does not answer, or not in a way that is understood.
        """
        from exaworks.psij.executors.slurm_survey import SlurmSurveyor
        from exaworks.psij.survey import conduct

        return conduct(SlurmSurveyor(), runner or LocalRunner())
