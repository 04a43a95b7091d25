"""The executor for Grid Engine: SGE, Univa/Altair Grid Engine, Open Cluster Scheduler.

Sources: qsub(1), qstat(1), qacct(1), qdel(1), qhold(1), qconf(1) and sge_types(5) of Son of Grid
Engine 8.1.9, and what these programs print. How a job is described to Grid Engine is in
:mod:`exaworks.psij.executors.grid_engine_options`, and what Grid Engine says about jobs in
:mod:`exaworks.psij.executors.grid_engine_output` and
:mod:`exaworks.psij.executors.grid_engine_details`.
"""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Collection, Iterable, Sequence

from exaworks.core.reactor import Reactor
from exaworks.psij.executors import (
    grid_engine_details,
    grid_engine_options,
    grid_engine_output,
    grid_engine_shell,
)
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
from exaworks.psij.executors.batch.workers import Workers
from exaworks.psij.job import Job
from exaworks.psij.job_executor_config import JobExecutorConfig
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import JobStatus
from exaworks.psij.resource_spec import ResourceSpecV1
from exaworks.psij.runner import Command, CommandResult

__all__ = ["GridEngineAdapter", "GridEngineJobExecutor"]

# Variables that change what the commands print.
_QUERY_UNSET = ("SGE_DEBUG_LEVEL", "SGE_SINGLE_LINE")
_QUERY_ENVIRONMENT = {"LC_ALL": "C"}
_ID = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,18})?")
# A line without an end may lack digits of the id.
_SUBMITTED = re.compile(r"^(\d+)(?:\.(\d+)-(\d+):(\d+))?\n", re.MULTILINE | re.ASCII)
_LIMIT = re.compile(r"only \d+ jobs are allowed per (?:user|cluster)")
_UNREACHABLE = re.compile(
    r"commlib error|unable to (?:contact|send message to|receive message from) qmaster|"
    r"got (?:send|read|receive|select|connect\w*) error|try again",
    re.IGNORECASE,
)
_UNCERTAIN = re.compile(
    r"got (?:read|receive) error|receive message|timeout|Error reading answer list", re.IGNORECASE
)
_TRY_AGAIN = 25  # qsub's exit code if the job was refused for now
_HARMLESS = re.compile(
    r"does not exist|do not exist|already in deletion|has (?:registered|deleted)|modified hold|"
    r"^\s*$"
)
_MANY = 200  # words in a command
_FEW = 16  # jobs that the accounting is asked about one by one
# qdel sends SIGKILL, so that the script cannot tell of its end.
_LOOK_AFTER_CANCEL = (1.0, 3.0)  # seconds


def _compress(native_ids: Iterable[str]) -> list[str]:
    """Ids in which those of neighbours in an array are put together, as ``4.1-7``."""
    words: list[str] = []
    arrays: dict[str, list[int]] = {}
    for native_id in native_ids:
        base, _, task = native_id.partition(".")
        if task:
            arrays.setdefault(base, []).append(int(task))
        else:
            words.append(base)
    for base, tasks in arrays.items():
        ranges: list[list[int]] = []
        for task_id in sorted(tasks):
            if ranges and task_id == ranges[-1][1] + 1:
                ranges[-1][1] = task_id
            else:
                ranges.append([task_id, task_id])
        words += [f"{base}.{a}" if a == b else f"{base}.{a}-{b}" for a, b in ranges]
    return words


def _query(*words: str, scope: str = "") -> Command:
    return Command(words, environment=_QUERY_ENVIRONMENT, unset=_QUERY_UNSET, scope=scope)


def _on(native_ids: Collection[str], *words: str) -> list[Command]:
    """Commands that do something to jobs, each with not too many words."""
    ids = _compress(native_ids)
    return [_query(*words, *ids[at : at + _MANY]) for at in range(0, len(ids), _MANY)]


def _bases(native_ids: Iterable[str]) -> list[str]:
    """The ids of jobs and of whole arrays."""
    return list(dict.fromkeys(native_id.partition(".")[0] for native_id in native_ids))


