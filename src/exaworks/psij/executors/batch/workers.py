"""A few threads in which commands of the scheduler run, so that nothing else has to wait."""

from __future__ import annotations

import logging
import os
import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Workers"]

logger = logging.getLogger(__name__)

_MOST = 8


class Workers:
    """Daemon threads, started as they are needed. Those of :meth:`get` are shared by all batch
    executors of a process; what they run must not wait for something that they have to do.
    """

    _instance: Workers | None = None
    _instance_lock = threading.Lock()

    def __init__(self, most: int = _MOST) -> None:
        self._most = most
        self._tasks: deque[Callable[[], object]] = deque()
        self._ready = threading.Condition(threading.Lock())
        self._threads = 0
        self._idle = 0

    @classmethod
    def get(cls) -> Workers:
        """The threads of this process."""
        with cls._instance_lock:
            if cls._instance is None:
                cls._instance = Workers()
            return cls._instance

    @classmethod
    def _forget_after_fork(cls) -> None:
        cls._instance_lock = threading.Lock()
        cls._instance = None

    def run(self, task: Callable[[], object]) -> None:
        """Run ``task`` in one of the threads, after those given earlier have begun."""
        with self._ready:
            self._tasks.append(task)
            if self._idle >= len(self._tasks) or self._threads == self._most:
                self._ready.notify()
                return
            self._threads += 1
            name = f"exaworks-batch-{self._threads}"
        threading.Thread(target=self._work, name=name, daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._ready:
                self._idle += 1
                while not self._tasks:
                    self._ready.wait()
                self._idle -= 1
                task = self._tasks.popleft()
            try:
                task()
            except Exception:
                logger.exception("an internal task failed: %r", task)
            del task


os.register_at_fork(after_in_child=Workers._forget_after_fork)
