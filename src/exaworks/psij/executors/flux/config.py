"""Settings of the executor for Flux."""

from __future__ import annotations

import os

from exaworks.psij.job_executor_config import JobExecutorConfig

__all__ = ["FluxExecutorConfig"]

_WAYS = ("auto", "socket", "command")


class FluxExecutorConfig(JobExecutorConfig):
    """Settings of the executor ``flux``.

    Attributes:
        submit_with: how jobs are handed over: ``"socket"`` (directly, which only the owner of an
            instance may), ``"command"`` (with ``flux job submit``, which signs them, as guests of
            a system instance must), or ``"auto"``: directly, and with the command if the
            instance asks for a signature.
        flux: the command ``flux``, for that.
        timeout: seconds that the broker may be silent before a request is given up.
        patience: seconds that nobody may listen at the address of an instance before it is taken
            to be gone, and its jobs to be lost.
    """

    def __init__(
        self,
        launcher_log_file: str | os.PathLike[str] | None = None,
        work_directory: str | os.PathLike[str] | None = None,
        announce_all_states: bool | None = None,
        *,
        submit_with: str | None = None,
        flux: str = "flux",
        timeout: float = 60.0,
        patience: float = 600.0,
    ) -> None:
        """Make settings.

        Args:
            launcher_log_file: see :class:`JobExecutorConfig`, as the next two.
            work_directory: see there.
            announce_all_states: see there.
            submit_with: see the class; ``None``: what the environment variable
                ``EXAWORKS_FLUX_SUBMIT_WITH`` says, or ``"auto"``.
            flux: see the class.
            timeout: see the class.
            patience: see the class.

        Raises:
            ValueError: a value is out of range.
        """
        super().__init__(launcher_log_file, work_directory, announce_all_states)
        way = submit_with or os.environ.get("EXAWORKS_FLUX_SUBMIT_WITH") or "auto"
        if way not in _WAYS:
            raise ValueError(f"submit_with is {way!r}; it must be one of {', '.join(_WAYS)}")
        if timeout <= 0 or patience < 0:
            raise ValueError("timeout must be more than 0 and patience at least 0 seconds")
        self.submit_with = way
        self.flux = flux
        self.timeout = timeout
        self.patience = patience
