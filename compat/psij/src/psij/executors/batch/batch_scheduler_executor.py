"""The base class for batch executors of third parties, with the methods of psij-python's."""

from __future__ import annotations

import getpass
import logging
import os
import subprocess
import threading
import time
from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import IO, Any

from exaworks.core.reactor import Reactor
from exaworks.psij import (
    InvalidJobException,
    Job,
    JobExecutorConfig,
    JobState,
    JobStatus,
    Launcher,
    PSIJException,
    Reason,
    Rendered,
    SubmitException,
)
from exaworks.psij.executors.batch.config import BatchSchedulerExecutorConfig
from exaworks.psij.executors.batch.workers import Workers
from exaworks.psij.executors.managed import ManagedExecutor
from exaworks.psij.script import active_body, cleanup_script, stage_in_script, stage_out_script
from exaworks.psij.validate import check_spec
from psij.executors.batch.template_function_library import ALL as FUNCTION_LIBRARY

__all__ = [
    "UNKNOWN_ERROR",
    "BatchSchedulerExecutor",
    "BatchSchedulerExecutorConfig",
    "InvalidJobStateError",
    "check_status_exit_code",
]

logger = logging.getLogger(__name__)

UNKNOWN_ERROR = "PSIJ: Unknown error"

list_of = list  # the type, by a name that the method ``list`` does not hide in annotations

_LOOK_AT_FILES = 0.5
_POLLS_UNTIL_LOST = 3
_FILES_KEPT = 30 * 86400.0


class InvalidJobStateError(Exception):
    """Raised by ``process_cancel_command_output`` if the job has ended already."""


def check_status_exit_code(command: str, exit_code: int, out: str) -> None:
    """Check that a status command succeeded.

    Raises:
        RuntimeError: it did not; the message has the command and its output.
    """
    if exit_code != 0:
        raise RuntimeError(f"{command} failed with exit code {exit_code}: {out}")


