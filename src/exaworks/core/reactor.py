"""One event-loop thread a process, for everything that watches files, sockets or the clock.

Components register readers and timers; no component starts a watcher thread of its own, and so the
number of threads does not depend on the number of jobs. The thread starts with the first
registration, is a daemon, and is replaced by a fresh one in a forked child. (An engine that runs
tasks has a loop of its own, since callbacks of users run in it.)
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
from typing import ClassVar

__all__ = ["Reactor", "Timer"]

logger = logging.getLogger(__name__)

_LONGEST = 86_400.0
"""Seconds to sleep at most; systems do not take any number."""


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


class _Bell:
    """The end of a pipe that wakes a loop at the other end. It closes when nobody holds it."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd

    def ring(self) -> None:
        # Full of wake-ups: one more changes nothing. Or nobody is there any more.
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(self._fd, b"\0")

    def __del__(self) -> None:
        os.close(self._fd)


class Reactor:
    """A selector loop in a daemon thread. All callbacks run in that thread, one at a time.

    A callback that raises is logged and harms no other. Callbacks must not block. No method waits
    for a lock, so that a signal handler may call any of them, whatever it interrupts.
    """

    # One entry at most; dict.setdefault() decides, without a lock, which of two is the one.
    _instances: ClassVar[dict[str, Reactor]] = {}

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[tuple[float, int, Timer]] = []  # of the reactor's thread alone
        self._soon: deque[Callable[[], None]] = deque()
        self._count = itertools.count()
        self._wake_r, wake_w = os.pipe()
        os.set_blocking(self._wake_r, False)
        self._bell: _Bell | None = _Bell(wake_w)
        self.add_reader(self._wake_r, self._drain_wakeups)
        self._ident: int | None = None
        self._stopped = False
        self._unstarted = [self._new_thread()]

    @classmethod
    def get(cls) -> Reactor:
        """The reactor of this process; started if there is none yet.

        Raises:
            RuntimeError: the system gives this process no further thread.
        """
        reactor = cls._instances.get("reactor")
        if reactor is None:
            made = cls()
            reactor = cls._instances.setdefault("reactor", made)
            if reactor is not made:
                made._close()
        if reactor._unstarted:
            reactor.start()
        return reactor

    @classmethod
    def _forget_after_fork(cls) -> None:
        parents, cls._instances = cls._instances, {}
        for parent in parents.values():  # the copies of its descriptors; the parent's stay open
            parent._close()

    def _close(self) -> None:
        self._selector.close()
        os.close(self._wake_r)
        self._bell = None  # it is closed as soon as no other thread is about to write to it

    def _new_thread(self) -> threading.Thread:
        return threading.Thread(target=self._run, name="exaworks-reactor", daemon=True)

    def start(self) -> None:
        """Start the thread, if it does not run. The shared reactor is started by :meth:`get`.

        Raises:
            RuntimeError: the system gives this process no further thread.
        """
        with contextlib.suppress(IndexError):  # another caller starts it
            thread = self._unstarted.pop()
            try:
                thread.start()
            except RuntimeError:
                self._unstarted.append(self._new_thread())
                raise

    def stop(self) -> None:
        """Let the thread end after what it is at. Not for the shared reactor. From any thread."""
        self._stopped = True
        self._soon.append(lambda: None)
        self._ring()

    def in_thread(self) -> bool:
        """Whether the caller runs in the reactor's thread."""
        return threading.get_ident() == self._ident

    def call_soon(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` in the reactor's thread as soon as possible. From any thread."""
        self._soon.append(callback)
        self._wake()

    def call_later(self, delay: float, callback: Callable[[], None]) -> Timer:
        """Run ``callback`` in ``delay`` seconds. From any thread."""
        timer = Timer(time.monotonic() + delay, callback)
        if self.in_thread():
            self._push(timer)
        else:
            self.call_soon(lambda: self._push(timer))
        return timer

    def _push(self, timer: Timer) -> None:
        heapq.heappush(self._timers, (timer.due, next(self._count), timer))

    def add_reader(self, fd: int, callback: Callable[[], object]) -> None:
        """Run ``callback`` whenever ``fd`` is readable. Only from the reactor's thread."""
        self._watch(fd, selectors.EVENT_READ, callback)

    def remove_reader(self, fd: int) -> None:
        """Undo :meth:`add_reader`. Only from the reactor's thread, before ``fd`` is closed."""
        self._unwatch(fd, selectors.EVENT_READ)

    def add_writer(self, fd: int, callback: Callable[[], None]) -> None:
        """Run ``callback`` whenever ``fd`` is writable. Only from the reactor's thread."""
        self._watch(fd, selectors.EVENT_WRITE, callback)

    def remove_writer(self, fd: int) -> None:
        """Undo :meth:`add_writer`. Only from the reactor's thread, before ``fd`` is closed."""
        self._unwatch(fd, selectors.EVENT_WRITE)

    def _watch(self, fd: int, event: int, callback: Callable[[], object]) -> None:
        key = self._selector.get_map().get(fd)
        if key is None:
            self._selector.register(fd, event, {event: callback})
        else:
            key.data[event] = callback
            self._selector.modify(fd, key.events | event, key.data)

    def _unwatch(self, fd: int, event: int) -> None:
        key = self._selector.get_map().get(fd)
        # Taken out of the dictionary too, so that readiness seen before this is not acted upon.
        if key is None or key.data.pop(event, None) is None:
            return
        if key.data:
            self._selector.modify(fd, key.events & ~event, key.data)
        else:
            self._selector.unregister(fd)

    def _wake(self) -> None:
        if not self.in_thread():
            self._ring()

    def _ring(self) -> None:
        bell = self._bell
        if bell is not None:
            bell.ring()

    def _drain_wakeups(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while len(os.read(self._wake_r, 4096)) == 4096:
                pass

    def _timeout(self) -> float | None:
        if self._soon:
            return 0.0
        if not self._timers:
            return None
        return min(max(0.0, self._timers[0][0] - time.monotonic()), _LONGEST)

    def _run(self) -> None:
        self._ident = threading.get_ident()
        while not self._stopped:
            for key, ready in self._selector.select(self._timeout()):
                for event in (selectors.EVENT_READ, selectors.EVENT_WRITE):
                    if ready & event and event in key.data:
                        self._guard(key.data[event])
            for _ in range(len(self._soon)):
                self._guard(self._soon.popleft())
            now = time.monotonic()
            while self._timers and self._timers[0][0] <= now:
                self._guard(heapq.heappop(self._timers)[2].run)
        self._close()

    def _guard(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        except BaseException:  # also SystemExit: it must not end everybody's thread
            logger.exception("an internal callback failed: %r", callback)


os.register_at_fork(after_in_child=Reactor._forget_after_fork)
