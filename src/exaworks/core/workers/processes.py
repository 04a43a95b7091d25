"""Processes that others have left behind, and what they use."""

from __future__ import annotations

import contextlib
import os

__all__ = ["MARKER", "Family", "children", "kill_orphans", "memory_of"]

MARKER = "EXAWORKS_TASK_ID"
"""The variable that tells a command, and all that it starts, which task it is."""

_PAGE = os.sysconf("SC_PAGE_SIZE")
_MOST_READ = 4000
"""Bytes from which on the list of children may not be all of it: a page is read at a time."""


class Family:
    """The children of this process, which has one thread."""

    def __init__(self) -> None:
        pid = os.getpid()
        try:
            flags = os.O_RDONLY | os.O_CLOEXEC
            self._file = os.open(f"/proc/{pid}/task/{pid}/children", flags)
        except OSError:  # this system does not tell
            self._file = -1

    def is_only(self, count: int) -> bool:
        """Whether there are surely so many, those included that have not been waited for."""
        if self._file < 0:
            return False
        listed = os.pread(self._file, _MOST_READ, 0)
        return len(listed) < _MOST_READ and listed.count(b" ") == count


def children(pid: int) -> list[int]:
    """The children of a process, as far as the system tells."""
    found: list[int] = []
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/task/{thread}/children") as file:
                found += map(int, file.read().split())
    return found


def kill_orphans(task: str | None, known: set[int], number: int) -> None:
    """Send a signal to children of this process that a task has left behind.

    Args:
        task: the id of the task; ``None``: any.
        known: children that are none.
        number: the signal.
    """
    wanted = f"{MARKER}={task}\0".encode() if task is not None else f"{MARKER}=".encode()
    for pid in children(os.getpid()):
        if pid in known:
            continue
        with contextlib.suppress(OSError):
            with open(f"/proc/{pid}/environ", "rb") as file:
                if wanted not in file.read():
                    continue
            with contextlib.suppress(OSError):
                os.killpg(os.getpgid(pid), number)
            os.kill(pid, number)


def memory_of(root: int) -> int:
    """Bytes that a process and its descendants have in memory."""
    total, queue = 0, [root]
    while queue:
        pid = queue.pop()
        with contextlib.suppress(OSError, IndexError), open(f"/proc/{pid}/statm", "rb") as file:
            total += int(file.read().split()[1]) * _PAGE
        queue += children(pid)
    return total
