"""The program's side of a process that runs commands."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import time
from typing import Any

from exaworks.core.reactor import Reactor
from exaworks.core.workers.commands import LANES, NOTE, Command
from exaworks.core.workers.messages import Messages
from exaworks.tasks.commands import Environments
from exaworks.tasks.future import TaskFuture
from exaworks.tasks.scheduler import Placement

__all__ = ["CommanderLink", "Lane"]


class Lane:
    """Commands that one process runs one after the other, with what the first of them has got."""

    __slots__ = ("commander", "last_heard", "number", "placement", "priority", "tasks")

    def __init__(
        self, commander: CommanderLink, number: int, placement: Placement, priority: int
    ) -> None:
        self.commander = commander
        self.number = number
        self.placement = placement
        self.priority = priority
        self.tasks: dict[int, TaskFuture[Any]] = {}  # by token, in their order
        self.last_heard = time.monotonic()


class CommanderLink:
    """Sends commands and reads how they ended. Not thread-safe."""

    def __init__(self, number: int, reactor: Reactor, lock: threading.RLock) -> None:
        """Make the socket; the process itself is still to be forked."""
        self.number = number
        self.pid: int | None = None
        self.lanes: dict[int, Lane] = {}
        self._lane_of: dict[int, Lane] = {}
        self._free_lanes = list(range(LANES - 1, -1, -1))
        self._reactor = reactor
        self._lock = lock
        self._tokens = 0
        self._known: set[int] = set()
        self._socket, self.their_socket = socket.socketpair()
        self._socket.setblocking(False)
        self._messages = Messages(self._socket)
        self.notes = os.memfd_create("exaworks-notes", os.MFD_CLOEXEC)
        os.ftruncate(self.notes, NOTE.size * LANES)

    def fileno(self) -> int:
        """The descriptor that messages come through."""
        return self._socket.fileno()

    def open_lane(self, placement: Placement, priority: int) -> Lane:
        """A lane for commands that have this place."""
        lane = Lane(self, self._free_lanes.pop(), placement, priority)
        self.lanes[lane.number] = lane
        return lane

    def close_lane(self, lane: Lane) -> None:
        """Nothing is left to do in it."""
        del self.lanes[lane.number]
        self._free_lanes.append(lane.number)

    def run(
        self,
        lane: Lane,
        commands: list[tuple[TaskFuture[Any], Command]],
        environments: Environments,
    ) -> None:
        """Send commands, to be run in a lane."""
        messages: list[Any] = []
        for future, command in commands:
            key = command.environment
            if key not in self._known:
                self._known.add(key)
                variables = {
                    os.fsencode(name): os.fsencode(value)
                    for name, value in environments.get(key).items()
                }
                messages.append(("environment", key, variables))
            self._tokens += 1
            lane.tasks[self._tokens] = future
            self._lane_of[self._tokens] = lane
            messages.append(("run", self._tokens, command, lane.number))
        self._put(messages)

    def take(self, token: int) -> tuple[TaskFuture[Any], Lane]:
        """The task with that token, which has ended or is to wait again, and its lane."""
        lane = self._lane_of.pop(token)
        lane.last_heard = time.monotonic()
        return lane.tasks.pop(token), lane

    def recall(self, lane: Lane) -> None:
        """Ask for the commands of a lane that have not begun."""
        self._put([("recall", lane.number)])

    def begun(self, lane: Lane) -> int:
        """The token of the command that was started last in a lane, if the process has died."""
        (token,) = NOTE.unpack(os.pread(self.notes, NOTE.size, lane.number * NOTE.size))
        return int(token)

    def end(self, task: TaskFuture[Any]) -> None:
        """End a command."""
        for lane in self.lanes.values():
            for token, future in lane.tasks.items():
                if future is task:
                    self._put([("end", token)])
                    return

    def _put(self, messages: list[Any]) -> None:
        self._messages.put(messages)
        if self._messages.unsent:
            self._reactor.call_soon(self._watch_for_room)

    def _watch_for_room(self) -> None:
        if self._socket.fileno() >= 0:
            self._reactor.add_writer(self._socket.fileno(), self._flush)

    def _flush(self) -> None:
        with self._lock:
            self._messages.flush()
            if not self._messages.unsent and self._socket.fileno() >= 0:
                self._reactor.remove_writer(self._socket.fileno())

    def read(self) -> list[Any] | None:
        """The messages that have come; ``None``: there will be no more."""
        return self._messages.get()

    def kill(self) -> None:
        """End the process; the nursery ends its commands."""
        if self.pid is not None:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Let it end its commands, and itself."""
        self._socket.close()
        os.close(self.notes)
