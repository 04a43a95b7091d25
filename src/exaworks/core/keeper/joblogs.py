"""The logs of those phases of jobs that do not write to the job's own files."""

from __future__ import annotations

import contextlib
import os

from .store import KEEP_DAYS

_TAIL = 2000
"""Bytes from the end of a log that explain a failure."""


class JobLogs:
    """A folder with one file for each job that needs one."""

    def __init__(self, folder: str) -> None:
        self._folder = folder
        os.makedirs(folder, mode=0o700, exist_ok=True)

    def path(self, key: str) -> str:
        """Return the path of the log of job ``key``."""
        return f"{self._folder}/{key}"

    def tail(self, key: str) -> str | None:
        """Return the end of the log of job ``key``, None if there is nothing in it."""
        with contextlib.suppress(OSError), open(self.path(key), "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _TAIL))
            return file.read().decode("utf-8", "replace").strip() or None
        return None

    def drop(self, key: str) -> None:
        """Remove the log of job ``key``, if there is one."""
        with contextlib.suppress(OSError):
            os.unlink(self.path(key))

    def sweep(self, now: float) -> None:
        """Remove what is as old as the oldest records."""
        with contextlib.suppress(OSError):
            for entry in os.scandir(self._folder):
                if entry.stat().st_mtime < now - KEEP_DAYS * 86400.0:
                    os.unlink(entry.path)