class BatchSchedulerExecutor(ManagedExecutor):
    """Submits scripts, asks for states from time to time, and reads the files scripts leave.

    Subclasses define how (the abstract methods). A script must write the exit code of the launch
    command to ``<native id>.ec`` in its folder (``psij.script_dir`` in templates), and what is
    printed by the script itself to ``<native id>.out``. A file ``<job id>.status``, to which the
    partial ``batch_lib`` appends states, makes them known sooner.

    Failing status commands change no job's state. A job that is not listed any more gets its
    verdict from its exit code file; without one it is ``FAILED``, with a message.
    """

    def __init__(self, url: str | None = None, config: JobExecutorConfig | None = None) -> None:
        """Make an executor.

        Args:
            url: the location of the backend.
            config: settings; a plain :class:`JobExecutorConfig` is completed.
        """
        settings = self._get_config(config)
        super().__init__(url, settings)
        self.settings = settings
        self.work_directory = settings.work_directory / self.name
        self.work_directory.mkdir(parents=True, exist_ok=True)
        self._watched: dict[str, list[Job]] = {}
        self._missing: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._watch_lock = threading.Lock()
        self._looking = False
        self._next_poll = 0.0
        self._failing = False
        self._swept = False

    def _get_config(self, config: JobExecutorConfig | None) -> BatchSchedulerExecutorConfig:
        return BatchSchedulerExecutorConfig.of(config)

    # -- what a subclass defines

    @abstractmethod
    def generate_submit_script(
        self, job: Job, context: dict[str, object], submit_file: IO[str]
    ) -> None:
        """Write the submit script of ``job`` to ``submit_file``."""

    @abstractmethod
    def get_submit_command(self, job: Job, submit_file_path: Path) -> list_of[str]:
        """The command that submits a script."""

    @abstractmethod
    def job_id_from_submit_output(self, out: str) -> str:
        """The native id, from what the submit command printed."""

    @abstractmethod
    def get_cancel_command(self, native_id: str) -> list_of[str]:
        """The command that cancels a job."""

    @abstractmethod
    def process_cancel_command_output(self, exit_code: int, out: str) -> None:
        """Say why a cancel command failed, by raising.

        Raises:
            InvalidJobStateError: the job has ended.
            SubmitException: anything else.
        """

    @abstractmethod
    def get_status_command(self, native_ids: Collection[str]) -> list_of[str]:
        """The command that tells the states of jobs."""

    @abstractmethod
    def parse_status_output(self, exit_code: int, out: str) -> dict[str, JobStatus]:
        """The states, by native id, from what the status command printed."""

    @abstractmethod
    def get_list_command(self) -> list_of[str]:
        """The command that lists the user's jobs."""

    def parse_list_output(self, out: str) -> list_of[str]:
        """Native ids, one a line, from what the list command printed."""
        return [line.strip() for line in out.splitlines()]

    # -- submission

    def _submit_jobs(self, jobs: Sequence[Job]) -> Mapping[Job, PSIJException]:
        self._sweep()
        failed: dict[Job, PSIJException] = {}
        for job in jobs:
            try:
                self._submit_one(job)
            except PSIJException as problem:
                failed[job] = problem
            except ValueError as problem:
                failed[job] = InvalidJobException(f"{self.name}: {problem}", problem)
        return failed

    def _submit_one(self, job: Job) -> None:
        path = self.work_directory / f"{job.id}.job"
        context = self._create_script_context(job)
        with path.open("w", errors="surrogateescape") as file:
            self.generate_submit_script(job, context, file)
        try:
            output = self._run_command(self.get_submit_command(job, path))
            native_id = self.job_id_from_submit_output(output)
        except subprocess.CalledProcessError as problem:
            path.unlink(missing_ok=True)
            raise SubmitException(f"{self.name}: {problem.output.strip()}", problem) from None
        except OSError as problem:
            path.unlink(missing_ok=True)
            raise SubmitException(f"{self.name}: {problem}", problem) from problem
        self._delete_stale(native_id)
        self._accepted(job, native_id)
        self._watch(job, native_id)

    def _delete_stale(self, native_id: str) -> None:
        """Remove an exit code that an earlier job of the same id has left, not a new one."""
        path = self.work_directory / f"{native_id}.ec"
        try:
            if path.stat().st_mtime < time.time() - 60:
                path.unlink()
        except FileNotFoundError:
            pass

    def _get_launcher_from_job(self, job: Job) -> Launcher:
        assert job.spec is not None
        return self._get_launcher(job.spec.launcher)

    def _create_script_context(self, job: Job) -> dict[str, object]:
        """What templates can refer to."""
        spec = job.spec
        assert spec is not None
        launcher = self._get_launcher_from_job(job)
        if launcher.wraps_everything:
            launch = launcher.get_launch_command(job)
        else:
            launch = ["/bin/sh", "-c", active_body(job, launcher, os.getcwd())]
        environment = spec.environment or {}
        context: dict[str, object] = {
            "job": job,
            "custom_attributes": _custom_attributes(job),
            "env": [{"name": name, "value": value} for name, value in environment.items()],
            "psij": {
                "lib": FUNCTION_LIBRARY,
                "launch_command": launch,
                "script_dir": str(self.work_directory),
                "stage_in": stage_in_script(spec) if spec.stage_in else "",
                "stage_out": stage_out_script(spec) if spec.stage_out else "",
                "cleanup": cleanup_script(spec) if spec.cleanup else "",
                "us_file": os.devnull,
                "us_port": 0,
                "us_addrs": "",
                "debug": 0,
            },
        }
        if spec.attributes.duration is not None:
            context["formatted_job_duration"] = self._format_duration(spec.attributes.duration)
        return context

    def _format_duration(self, d: timedelta) -> str:
        minutes, seconds = divmod(int(d.total_seconds()), 60)
        return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"

    def _run_command(self, cmd: list_of[str]) -> str:
        """Run a command of the scheduler and return what it printed.

        Raises:
            subprocess.CalledProcessError: it failed; ``output`` is all that it printed.
        """
        done = subprocess.run(
            cmd, capture_output=True, text=True, errors="surrogateescape", check=False,
            timeout=self.settings.command_timeout,
        )  # fmt: skip
        if done.returncode != 0:
            said = "\n".join(filter(None, (done.stdout, done.stderr))) or UNKNOWN_ERROR
            raise subprocess.CalledProcessError(done.returncode, cmd, output=said)
        return done.stdout

    def render(self, job: Job) -> Rendered:
        """See :meth:`JobExecutor.render`."""
        from io import StringIO

        check_spec(job.spec)
        script = StringIO()
        self.generate_submit_script(job, self._create_script_context(job), script)
        path = self.work_directory / f"{job.id}.job"
        return Rendered(self.get_submit_command(job, path), script.getvalue())

    # -- other requests

    def _cancel_jobs(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            try:
                self._run_command(self.get_cancel_command(str(job.native_id)))
            except subprocess.CalledProcessError as problem:
                try:
                    self.process_cancel_command_output(problem.returncode, problem.output)
                except InvalidJobStateError:
                    logger.debug("job %s has ended already", job.native_id)
            except OSError as problem:
                raise SubmitException(f"{self.name}: {problem}", problem) from problem
        self._next_poll = 0.0

    def _attach_jobs(self, jobs: Sequence[tuple[Job, str]]) -> None:
        for job, native_id in jobs:
            self._watch(job, native_id)
        self._next_poll = 0.0

    def list(self) -> list_of[str]:
        """See :meth:`JobExecutor.list`."""
        try:
            return self.parse_list_output(self._run_command(self.get_list_command()))
        except subprocess.CalledProcessError as problem:
            raise SubmitException(f"{self.name}: {problem.output}", problem, True) from None

    def _current_user(self) -> str:
        return getpass.getuser()

    # -- watching

    def _watch(self, job: Job, native_id: str) -> None:
        with self._watch_lock:
            if not self._watched:
                delay = self.settings.initial_queue_polling_delay
                self._next_poll = time.monotonic() + delay
            self._watched.setdefault(native_id, []).append(job)
            if self._looking:
                return
            self._looking = True
        Reactor.get().call_later(_LOOK_AT_FILES, self._look_later)

    def _look_later(self) -> None:
        Workers.get().run(self._look)

    def _look(self) -> None:
        """Look at the files of jobs, and now and then ask the scheduler. In a worker thread."""
        try:
            self._look_at_files()
            if time.monotonic() >= self._next_poll:
                self._next_poll = time.monotonic() + self.settings.queue_polling_interval
                self._poll()
        except Exception:
            logger.exception("%s: watching jobs failed; it goes on", self.name)
        with self._watch_lock:
            self._looking = bool(self._watched)
            if not self._looking:
                return
        Reactor.get().call_later(_LOOK_AT_FILES, self._look_later)

    def _jobs(self) -> list_of[tuple[str, Job]]:
        with self._watch_lock:
            return [(native_id, job) for native_id, jobs in self._watched.items() for job in jobs]

    def _look_at_files(self) -> None:
        for native_id, job in self._jobs():
            self._take_states(job)
            if (code := self._exit_code(native_id)) is not None:
                state = JobState.COMPLETED if code == 0 else JobState.FAILED
                self._set_job_status(job, JobStatus(state, exit_code=code))

    def _take_states(self, job: Job) -> None:
        try:
            text = (self.work_directory / f"{job.id}.status").read_text()
        except OSError:
            return
        lines = text.split("\n")[:-1]
        for line in lines[self._read.get(job.id, 0) :]:
            if line in JobState.__members__:
                self._set_job_status(job, JobStatus(JobState[line]))
        self._read[job.id] = len(lines)

    def _exit_code(self, native_id: str) -> int | None:
        try:
            text = (self.work_directory / f"{native_id}.ec").read_text()
            return int(text) if text.endswith("\n") else None
        except (OSError, ValueError):
            return None

    def _poll(self) -> None:
        native_ids = {native_id for native_id, _ in self._jobs()}
        if not native_ids:
            return
        try:
            try:
                code, output = 0, self._run_command(self.get_status_command(native_ids))
            except subprocess.CalledProcessError as problem:
                code, output = problem.returncode, problem.output
            statuses = self.parse_status_output(code, output)
        except Exception as problem:
            if not self._failing:
                logger.warning("%s: cannot get the states of jobs: %s", self.name, problem)
            self._failing = True
            return
        self._failing = False
        for native_id, job in self._jobs():
            if native_id in statuses:
                self._missing.pop(native_id, None)
                found = statuses[native_id]
                self._set_job_status(
                    job,
                    JobStatus(
                        found.state, found.time, found.message, found.exit_code, found.metadata
                    ),
                )
            elif native_id in native_ids:
                self._lost(native_id, job)

    def _lost(self, native_id: str, job: Job) -> None:
        """A job is not listed: its files may yet appear, so it gets a few polls' time."""
        self._missing[native_id] = self._missing.get(native_id, 0) + 1
        if self._missing[native_id] < _POLLS_UNTIL_LOST:
            self._next_poll = min(self._next_poll, time.monotonic() + 2 * _LOOK_AT_FILES)
            return
        said = (self._read_aux_file(job, ".out") or "").strip()
        message = (
            f"{self.name} does not list job {native_id} any more, and there is no exit code in "
            f"{self.work_directory / native_id}.ec"
        )
        metadata = {"reason": Reason.LOST}
        status = JobStatus(
            JobState.FAILED, message=f"{message}: {said}" if said else message, metadata=metadata
        )
        self._set_job_status(job, status)

    def _set_job_status(self, job: Job, status: JobStatus) -> None:
        native_id = job.native_id
        if status.final and native_id is not None:
            with self._watch_lock:
                jobs = self._watched.get(native_id, [])
                if job in jobs:
                    jobs.remove(job)
                if not jobs:
                    self._watched.pop(native_id, None)
            self._missing.pop(native_id, None)
            self._read.pop(job.id, None)
            if not job.status.final:
                self._complete(job, native_id, status)
                self._clean_submit_script(job)
        super()._set_job_status(job, status)

    def _complete(self, job: Job, native_id: str, status: JobStatus) -> None:
        """Add to a final status what the files of the job tell."""
        self._take_states(job)
        if status.state is JobState.CANCELED:
            return
        if status.exit_code is None:
            status.exit_code = self._exit_code(native_id)
        if status.exit_code:
            status.state = JobState.FAILED
        if status.state is not JobState.FAILED:
            return
        if status.message is None:
            said = self._read_aux_file(job, ".out") or ""
            said = said.replace("_PSIJ_SCRIPT_DONE", "").strip()
            status.message = said or f"exit code {status.exit_code}"
        if status.reason is None and status.exit_code:
            status.metadata = {**(status.metadata or {}), "reason": Reason.EXIT_CODE}

    # -- files of jobs

    def _clean_submit_script(self, job: Job) -> None:
        """Remove the files of a job that has ended, but for its exit code."""
        if self.settings.keep_files:
            return
        for suffix in (".job", ".status"):
            (self.work_directory / f"{job.id}{suffix}").unlink(missing_ok=True)
        self._delete_aux_file(job, ".out")

    def _read_aux_file(
        self, job: Job | None = None, suffix: str | None = None, path: Path | None = None
    ) -> str | None:
        try:
            return self._aux_path(job, suffix, path).read_text(errors="replace")
        except FileNotFoundError:
            return None

    def _delete_aux_file(
        self,
        job: Job | None = None,
        suffix: str | None = None,
        path: Path | None = None,
        force: bool = False,
    ) -> None:
        if force or not self.settings.keep_files:
            self._aux_path(job, suffix, path).unlink(missing_ok=True)

    def _aux_path(self, job: Job | None, suffix: str | None, path: Path | None) -> Path:
        if path is not None:
            return path
        assert job is not None
        return self.work_directory / f"{job.native_id}{suffix}"

    def _sweep(self) -> None:
        """Remove very old files, once."""
        if self._swept:
            return
        self._swept = True
        oldest = time.time() - _FILES_KEPT
        for entry in os.scandir(self.work_directory):
            try:
                if entry.is_file(follow_symlinks=False) and entry.stat().st_mtime < oldest:
                    os.unlink(entry.path)
            except OSError as problem:
                logger.debug("cannot remove %s: %s", entry.path, problem)


def _custom_attributes(job: Job) -> dict[str, Any]:
    """Custom attributes for templates: ``name.key`` as a list of keys and values under ``name``."""
    assert job.spec is not None
    grouped: dict[str, Any] = {}
    for name, value in (job.spec.attributes.custom_attributes or {}).items():
        prefix, dot, key = name.partition(".")
        if dot:
            grouped.setdefault(prefix.lower(), []).append({"key": key, "value": value})
        else:
            grouped[name] = value
    return grouped
