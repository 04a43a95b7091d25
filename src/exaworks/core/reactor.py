"""One event-loop thread a process, for everything that watches files, sockets or the clock.

Components register readers and timers; no component starts a watcher thread of its own, and so
the number of threads does not depend on the number of jobs. The thread starts with the first
registration, is a daemon, and is replaced by a fresh one in a forked child.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
import os
import selectors
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["Reactor", "Timer"]

logger = logging.getLogger(__name__)


class Timer:
    """A call that is due at a time. Make one with :meth:`Reactor.call_later`."""

    __slots__ = ("_callback", "due")

    def __init__(self, due: float, callback: Callable[[], None]) -> None:
        self.due = due
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        """Do not make the call. No effect if it was made already."""
        self._callback = None

    def run(self) -> None:
        """Make the call, unless it was cancelled."""
        callback, self._callback = self._callback, None
        if callback is not None:
            callback()


class Reactor:
    """A selector loop in a daemon thread. All callbacks run in that thread, one at a time.

    A callback that raises is logged and harms no other. Callbacks must not block.
    """

    _instance: Reactor | None = None
    _instance_lock = threading.Lock()

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []
        self._soon: deque[Callable[[], None]] = deque()
        self._count = itertools.count()
        self._lock = threading.Lock()
        self._wake_r, self._wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        os.set_blocking(self._wake_w, False)
        self._selector.register(self._wake_r, selectors.EVENT_READ, self._drain_wakeups)
        self._thread = threading.Thread(target=self._run, name="exaworks-reactor", daemon=True)
        self._thread.start()

    @classmethod
    def get(cls) -> Reactor:
        """The reactor of this process; started if there is none yet."""
        with cls._instance_lock:
            if cls._instance is None:
                cls._instance = Reactor()
            return cls._instance

    @classmethod
    def _forget_after_fork(cls) -> None:
        parent = cls._instance
        cls._instance_lock = threading.Lock()
        cls._instance = None
        if parent is not None:  # the copies of its descriptors; the parent's own stay open
            parent._selector.close()
            os.close(parent._wake_r)
            os.close(parent._wake_w)

    def in_thread(self) -> bool:
        """Whether the caller runs in the reactor's thread."""
        return threading.current_thread() is self._thread

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` in the reactor's thread as soon as possible. From any thread."""
        self._soon.append(callback)
        self._wake()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Run ``callback`` in ``delay`` seconds. From any thread."""
        timer = Timer(time.monotonic() + delay, callback)
        with self._lock:
            heapq.heappush(self._timers, (timer.due, next(self._count), timer))
            first = self._timers[0][2] is timer
        if first:
            self._wake()
        return timer

    def add_reader(self, fd: int, callback: Callable[[], None]) -> None:
        """Run ``callback`` whenever ``fd`` is readable. Only from the reactor's thread."""
        self._selector.register(fd, selectors.EVENT_READ, callback)

    def remove_reader(self, fd: int) -> None:
        """Stop watching ``fd``. Only from the reactor's thread, before ``fd`` is closed."""
        self._selector.unregister(fd)

    def _wake(self) -> None:
        if self.in_thread():
            return
        with contextlib.suppress(BlockingIOError):  # full of wake-ups: one more changes nothing
            os.write(self._wake_w, b"\0")

    def _drain_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._wake_r, 4096)) == 4096:
                pass

    def _timeout(self) -> float | None:
        if self._soon:
            return 0.0
        with self._lock:
            return max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else None

    def _due(self) -> Timer | None:
        with self._lock:
            if self._timers and self._timers[0][0] <= time.monotonic():
                return heapq.heappop(self._timers)[2]
            return None

    def _run(self) -> None:
        while True:
            ready: list[tuple[selectors.SelectorKey, Any]] = self._selector.select(self._timeout())
            for key, _ in ready:
                self._guard(key.data)
            for _ in range(len(self._soon)):
                self._guard(self._soon.popleft())
            while (timer := self._due()) is not None:
                self._guard(timer.run)

    def _guard(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception:
            logger.exception("an internal callback failed: %r", callback)


os.register_at_fork(after_in_child=Reactor._forget_after_fork)
