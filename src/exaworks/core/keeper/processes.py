"""What /proc knows of processes: finding all of a job, telling them apart, ending them.

Where there is no /proc (macOS), a job is its process group, and that is all that is found.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import sys
import time

from .protocol import MARKER

TYPE_CHECKING = False
if TYPE_CHECKING:
    import resource
    from collections.abc import Callable, Iterable

LINUX = sys.platform.startswith("linux")

_MARKER = MARKER.encode() + b"="
_PIDFD_GET_INFO = 0xC000FF0B | 64 << 16
_PIDFD_INFO_EXIT = 8
_TICKS = os.sysconf("SC_CLK_TCK")
_SPAWN_SECONDS = 2
_LOOKS = 5


class Process:
    """One line of /proc/<pid>/stat, as far as it matters here."""

    __slots__ = ("dead", "group", "parent", "pid", "session", "start", "status")

    def __init__(self, pid: int, fields: list[bytes]) -> None:
        self.pid = pid
        self.dead = fields[0] in (b"Z", b"X")
        self.parent = int(fields[1])
        self.group = int(fields[2])
        self.session = int(fields[3])
        self.start = int(fields[19])
        self.status = int(fields[49]) if len(fields) > 49 else 0


def inspect(pid: int) -> Process | None:
    """Return what is known of ``pid``, None if there is no such process (or no /proc)."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY)
    except OSError:
        return None
    try:
        data = os.read(fd, 2048)
    except OSError:
        return None
    finally:
        os.close(fd)
    # The second field, the name, may itself hold spaces and parentheses.
    return Process(pid, data[data.rindex(b")") + 2 :].split())


def ticks() -> int:
    """Return the time since boot in the unit of :attr:`Process.start`; 0 if that is unknown."""
    if not LINUX:
        return 0
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * _TICKS)


def started_at(start: int, recorded: int) -> bool:
    """Whether a process that began at ``start`` is the one spawned right after ``recorded``.

    Reading /proc for the exact time would cost a tenth of a millisecond for every job.
    """
    return 0 <= start - recorded <= _SPAWN_SECONDS * _TICKS


def marker(pid: int) -> str | None:
    """Return the key of the job whose environment ``pid`` was started with."""
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            data = file.read()
    except OSError:
        return None
    at = 0 if data.startswith(_MARKER) else data.find(b"\0" + _MARKER) + 1
    if at == 0 and not data.startswith(_MARKER):
        return None
    return data[at + len(_MARKER) :].split(b"\0", 1)[0].decode("ascii", "replace")


class Snapshot:
    """All living processes at one moment, with the relations that tell what belongs to a job."""

    def __init__(self) -> None:
        self.processes: dict[int, Process] = {}
        self.children: dict[int, list[Process]] = {}
        self.sessions: dict[int, list[Process]] = {}
        self.groups: dict[int, list[Process]] = {}
        self.marked: dict[str, list[Process]] = {}
        seen = {os.getpid()}
        # Who is born while we look is found by looking again, unless there is no end to it.
        for _ in range(_LOOKS):
            try:
                pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
            except OSError:
                return
            new = [pid for pid in pids if pid not in seen]
            if not new:
                return
            seen.update(new)
            for pid in new:
                self._add(pid)

    def _add(self, pid: int) -> None:
        process = inspect(pid)
        if process is None or process.dead:
            return
        self.processes[pid] = process
        self.children.setdefault(process.parent, []).append(process)
        self.sessions.setdefault(process.session, []).append(process)
        self.groups.setdefault(process.group, []).append(process)
        key = marker(pid)
        if key is not None:
            self.marked.setdefault(key, []).append(process)

    def tree(
        self, key: str, root: int | None, known: set[tuple[int, int]], sessions: set[int]
    ) -> list[Process]:
        """Return the living processes of a job.

        Found by the marker in their environment, by session and by parent, starting from the
        job's ``root`` process, those ``known`` as (pid, start) and the ``sessions`` that its
        processes were seen in, to which new ones are added.
        """
        found: dict[int, Process] = {}
        queue = list(self.marked.get(key, ()))
        for pid in (pid for pid, _ in known):
            process = self.processes.get(pid)
            if process is not None and (pid, process.start) in known:
                queue.append(process)
        if root is not None and root in self.processes:
            queue.append(self.processes[root])
        searched: set[int] = set()
        while True:
            while queue:
                process = queue.pop()
                if process.pid not in found:
                    found[process.pid] = process
                    queue.extend(self.children.get(process.pid, ()))
            sessions.update(process.session for process in found.values())
            # A session belongs to the job if it began there: its leader does, or has ended.
            for session in sessions - searched:
                if session in found or session not in self.processes:
                    queue.extend(self.sessions.get(session, ()))
                    searched.add(session)
            if not queue:
                return list(found.values())


def send(processes: Iterable[Process], number: int) -> bool:
    """Send signal ``number`` to each of ``processes``; return whether one of them was there.

    One that we may not signal (it runs a set-user-id program) counts as gone.
    """
    there = False
    for process in processes:
        try:
            os.kill(process.pid, number)
        except OSError as error:
            if error.errno not in (errno.ESRCH, errno.EPERM):
                raise
        else:
            there = True
    return there


def send_group(group: int, number: int) -> bool:
    """Send signal ``number`` to a process group; return whether it had members."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def reap_child(
    note: Callable[[int, int], bool],
) -> tuple[int, int, resource.struct_rusage] | None:
    """Reap a child that has ended; return pid, wait status and usage, None if there is none.

    ``note`` is told pid and status before the child is reaped (where the system allows it); if
    it returns False, the child is left for later.
    """
    try:
        if not LINUX:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid:
                note(pid, status)
            return (pid, status, usage) if pid else None
        found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if found is None:
            return None
        exited = found.si_code == os.CLD_EXITED
        if not note(found.si_pid, found.si_status << 8 if exited else found.si_status):
            return None
        return os.wait4(found.si_pid, 0)
    except ChildProcessError:
        return None


def exit_status(pidfd: int, pid: int) -> int | None:
    """Return the wait status of a process that is dead but not our child, None if unknown.

    Linux 6.15 tells it through the pidfd once the process has been reaped (PIDFD_GET_INFO with
    PIDFD_INFO_EXIT, linux/pidfd.h); before that, /proc/<pid>/stat of the zombie does.
    """
    status = _pidfd_status(pidfd)
    if status is None:
        process = inspect(pid)
        if process is not None and process.dead:
            return process.status
        status = _pidfd_status(pidfd)
    return status


def _pidfd_status(pidfd: int) -> int | None:
    info = bytearray(64)
    struct.pack_into("=Q", info, 0, _PIDFD_INFO_EXIT)
    try:
        fcntl.ioctl(pidfd, _PIDFD_GET_INFO, info, True)
    except OSError:
        return None
    (mask,) = struct.unpack_from("=Q", info, 0)
    if not mask & _PIDFD_INFO_EXIT:
        return None
    (status,) = struct.unpack_from("=i", info, 60)
    return int(status)


def machine_identity() -> str:
    """Return what changes when all processes are gone: boot and, in a container, PID namespace."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot = file.read().strip()
    except OSError:
        return ""
    return f"{boot} {pid_namespace()}"


def name_process(name: str) -> None:
    """Show ``name`` (at most 15 characters) in process lists, where that is simple."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "w") as file:
        file.write(name)


def pid_namespace() -> str:
    """Return the identity of our PID namespace, "" where there is none."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""
