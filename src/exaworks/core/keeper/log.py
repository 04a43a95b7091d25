"""The log of keeper and supervisor: standard error, a file that must not grow for ever."""

from __future__ import annotations

import contextlib
import os
import time
import traceback

MAX_SIZE = 1 << 20
"""Bytes after which the log starts over."""


def log(message: str) -> None:
    """Write a line to the log, with time and process."""
    line = f"{time.strftime('%Y-%m-%d %H:%M:%S')} [{os.getpid()}] {message}\n"
    with contextlib.suppress(OSError):
        if os.fstat(2).st_size > MAX_SIZE:
            os.ftruncate(2, 0)
        os.write(2, line.encode("utf-8", "backslashreplace"))


def log_exception() -> None:
    """Write the current exception to the log."""
    log(traceback.format_exc())