class GridEngineAdapter(SchedulerAdapter):
    """What there is to know about Grid Engine.

    A native id is a number, or ``"array.task"`` for an element of an array.
    """

    name = "grid_engine"
    title = "Grid Engine"
    directive = "#$"
    dependency_kinds = frozenset(("afterany",))
    array_base = 1
    shell_id = "$JOB_ID"
    shell_element_id = "$JOB_ID.$SGE_TASK_ID"
    shell_index = "$SGE_TASK_ID"
    shell_restarts = "${RESTARTED:-0}"
    shell_nodes = (
        '$(command -p cut -d " " -f 1 "${PE_HOSTFILE:-/dev/null}" | command -p paste -s -d , -)'
    )
    shell_site = f"$({grid_engine_shell.CLUSTER} || echo default)"
    shell_stopped = '[ -n "$_psij_notified" ]'
    shell_node_list = grid_engine_shell.HOSTS

    def options(self, request: Request) -> list[Option]:
        """See :meth:`SchedulerAdapter.options`."""
        return grid_engine_options.options(request)

    def log_path(self, stem: str, array: bool) -> str:
        """See :meth:`SchedulerAdapter.log_path`."""
        return f"{stem}_$TASK_ID.log" if array else f"{stem}.log"

    def setup(self, spec: JobSpec) -> list[str]:
        """See :meth:`SchedulerAdapter.setup`."""
        lines = [grid_engine_shell.SETUP]
        needs = spec.resources
        cores = needs.cpu_cores_per_process if isinstance(needs, ResourceSpecV1) else None
        if cores is not None and cores > 1:
            lines.append(f'_psij_hosts {cores} >"$_psij_nodefile"')
        return lines

    def submit_command(
        self, options: Sequence[Option], outside: Sequence[Option], script: bytes, path: str
    ) -> Command:
        """See :meth:`SchedulerAdapter.submit_command`. The script goes to standard input.

        qsub takes every line of the script that begins like an option for one, also in the middle
        of an argument of the job. If there is such a line, it is told to look for none.
        """
        inside = len(options) - len(outside)
        ambiguous = len(re.findall(rb"^#\$", script, re.MULTILINE)) != inside
        words = [word for option in (options if ambiguous else outside) for word in option]
        prefix = "" if ambiguous else self.directive
        return Command(
            ("qsub", *grid_engine_options.FIXED, "-C", prefix, *words),
            script,
            unset=grid_engine_options.OF_OUR_OWN_JOB,
        )

    def parse_submit(self, result: CommandResult, array_count: int | None) -> Accepted | Rejected:
        """See :meth:`SchedulerAdapter.parse_submit`."""
        found = _SUBMITTED.findall(result.stdout)
        count = str(array_count) if array_count is not None else ""
        taken = bool(found) and found[-1][2] == count
        # If a file of default requests says "-sync y", it waits, and ends with the jobs' exit code.
        if not result.ok and not taken:
            return self._rejected(result)
        if not taken:
            return Rejected(
                f"qsub printed no id of {'an array' if count else 'a job'}: {result.stdout!r}",
                uncertain=True,
            )
        number = found[-1][0]
        if array_count is None:
            return Accepted([number])
        return Accepted([f"{number}.{task}" for task in range(1, array_count + 1)])

    @staticmethod
    def _rejected(result: CommandResult) -> Rejected:
        program = result.command.argv[0]
        if result.missing or (program == "sh" and result.returncode == 127):
            return Rejected(
                f"Grid Engine's commands are not in PATH ({program} could not be run): load the "
                "site's Grid Engine module, or log in to a machine that has them"
            )
        text = re.sub(r"Unable to run job: |\bqsub: | ?\bExiting\.$", "", result.complaint())
        if "environment variable SGE_ROOT" in text:
            text += " (source the settings.sh of the installation, or load its module)"
        limit = _LIMIT.search(text) is not None
        again = limit or result.returncode == _TRY_AGAIN or result.unanswered
        return Rejected(
            text,
            transient=again or _UNREACHABLE.search(text) is not None,
            queue_limit=limit,
            uncertain=result.unanswered or _UNCERTAIN.search(text) is not None,
        )

    def site_command(self) -> Command:
        """See :meth:`SchedulerAdapter.site_command`."""
        return _query("sh", "-c", grid_engine_shell.SITE_SCRIPT)

    def parse_site(self, result: CommandResult) -> Site | None:
        """See :meth:`SchedulerAdapter.parse_site`."""
        return grid_engine_output.parse_site(result)

    def ping_command(self) -> Command:
        """See :meth:`SchedulerAdapter.ping_command`."""
        return self.list_command()

    def parse_ping(self, result: CommandResult) -> str | None:
        """See :meth:`SchedulerAdapter.parse_ping`. Other schedulers also have a qstat."""
        if result.ok and "</job_info>" in result.stdout:
            return None
        if result.ok:
            return "qstat is not that of Grid Engine"
        return self._rejected(result).message

    def record_name(self, native_id: str) -> tuple[str | None, str]:
        """See :meth:`SchedulerAdapter.record_name`."""
        return None, native_id

    def check_id(self, native_id: str) -> str | None:
        """See :meth:`SchedulerAdapter.check_id`."""
        if _ID.fullmatch(native_id):
            return None
        return (
            f"{native_id!r} is not the id of a Grid Engine job: it must be a number, or two "
            "numbers like '12.3' for an element of an array"
        )

    def query_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.query_commands`.

        qstat lists all jobs of a user, and does so faster than it tells about one; elements of an
        array that wait take one entry.
        """
        return [self.list_command()]

    def parse_query(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_query`."""
        if not result.ok:
            return Answer(problem=self._rejected(result).message)
        return grid_engine_output.parse_query(result)

    def accounting_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.accounting_commands`.

        qacct reads the whole accounting file and finds one job or array at a time. So a few are
        looked for one by one; of more, all that the user has begun within a week are listed.
        """
        bases = _bases(native_ids)
        if len(bases) > _FEW:
            return [_query("sh", "-c", grid_engine_shell.ACCOUNTING_SCRIPT)]
        return [_query("qacct", "-j", base) for base in bases]

    def parse_accounting(self, result: CommandResult) -> Answer:
        """See :meth:`SchedulerAdapter.parse_accounting`."""
        if result.missing:
            return Answer(problem=result.complaint(), unavailable=True)
        complaint = result.stderr.strip()
        if result.ok or not complaint or re.search(r"\bnot found\b", complaint):
            return grid_engine_output.parse_accounting(result)
        # Nothing was accounted yet, or the file is kept on another machine.
        none = "No such file" in complaint or "no jobs running since startup" in complaint
        return Answer(problem=result.complaint(), unavailable=none)

    def cancel_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.cancel_commands`."""
        return _on(native_ids, "qdel")

    def hold_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.hold_commands`."""
        return _on(native_ids, "qhold")

    def release_commands(self, native_ids: Collection[str]) -> list[Command]:
        """See :meth:`SchedulerAdapter.release_commands`."""
        return _on(native_ids, "qrls")

    def parse_request(self, result: CommandResult) -> Rejected | None:
        """See :meth:`SchedulerAdapter.parse_request`. It is no failure if a job has ended."""
        if result.ok:
            return None
        lines = f"{result.stdout}\n{result.stderr}".split("\n")
        if result.returncode is not None and result.returncode != 127:
            complaints = [line for line in lines if not _HARMLESS.search(line)]
            if not complaints and any(line.strip() for line in lines):
                return None
        return self._rejected(result)

    def list_command(self) -> Command:
        """See :meth:`SchedulerAdapter.list_command`."""
        return _query("qstat", "-xml", "-u", "$user", "-s", "prs")

    def parse_list(self, result: CommandResult) -> list[str]:
        """See :meth:`SchedulerAdapter.parse_list`."""
        return grid_engine_output.parse_list(result)

    def logs_command(self) -> Command:
        """See :meth:`SchedulerAdapter.logs_command`."""
        return self.details_commands(None, "$user")[0]

    def parse_logs(self, result: CommandResult) -> dict[str, str]:
        """See :meth:`SchedulerAdapter.parse_logs`."""
        return grid_engine_details.parse_logs(result)

    def details_commands(
        self, native_ids: Collection[str] | None, owner: str | None
    ) -> list[Command]:
        """See :meth:`SchedulerAdapter.details_commands`.

        Those of the user's jobs if ids are given, else of all users.
        """
        user = owner or ("*" if native_ids is None else "$user")
        pattern = "|".join(_bases(native_ids or ()))
        return [
            _query(
                *("sh", "-c", grid_engine_details.DETAILS_SCRIPT, "sh", user, pattern),
                scope=" ".join(native_ids or ()),
            )
        ]

    def parse_details(self, result: CommandResult) -> list[Details]:
        """See :meth:`SchedulerAdapter.parse_details`."""
        return grid_engine_details.parse_details(result)

    def explain_command(self, native_ids: Collection[str]) -> Command:
        """The command that tells why jobs could not be started."""
        return _query("qstat", "-xml", "-j", ",".join(_bases(native_ids)))


class GridEngineJobExecutor(BatchExecutor):
    """Submits to Grid Engine with its commands: ``qsub``, ``qstat``, ``qacct``, ``qdel``.

    Custom attributes named ``grid_engine.X`` become the option ``-X`` of qsub.

    Grid Engine keeps a job that it could not start in its queue, in an error state, until somebody
    clears that or deletes the job. For us that job has failed, and if it was submitted with this
    executor it is deleted.
    """

    _NAME_ = "grid_engine"
    _VERSION_ = "0.3.0"
    ADAPTER = GridEngineAdapter

    def __init__(self, url: str | None = None, config: JobExecutorConfig | None = None) -> None:
        """Make an executor; see :class:`BatchExecutor`."""
        super().__init__(url, config)
        self._submitted: weakref.WeakSet[Job] = weakref.WeakSet()
        self._in_error: dict[Job, JobStatus] = {}
        self._in_error_lock = threading.Lock()

    def _accepted(self, job: Job, native_id: str, time: float | None = None) -> None:
        self._submitted.add(job)
        super()._accepted(job, native_id, time)

    def _cancel_jobs(self, jobs: Sequence[Job]) -> None:
        super()._cancel_jobs(jobs)
        for delay in _LOOK_AFTER_CANCEL:
            Reactor.get().call_later(delay, lambda: self._service.cancel_requested(jobs))

    def _set_job_status(self, job: Job, status: JobStatus) -> None:
        word = str((status.metadata or {}).get("scheduler_state", ""))
        if status.state is not JobState.FAILED or not grid_engine_output.in_error(word):
            super()._set_job_status(job, status)
            return
        with self._in_error_lock:
            first = not self._in_error
            self._in_error[job] = status
        if first:
            Workers.get().run(self._explain)

    def _explain(self) -> None:
        """Find out why jobs could not be started, say so, and delete them."""
        with self._in_error_lock:
            failed, self._in_error = self._in_error, {}
        ids = {job: str(job.native_id) for job in failed}
        reasons: dict[str, str] = {}
        try:
            adapter = self.ADAPTER()
            answer = self._runner.run(adapter.explain_command(ids.values()))
            reasons = grid_engine_details.error_messages(answer)
            ours = [native_id for job, native_id in ids.items() if job in self._submitted]
            for command in adapter.cancel_commands(ours):
                self._runner.run(command)
        finally:
            for job, status in failed.items():
                reason = reasons.get(ids[job])
                if reason is not None:
                    status.message = f"{status.message}: {reason}"
                super()._set_job_status(job, status)
