"""Settings of batch executors."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from datetime import timedelta

from exaworks.core.config import flag
from exaworks.psij.job_executor_config import JobExecutorConfig

__all__ = ["BatchSchedulerExecutorConfig"]

Interval = float | timedelta


def _seconds(value: Interval, name: str) -> float:
    seconds = value.total_seconds() if isinstance(value, timedelta) else float(value)
    if seconds < 0:
        raise ValueError(f"{name} is {value}; it must not be negative")
    return seconds


class BatchSchedulerExecutorConfig(JobExecutorConfig):
    """Settings of executors for batch schedulers.

    Attributes:
        queue_polling_interval: the least number of seconds between two questions to the
            scheduler about the state of all jobs. Jobs also tell about themselves, so that most
            changes are known sooner.
        initial_queue_polling_delay: seconds from a submission to the first question.
        queue_polling_error_threshold: accepted for compatibility. A scheduler that does not
            answer never makes a job fail, however often it is asked in vain.
        keep_files: keep scripts and logs of jobs that succeed.
        max_concurrent_submissions: how many submission commands run at the same time.
        max_queued_jobs: how many jobs of this program may be in the queue or run at the same
            time; ``None``: as many as the scheduler takes.
        on_queue_limit: what to do if that number is reached, or if the scheduler takes no more
            jobs of this user for the moment: ``"raise"`` an exception, or ``"wait"`` until some
            have ended.
        submit_patience: how many seconds a submission is tried again if the scheduler does not
            answer, or says that it should be tried again.
        command_timeout: seconds after which a command of the scheduler is given up.
        ssh_command: the words that begin every command line of ssh, for executors that reach
            their scheduler over SSH.
        remote_setup: lines of POSIX shell to run on the other machine before each command of the
            scheduler, such as ``". /etc/profile"`` where its commands are not in the ``PATH`` of
            ssh.
    """

    def __init__(
        self,
        launcher_log_file: str | os.PathLike[str] | None = None,
        work_directory: str | os.PathLike[str] | None = None,
        queue_polling_interval: Interval = 10,
        initial_queue_polling_delay: Interval = 2,
        queue_polling_error_threshold: int = 2,
        keep_files: bool = False,
        *,
        max_concurrent_submissions: int = 4,
        on_queue_limit: str = "raise",
        command_timeout: Interval = 30,
        max_queued_jobs: int | None = None,
        submit_patience: Interval = 20,
        ssh_command: Sequence[str] | None = None,
        remote_setup: Sequence[str] = (),
        announce_all_states: bool | None = None,
    ) -> None:
        """Make settings; see the class.

        Args:
            launcher_log_file: see :class:`JobExecutorConfig`.
            work_directory: see :class:`JobExecutorConfig`.
            queue_polling_interval: seconds, or a :class:`datetime.timedelta` (so are the others).
            initial_queue_polling_delay: see the class.
            queue_polling_error_threshold: see the class.
            keep_files: see the class; also switched on by the environment variable
                ``PSIJ_BATCH_KEEP_FILES``.
            max_concurrent_submissions: see the class.
            on_queue_limit: see the class.
            command_timeout: see the class.
            max_queued_jobs: see the class.
            submit_patience: see the class.
            ssh_command: see the class; ``None``: the words of the environment variable
                ``EXAWORKS_SSH``, or ``ssh``.
            remote_setup: see the class.
            announce_all_states: see :class:`JobExecutorConfig`.

        Raises:
            ValueError: a value is not allowed.
        """
        super().__init__(launcher_log_file, work_directory, announce_all_states)
        self.queue_polling_interval = _seconds(queue_polling_interval, "queue_polling_interval")
        self.initial_queue_polling_delay = _seconds(
            initial_queue_polling_delay, "initial_queue_polling_delay"
        )
        self.queue_polling_error_threshold = queue_polling_error_threshold
        self.keep_files = keep_files or flag("PSIJ_BATCH_KEEP_FILES")
        if max_concurrent_submissions < 1:
            raise ValueError(
                f"max_concurrent_submissions is {max_concurrent_submissions}; it must be at least 1"
            )
        self.max_concurrent_submissions = max_concurrent_submissions
        if on_queue_limit not in ("raise", "wait"):
            raise ValueError(f"on_queue_limit is {on_queue_limit!r}; it must be 'raise' or 'wait'")
        self.on_queue_limit = on_queue_limit
        self.command_timeout = _seconds(command_timeout, "command_timeout")
        if max_queued_jobs is not None and max_queued_jobs < 1:
            raise ValueError(f"max_queued_jobs is {max_queued_jobs}; it must be at least 1")
        self.max_queued_jobs = max_queued_jobs
        self.submit_patience = _seconds(submit_patience, "submit_patience")
        if ssh_command is None:
            ssh_command = shlex.split(os.environ.get("EXAWORKS_SSH", "")) or ["ssh"]
        self.ssh_command = tuple(ssh_command)
        self.remote_setup = tuple(remote_setup)

    @classmethod
    def of(cls, config: JobExecutorConfig | None) -> BatchSchedulerExecutorConfig:
        """These settings, or the defaults with what a plain configuration says."""
        if isinstance(config, cls):
            return config
        if config is None:
            return cls()
        return cls(
            config.launcher_log_file,
            config.work_directory if config.work_directory_given else None,
            announce_all_states=config.announce_all_states,
        )
