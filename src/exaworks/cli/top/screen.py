"""The screen that keeps itself up to date, until a key or a signal ends it."""

from __future__ import annotations

import errno
import os
import select
import signal
import sys
import termios
import tty
from types import TracebackType
from typing import Any, Final

from exaworks.cli.errors import OK
from exaworks.cli.interrupts import Interrupts
from exaworks.cli.output import console, note
from exaworks.cli.top.drawing import frame
from exaworks.cli.top.model import History
from exaworks.tasks.survey import survey

__all__ = ["Keys", "watch"]

_PATIENCE: Final = 1.0
"""Seconds that engines have to answer."""


def watch(interval: float, engine: str | None) -> int:
    """Do :func:`_watch`, and end quietly if the terminal goes away."""
    try:
        return _watch(interval, engine)
    except (OSError, termios.error) as problem:
        if problem.args[0] != errno.EIO:
            raise
        # What is still to be written has nowhere to go.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return OK


def _watch(interval: float, engine: str | None) -> int:
    """Show the engines of this machine until somebody presses q or ctrl-C.

    Args:
        interval: seconds between two looks at them.
        engine: show only the one with this id, until it has ended.

    Returns:
        the exit code.
    """
    from rich.live import Live as Screen

    target = console()
    history = History()
    seen = False
    with (
        Interrupts() as interrupts,
        Keys() as keys,
        Screen(console=target, screen=True, auto_refresh=False) as screen,
    ):
        while not interrupts.count:
            found = survey(_PATIENCE, engine)
            views = history.views(found.snapshots, found.silent)
            if engine is not None and seen and not views:
                break
            seen = seen or bool(views)
            unknown = [id for id in found.silent if not any(view.id == id for view in views)]
            options = target.options
            drawn = frame(views, unknown, *target.size, options.ascii_only)
            screen.update(drawn, refresh=True)
            if "q" in keys.wait(interval):
                return OK
    if not interrupts.count:
        note(f"{engine} has ended")
    elif interrupts.last != signal.SIGINT:
        return 128 + interrupts.last
    return OK


class Keys:
    """While it is entered, each key that is pressed can be read at once, and none is shown.

    Signals that somebody handles, and another size of the terminal, end the waiting for a key.
    """

    def __init__(self) -> None:
        self._stdin = sys.stdin.fileno() if sys.stdin is not None and sys.stdin.isatty() else -1
        self._attributes: list[Any] = []
        self._before: tuple[int, Any] = (-1, None)
        self._pipe = (-1, -1)

    def __enter__(self) -> Keys:
        self._pipe = os.pipe()
        for fd in self._pipe:
            os.set_blocking(fd, False)
        self._before = (
            signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False),
            signal.signal(signal.SIGWINCH, lambda number, frame: None),
        )
        if self._stdin >= 0:
            self._attributes = termios.tcgetattr(self._stdin)
            tty.setcbreak(self._stdin, termios.TCSANOW)
            # Who suspends it gets a shell on a screen that is not its own.
            changed = termios.tcgetattr(self._stdin)
            changed[6][termios.VSUSP] = b"\0"
            termios.tcsetattr(self._stdin, termios.TCSANOW, changed)
        return self

    def wait(self, seconds: float) -> str:
        """Wait for keys, but no longer than so many seconds.

        Returns:
            the keys; ``"q"`` also if the terminal has gone.
        """
        fds = [self._pipe[0], *([self._stdin] if self._stdin >= 0 else [])]
        ready = select.select(fds, [], [], seconds)[0]
        if self._pipe[0] in ready:
            os.read(self._pipe[0], 4096)
        if self._stdin not in ready:
            return ""
        try:
            return os.read(self._stdin, 4096).decode("utf-8", "replace") or "q"
        except OSError:
            return "q"

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._attributes:
            termios.tcsetattr(self._stdin, termios.TCSAFLUSH, self._attributes)
        signal.set_wakeup_fd(self._before[0])
        signal.signal(signal.SIGWINCH, self._before[1])
        for fd in self._pipe:
            os.close(fd)
