"""Ctrl-C as a wish that is looked at when it suits, instead of an exception anywhere."""

from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any, Final

__all__ = ["Interrupts"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


class Interrupts:
    """While it is entered, SIGINT and SIGTERM are counted, and usually do nothing else.

    Attributes:
        count: how many have come.
        last: the number of the last one.
        most: so many raise :class:`KeyboardInterrupt` after all; ``None``: none do.
    """

    def __init__(self) -> None:
        self.count = 0
        self.most: int | None = None
        self.last: int = signal.SIGINT
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        for number in _SIGNALS:
            # A process that was started in the background by a shell ignores SIGINT on purpose.
            if signal.getsignal(number) is not signal.SIG_IGN:
                self._before[number] = signal.signal(number, self._take)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _take(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.last = number
        if self.most is not None and self.count >= self.most:
            raise KeyboardInterrupt
