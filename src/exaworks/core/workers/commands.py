"""A process that starts commands, watches them, and tells how they ended.

It has one thread and does not poll. It inherits the orphans of its commands, so that it can end
those, too. When the program or the nursery goes, it kills all commands and goes as well.

Messages go both ways as lists of tuples, pickled, each behind its length. To it:
``("environment", key, variables)``, ``("run", token, Command, lane)``, ``("end", token)`` and
``("recall", lane)``. From it: ``("ended", token, Ending)``, ``("refused", token, message, code)``
and ``("recalled", lane, tokens)``.

Commands of one *lane* run one after the other, in the order in which they came; so they can be sent
ahead. Those that have not begun can be recalled. In a page of memory that it shares with the
program, this process notes for each lane the token of the command that it is about to start: if it
is killed, that tells exactly which commands may have run.
"""

from __future__ import annotations

import contextlib
import heapq
import mmap
import os
import select
import signal
import socket
import stat
import struct
import time
from collections import deque
from typing import NamedTuple

from ..spawning import LaunchError, NoRoom, check_room, find_executable, spawn, system_bytes
from .captures import Captures
from .messages import Messages
from .processes import MARKER, Family, children, kill_orphans, memory_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

__all__ = [
    "LANES",
    "NOTE",
    "OUT_OF_MEMORY",
    "OUT_OF_TIME",
    "STOPPED",
    "Command",
    "Commander",
    "Ending",
    "open_stream",
]

OUT_OF_TIME, OUT_OF_MEMORY, STOPPED = "time", "memory", "stopped"
"""Why a command was ended."""

LANES = 4096
"""How many lanes there can be."""

NOTE = struct.Struct("<Q")
"""What is noted for a lane: the token of the command that was started last."""

_LOOK_AT_MEMORY = 0.1
_TRY_AGAIN = 0.1
_HOLD = 0.003
"""Seconds that ends of commands may be held back while there is more to do, to be told together."""
_PATIENCE_FOR_ROOM = 60.0


class Command(NamedTuple):
    """What to run, with everything decided.

    Attributes:
        id: what the task is called.
        argv: the words of the command.
        environment: the key of the variables it inherits.
        variables: further ones.
        directory: where it runs; ``None``: where this process is.
        stdin: a file; ``None``: nothing.
        stdout: a file; ``None``: it is captured.
        stderr: a file; ``None``: it is captured.
        cpus: what to bind it to; ``None``: whatever there is.
        limit: seconds.
        grace: seconds between SIGTERM and SIGKILL.
        memory: bytes that it may use; 0: no limit.
        capture: bytes of each stream to send along; more stay in a file.
    """

    id: str
    argv: list[str]
    environment: int
    variables: dict[str, str]
    directory: str | None
    stdin: str | None
    stdout: str | None
    stderr: str | None
    cpus: tuple[int, ...] | None
    limit: float | None
    grace: float
    memory: int
    capture: int


Ending = tuple[int, float, float, float, int, bytes, bytes, "str | None", "str | None", str]
"""Wait status, begin, end, CPU seconds, peak KiB, stdout, stderr, their files, why it was ended."""


class _Running:
    __slots__ = ("begun", "command", "err", "lane", "out", "pid", "token", "why")

    def __init__(
        self, token: int, command: Command, lane: int, pid: int, begun: float, out: int, err: int
    ) -> None:
        self.token = token
        self.lane = lane
        self.command = command
        self.pid = pid
        self.begun = begun
        self.out = out
        self.err = err
        self.why = ""


