"""How agents are started on the nodes of a batch job, from within it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from exaworks.tasks.cluster.boot import Boot
from exaworks.tasks.cluster.source import Source
from exaworks.tasks.errors import EngineFailed, UnsupportedError
from exaworks.tasks.scheduler import Placement
from exaworks.tasks.spec import TaskSpec

__all__ = ["AloneLaunch", "Launch", "ProcessSource"]

_TAIL = 2000
_SECONDS_TO_END = 10.0


class Launch(ABC):
    """One way to do that. It keeps no state."""

    name: ClassVar[str]
    """The launcher that ranks of tasks are started with, as tasks say it."""

    can_spread: ClassVar[bool] = False
    """Whether ranks of a task may be on several nodes."""

    settings: ClassVar[dict[str, Any]] = {}
    """What agents are told."""

    attributes: ClassVar[dict[str, Any]] = {}
    """Custom attributes of a batch job of several nodes, unless the user says otherwise."""

    @abstractmethod
    def words(self, agent: list[str], nodes: int) -> list[str]:
        """The command, run on the first node, that starts an agent on each of so many nodes."""

    def launcher(self, executor: str) -> str:
        """The PSI/J launcher with which a job of this executor runs the words."""
        return "single"

    def check(self, spec: TaskSpec) -> None:
        """See to it that ranks of a task can be started over several nodes.

        Raises:
            UnsupportedError: they cannot.
        """
        return

    def spread(self, spec: TaskSpec, placement: Placement, names: dict[int, str]) -> list[str]:
        """What starts the ranks of a task, before the words of each; see :meth:`Source.spread`."""
        raise UnsupportedError("this engine cannot spread the ranks of a task over nodes")


class AloneLaunch(Launch):
    """The agent itself, on the one node that there is."""

    name = "alone"

    def words(self, agent: list[str], nodes: int) -> list[str]:
        """See :meth:`Launch.words`."""
        assert nodes == 1
        return agent


class ProcessSource(Source):
    """Agents that a child of this process starts, for instance srun within an allocation."""

    def __init__(self, launch: Launch, nodes: int, title: str) -> None:
        self.launch = launch
        self.expected = nodes
        self.title = title
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, boot: Boot) -> None:
        """See :meth:`Source.start`."""
        words = self.launch.words(boot.words(), self.expected)
        try:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env={**os.environ, **boot.environment(**self.launch.settings)},
            )
        except OSError as problem:
            raise EngineFailed(f"{words[0]} cannot be started: {problem.strerror}") from problem
        threading.Thread(target=self._watch, args=(boot,), daemon=True).start()

    def _watch(self, boot: Boot) -> None:
        assert self._process is not None
        assert self._process.stderr is not None
        said = b""
        with self._process.stderr as stream:
            while data := os.read(stream.fileno(), 1 << 16):
                said = (said + data)[-_TAIL:]
        code = self._process.wait()
        text = said.decode("utf-8", "replace").strip()
        boot.failed(f"it has ended with exit code {code}{': ' if text else ''}{text}")

    def spread(self, spec: TaskSpec, placement: Placement, names: dict[int, str]) -> list[str]:
        """See :meth:`Source.spread`."""
        return self.launch.spread(spec, placement, names)

    def stop(self) -> None:
        """See :meth:`Source.stop`."""
        process = self._process
        if process is None:
            return
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if number is not None:
                with contextlib.suppress(OSError):
                    os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_SECONDS_TO_END)
                return
