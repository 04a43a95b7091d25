"""Agents that run within the workers of another system, in this program's sight."""

from __future__ import annotations

import fcntl
import os
import socket
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future
from typing import Any

from exaworks.tasks.cluster.boot import Boot, run_agent
from exaworks.tasks.cluster.source import Source
from exaworks.tasks.errors import EngineFailed

__all__ = ["TAKEN", "CarrierSource", "run_one_agent"]

TAKEN = "there is an agent on this node already"
"""What :func:`run_one_agent` returns then."""

_PAUSE = 0.3

Carry = Callable[..., "Future[str]"]
"""Submits a call of a function with arguments to a worker."""


def run_one_agent(words: Sequence[str], environment: dict[str, str], key: str) -> str:
    """Run an agent, unless one runs on this node for the same engine: for workers.

    Args:
        words: the agent.
        environment: its variables.
        key: what is unique for the engine.

    Returns:
        :data:`TAKEN`, or why the agent has ended (nothing: it was told to).
    """
    name = f"exaworks-{os.getuid()}-{socket.gethostname()}-{key}.lock"
    path = os.path.join(tempfile.gettempdir(), name)
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return TAKEN
        try:
            return run_agent(words, environment)
        finally:
            os.unlink(path)


class CarrierSource(Source):
    """Submits a call that runs an agent to an executor of another system, once for each node.

    Such systems choose the worker themselves. A call that comes to a node which has an agent
    already returns at once, and is submitted again.
    """

    def __init__(
        self, carry: Carry, nodes: int, title: str, cancels: bool = True, **settings: Any
    ) -> None:
        """Begin nothing yet.

        Args:
            carry: submits a call.
            nodes: on how many nodes there are workers.
            title: what to call the system.
            cancels: calls that wait there may be cancelled.
            settings: what agents are told.
        """
        self._cancels = cancels
        self._carry = carry
        self.expected = nodes
        self.title = title
        self._settings = settings
        self._stopped = False
        self._carried: set[Future[str]] = set()
        self._lock = threading.Lock()

    def start(self, boot: Boot) -> None:
        """See :meth:`Source.start`."""
        environment = boot.environment(parent=True, **self._settings)
        self.carry_agents(boot.words(), environment, str(id(self)), boot.failed)

    def carry_agents(
        self,
        words: Sequence[str],
        environment: dict[str, str],
        key: str,
        failed: Callable[[str], None],
    ) -> None:
        """Submit the calls.

        Args:
            words: the agent.
            environment: its variables.
            key: what distinguishes these agents from others of this process.
            failed: called with the reason when all have ended.

        Raises:
            EngineFailed: the other system takes no calls.
        """
        key = f"{os.getpid()}-{key}"

        def carry() -> None:
            try:
                future = self._carry(run_one_agent, words, environment, key)
            except Exception as problem:
                raise EngineFailed(
                    f"{self.title} takes no calls: {type(problem).__name__}: {problem}"
                ) from problem
            with self._lock:
                self._carried.add(future)
            future.add_done_callback(ended)

        def carry_again() -> None:
            if not self._stopped:
                try:
                    carry()
                except EngineFailed as problem:
                    failed(str(problem))

        def ended(future: Future[str]) -> None:
            with self._lock:
                self._carried.discard(future)
                left = len(self._carried)
            try:
                why = future.result()
            except (Exception, CancelledError) as problem:
                why = f"{type(problem).__name__}: {problem}"
            if why == TAKEN:
                threading.Timer(_PAUSE, carry_again).start()
            elif not left:
                failed(why or "its agents have ended")

        for _ in range(self.expected):
            carry()

    def stop(self) -> None:
        """See :meth:`Source.stop`. The agents have been told; so the calls return."""
        self._stopped = True
        with self._lock:
            carried = list(self._carried) if self._cancels else []
        for future in carried:
            future.cancel()