class Commander:
    """Starts and watches commands."""

    def __init__(self, connection: socket.socket, notes: int, nursery: int, folder: str) -> None:
        """Take over a socket.

        Args:
            connection: to the program.
            notes: a descriptor of memory shared with it, with a :data:`NOTE` for each lane.
            nursery: a descriptor that becomes readable when the nursery has ended; or -1.
            folder: for output.
        """
        connection.setblocking(False)
        self._connection = connection
        self._messages = Messages(connection)
        self._notes = mmap.mmap(notes, NOTE.size * LANES)
        os.close(notes)
        self._lanes: dict[int, deque[tuple[int, Command]]] = {}
        self._nursery = nursery
        self._captures = Captures(folder)
        self._family = Family()
        self._poll = select.poll()
        self._environments: dict[int, dict[bytes, bytes]] = {}
        self._running: dict[int, _Running] = {}  # by process id
        self._tokens: dict[int, _Running] = {}
        self._waiting: list[tuple[float, int, Command, int, float]] = []  # for room to start them
        self._timers: list[tuple[float, int, str]] = []
        self._answers: list[Any] = []
        self._held_since: float | None = None
        self._urgent = False
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._home = os.getcwd()
        self._directory: str | None = None
        self._own_cpus = _affinity()
        self._cpus = self._own_cpus

    def run(self) -> None:
        """Do it until the program or the nursery goes."""
        wake_r, wake_w = os.pipe()
        for end in (wake_r, wake_w):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(wake_w, warn_on_full_buffer=False)
        connection = self._connection.fileno()
        self._poll.register(wake_r, select.POLLIN)
        self._poll.register(connection, select.POLLIN)
        if self._nursery >= 0:
            self._poll.register(self._nursery, select.POLLIN)
        alive, unsent = True, False
        while alive:
            for fd, events in self._poll.poll(self._timeout()):
                if fd == wake_r:
                    with contextlib.suppress(BlockingIOError):
                        os.read(wake_r, 4096)
                    self._reap()
                elif fd == self._nursery:
                    alive = False
                elif events & ~select.POLLOUT:
                    messages = self._messages.get()
                    if messages is None:
                        alive = False
                    else:
                        self._take(messages)
            self._do_what_is_due()
            self._tell()
            if self._messages.unsent != unsent:
                unsent = not unsent
                self._poll.modify(connection, select.POLLIN | (select.POLLOUT if unsent else 0))
        self._kill_all()

    def _tell(self) -> None:
        """Send answers: at once if the program has something to do because of them."""
        if not self._answers:
            self._messages.flush()
            return
        now = time.monotonic()
        if self._held_since is None:
            self._held_since = now
        if self._urgent or now - self._held_since >= _HOLD:
            self._messages.put(self._answers)
            self._answers = []
            self._held_since = None
            self._urgent = False

    def _timeout(self) -> float | None:
        due = [each[0][0] for each in (self._timers, self._waiting) if each]
        if self._held_since is not None:
            due.append(self._held_since + _HOLD)
        return max(0.0, (min(due) - time.monotonic()) * 1000 + 1) if due else None

    def _take(self, messages: Iterable[Any]) -> None:
        for kind, key, *rest in messages:
            if kind == "run":
                command, lane = rest
                if lane in self._lanes:
                    self._lanes[lane].append((key, command))
                else:
                    self._lanes[lane] = deque()
                    self._start(key, command, lane, time.monotonic() + _PATIENCE_FOR_ROOM)
            elif kind == "environment":
                self._environments[key] = rest[0]
            elif kind == "recall":
                tokens = [token for token, _ in self._lanes.get(key, ())]
                if key in self._lanes:
                    self._lanes[key].clear()
                self._answers.append(("recalled", key, tokens))
                self._urgent = True
            elif key in self._tokens:
                self._end(self._tokens[key], STOPPED)
            else:
                self._drop(key)

    def _drop(self, token: int) -> None:
        """Give up a command that has not begun."""
        for queue in self._lanes.values():
            for each in queue:
                if each[0] == token:
                    queue.remove(each)
                    self._answers.append(("refused", token, "it was cancelled", None))
                    self._urgent = True
                    return
        for waiting in self._waiting:
            if waiting[1] == token:
                self._waiting.remove(waiting)
                self._refuse(token, waiting[3], "it was cancelled", None)
                return

    def _refuse(self, token: int, lane: int, message: str, code: int | None) -> None:
        self._answers.append(("refused", token, message, code))
        self._next(lane)

    def _next(self, lane: int) -> None:
        """A lane is free: start what comes next in it."""
        queue = self._lanes[lane]
        self._urgent = self._urgent or len(queue) < 3
        if queue:
            token, command = queue.popleft()
            self._start(token, command, lane, time.monotonic() + _PATIENCE_FOR_ROOM)
        else:
            del self._lanes[lane]

    # Starting

    def _start(self, token: int, command: Command, lane: int, patience: float) -> None:
        NOTE.pack_into(self._notes, lane * NOTE.size, token)
        opened: list[int] = []
        captured = [-1, -1]
        try:
            pid, begun = self._spawn(command, opened, captured)
        except (LaunchError, NoRoom) as problem:
            for fd in captured:
                if fd >= 0:
                    self._captures.drop(fd)
            self._did_not_start(token, command, lane, patience, problem)
        else:
            running = _Running(token, command, lane, pid, begun, *captured)
            self._running[pid] = self._tokens[token] = running
            if command.limit is not None:
                self._later(command.limit, token, "limit")
            if command.memory:
                self._later(_LOOK_AT_MEMORY, token, "memory")
        for fd in opened:
            os.close(fd)

    def _did_not_start(
        self, token: int, command: Command, lane: int, patience: float, problem: Exception
    ) -> None:
        if isinstance(problem, LaunchError):
            self._refuse(token, lane, str(problem), problem.exit_code)
            return
        now = time.monotonic()
        if now > patience:
            text = f"the system has had no room for another process or file: {problem}"
            self._refuse(token, lane, text, None)
        else:
            self._waiting.append((now + _TRY_AGAIN, token, command, lane, patience))

    def _spawn(self, command: Command, opened: list[int], captured: list[int]) -> tuple[int, float]:
        """Start a command; returns its process id and when that was.

        Args:
            command: what to start.
            opened: gets descriptors that are of no use any more afterwards.
            captured: gets those of the files for its output.
        """
        try:
            argv = [system_bytes(word) for word in command.argv]
            variables = self._environments[command.environment].copy()
            for name, value in command.variables.items():
                variables[system_bytes(name)] = system_bytes(value)
            variables[MARKER.encode()] = command.id.encode()
        except ValueError as problem:
            raise LaunchError(str(problem)) from problem
        self._enter(command.directory)
        streams = [self._null, -1, -1]
        if command.stdin is not None:
            streams[0] = open_stream("stdin", command.stdin, os.O_RDONLY, opened)
        for number, path in ((1, command.stdout), (2, command.stderr)):
            if path is None:
                streams[number] = captured[number - 1] = self._captures.new()
            elif number == 2 and path == command.stdout:
                streams[2] = streams[1]
            else:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                name = "stdout" if number == 1 else "stderr"
                streams[number] = open_stream(name, path, flags, opened)
        self._bind(command.cpus)
        executable = find_executable(argv[0], variables)
        actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)]
        begun = time.time()
        return spawn(executable, argv, variables, actions), begun

    def _enter(self, directory: str | None) -> None:
        if directory == self._directory:
            return
        try:
            os.chdir(self._home if directory is None else directory)
        except OSError as problem:
            check_room(problem)
            raise LaunchError(
                f"cannot enter the directory {directory or self._home}: {problem.strerror}; "
                "it must exist when the task starts"
            ) from problem
        self._directory = directory

    def _bind(self, cpus: tuple[int, ...] | None) -> None:
        wanted = self._own_cpus if cpus is None else frozenset(cpus)
        if wanted and wanted != self._cpus:
            try:
                os.sched_setaffinity(0, wanted)
            except OSError:  # CPUs that this process may not use are no reason to refuse the task
                wanted = self._own_cpus
                os.sched_setaffinity(0, wanted)
            self._cpus = wanted

    # Ending

    def _later(self, seconds: float, token: int, what: str) -> None:
        heapq.heappush(self._timers, (time.monotonic() + seconds, token, what))

    def _do_what_is_due(self) -> None:
        now = time.monotonic()
        while self._timers and self._timers[0][0] <= now:
            _, token, what = heapq.heappop(self._timers)
            running = self._tokens.get(token)
            if running is None:
                continue
            if what == "limit":
                self._end(running, OUT_OF_TIME)
            elif what == "insist":
                self._signal(running, signal.SIGKILL)
            elif memory_of(running.pid) > running.command.memory:
                running.why = running.why or OUT_OF_MEMORY
                self._signal(running, signal.SIGKILL)
            else:
                self._later(_LOOK_AT_MEMORY, token, "memory")
        if self._waiting and self._waiting[0][0] <= now:
            waiting, self._waiting = self._waiting, []
            for _, token, command, lane, patience in waiting:
                self._start(token, command, lane, patience)

    def _end(self, running: _Running, why: str) -> None:
        running.why = running.why or why
        self._signal(running, signal.SIGTERM)
        self._later(running.command.grace, running.token, "insist")

    def _signal(self, running: _Running, number: int) -> None:
        with contextlib.suppress(OSError):
            os.killpg(running.pid, number)
        kill_orphans(running.command.id, set(self._running), number)

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            running = self._running.pop(pid, None)
            if running is None:  # it was inherited
                continue
            ended = time.time()
            del self._tokens[running.token]
            with contextlib.suppress(OSError):  # what it has left behind in its group
                os.killpg(pid, signal.SIGKILL)
            if running.why:
                kill_orphans(running.command.id, set(self._running), signal.SIGKILL)
            # What has left the group has become a child of this process.
            alone = (
                not running.why
                and os.WIFEXITED(status)
                and self._family.is_only(len(self._running))
            )
            out, out_path = self._captured(running, running.out, "out", alone)
            err, err_path = self._captured(running, running.err, "err", alone)
            cpu = usage.ru_utime + usage.ru_stime
            ending = (
                status, running.begun, ended, cpu, usage.ru_maxrss, out, err, out_path, err_path,
                running.why,
            )  # fmt: skip
            self._answers.append(("ended", running.token, ending))
            self._next(running.lane)

    def _captured(
        self, running: _Running, fd: int, which: str, alone: bool
    ) -> tuple[bytes, str | None]:
        """The beginning of what was printed, and the file with all of it if that is more."""
        if fd < 0:
            return b"", getattr(running.command, f"std{which}")
        command = running.command
        name = f"exaworks-{command.id}.{which}"
        return self._captures.take(fd, command.capture, name, alone)

    def _kill_all(self) -> None:
        """Kill all commands and all that they have left to this process."""
        for pid in self._running:
            with contextlib.suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while True:
                for pid in children(os.getpid()):
                    with contextlib.suppress(OSError):
                        os.kill(pid, signal.SIGKILL)
                if not os.waitpid(-1, os.WNOHANG)[0]:
                    time.sleep(0.002)


def open_stream(name: str, text: str, flags: int, fds: list[int]) -> int:
    """Open a file for a stream of a command, and add its descriptor to ``fds``.

    Raises:
        LaunchError: that cannot be done.
        NoRoom: not now.
    """
    path = system_bytes(text)
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISFIFO(os.stat(path).st_mode):
                raise LaunchError(
                    f"{name} is {text}, a FIFO: let the command open it itself, for instance "
                    "with a shell"
                )
        fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY, 0o666)
    except OSError as problem:
        check_room(problem)
        raise LaunchError(f"cannot open {name} file {text}: {problem.strerror}") from problem
    fds.append(fd)
    return fd


def _affinity() -> frozenset[int]:
    try:
        return frozenset(os.sched_getaffinity(0))
    except AttributeError:  # only Linux has it
        return frozenset()
