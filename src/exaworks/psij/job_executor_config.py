"""Settings of executors."""

from __future__ import annotations

import os
from pathlib import Path

from exaworks.core import config

__all__ = ["JobExecutorConfig"]


class _Defaults(type):
    """Makes the defaults when they are asked for, so that they follow the environment."""

    @property
    def DEFAULT(cls) -> JobExecutorConfig:
        return JobExecutorConfig()

    @property
    def DEFAULT_WORK_DIRECTORY(cls) -> Path:
        return config.home() / "work"


class JobExecutorConfig(metaclass=_Defaults):
    """Settings that every executor has.

    Attributes:
        launcher_log_file: a file for messages of launchers that write some.
        work_directory: the folder for scripts and records of jobs. On a cluster it must be on a
            file system that the login and compute nodes share; if they are reached over SSH it is
            a folder there.
        work_directory_given: whether it is not the default.
        announce_all_states: whether every job passes through ``STAGE_IN``, ``STAGE_OUT`` and
            ``CLEANUP``, also when it has nothing to move.

    ``JobExecutorConfig.DEFAULT`` and ``DEFAULT_WORK_DIRECTORY`` are the defaults of the moment.
    """

    def __init__(
        self,
        launcher_log_file: str | os.PathLike[str] | None = None,
        work_directory: str | os.PathLike[str] | None = None,
        announce_all_states: bool | None = None,
    ) -> None:
        """Make settings.

        Args:
            launcher_log_file: see the class.
            work_directory: see the class; ``None``: ``work`` in the ExaWorks home folder
                (``EXAWORKS_HOME``, or ``~/.exaworks``).
            announce_all_states: see the class; ``None``: if the environment variable
                ``EXAWORKS_PSIJ_ALL_STATES`` says so.
        """
        self.launcher_log_file = Path(launcher_log_file) if launcher_log_file else None
        self.work_directory = Path(work_directory) if work_directory else config.home() / "work"
        self.work_directory_given = bool(work_directory)
        self.announce_all_states = (
            config.flag("EXAWORKS_PSIJ_ALL_STATES")
            if announce_all_states is None
            else announce_all_states
        )

    def __repr__(self) -> str:
        shown = sorted(set(vars(self)) - {"work_directory_given"})
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__name__}({settings})"
