"""Settings of the executor for this machine."""

from __future__ import annotations

import os

from exaworks.psij.job_executor_config import JobExecutorConfig

__all__ = ["LocalExecutorConfig"]


class LocalExecutorConfig(JobExecutorConfig):
    """Settings of the executor ``local``.

    Attributes:
        max_running_jobs: how many jobs of this executor may run at once; further ones stay
            ``QUEUED``. ``None``: as many as the keeper's common limit (4096) allows.
        cancel_grace: seconds between the polite and the forceful signal to a job that is to end.
        start_timeout: seconds to wait for the keeper to answer.
    """

    def __init__(
        self,
        launcher_log_file: str | os.PathLike[str] | None = None,
        work_directory: str | os.PathLike[str] | None = None,
        announce_all_states: bool | None = None,
        *,
        max_running_jobs: int | None = None,
        cancel_grace: float = 5.0,
        start_timeout: float = 10.0,
    ) -> None:
        """Make settings.

        Raises:
            ValueError: a number is out of range.
        """
        super().__init__(launcher_log_file, work_directory, announce_all_states)
        if max_running_jobs is not None and max_running_jobs < 1:
            raise ValueError(f"max_running_jobs is {max_running_jobs}; it must be at least 1")
        if cancel_grace < 0 or start_timeout <= 0:
            raise ValueError("cancel_grace must not be negative, start_timeout must be positive")
        self.max_running_jobs = max_running_jobs
        self.cancel_grace = cancel_grace
        self.start_timeout = start_timeout
