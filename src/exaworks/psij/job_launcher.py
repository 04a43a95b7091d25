"""Launchers: how the processes of a job are started inside its allocation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, cast

from exaworks.core.plugins import Descriptor, Registry
from exaworks.psij.job_executor_config import JobExecutorConfig
from exaworks.psij.launchers import BUILTIN

if TYPE_CHECKING:
    from exaworks.psij.job import Job

__all__ = ["Launcher"]

registry = Registry("launcher", BUILTIN, "exaworks.psij.launchers")


class Launcher(ABC):
    """Turns the executable of a job into the command that starts all its processes."""

    DEFAULT_LAUNCHER_NAME = "single"

    wraps_everything = False
    """Whether the launch command itself redirects the standard streams and runs the pre- and
    post-launch scripts, so that the executor must not."""

    def __init__(self, config: JobExecutorConfig | None = None) -> None:
        self.config = config or JobExecutorConfig.DEFAULT

    @abstractmethod
    def get_launch_command(self, job: Job) -> list[str]:
        """The command, as a list of words, that starts the processes of ``job``.

        Raises:
            InvalidJobException: the launcher cannot start such a job.
        """

    @staticmethod
    def get_instance(
        name: str,
        version_constraint: str | None = None,
        config: JobExecutorConfig | None = None,
    ) -> Launcher:
        """The launcher of that name.

        Args:
            name: one of :meth:`get_launcher_names`.
            version_constraint: such as ``"(>= 0.1)"``; the newest that satisfies it is taken.
            config: settings to hand to it.

        Raises:
            ValueError: there is none.
        """
        _, implementation = registry.find(name, version_constraint)
        return cast(Launcher, implementation(config=config))

    @staticmethod
    def register_launcher(desc: Descriptor, root: str | None = None) -> None:
        """Make a launcher known by its descriptor.

        Args:
            desc: the descriptor.
            root: accepted for compatibility, not used.
        """
        registry.register(desc)

    @staticmethod
    def get_launcher_names() -> set[str]:
        """The names of all launchers, aliases included."""
        return registry.names()


class PrefixLauncher(Launcher):
    """A launcher that puts words before the executable. Subclasses define :meth:`prefix`."""

    @abstractmethod
    def prefix(self, job: Job) -> list[str]:
        """The words to put before the executable and its arguments."""

    def get_launch_command(self, job: Job) -> list[str]:
        """The prefix, the executable and its arguments."""
        from exaworks.psij.validate import command

        assert job.spec is not None  # executors check it before they launch
        return [*self.prefix(job), *command(job.spec)]
