"""The program's side of one agent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from exaworks.core.reactor import Reactor
from exaworks.core.workers.wire import Packed, contents
from exaworks.tasks.calls import Call, Function
from exaworks.tasks.cluster.channel import Channel
from exaworks.tasks.commands import CommandTask, Environments
from exaworks.tasks.future import TaskFuture
from exaworks.tasks.options import Options
from exaworks.tasks.scheduler import Placement

if TYPE_CHECKING:
    from exaworks.tasks.cluster.source import Source

__all__ = ["AgentLink", "Lane"]


class Lane:
    """Tasks that were sent to a node one after the other, with what the first of them has got.

    Attributes:
        link: the agent that runs them.
        placement: what they have.
        priority: theirs.
        kind: theirs.
        tasks: those that have not ended, by token, in order.
        set_aside: what they have is set aside by agents, for ranks that something else starts.
        others: the agents of the other nodes, if the ranks of a task are on several.
        unready: agents that have not set aside yet what the ranks there need.
        last_heard: when the last of them ended.
    """

    __slots__ = (
        "kind", "last_heard", "link", "others", "placement", "priority", "set_aside", "tasks",
        "unready",
    )  # fmt: skip

    def __init__(self, link: AgentLink, placement: Placement, priority: int, kind: str) -> None:
        self.link = link
        self.placement = placement
        self.priority = priority
        self.kind = kind
        self.tasks: dict[int, TaskFuture[Any]] = {}
        self.set_aside = False
        self.others: list[AgentLink] = []
        self.unready: set[AgentLink] = set()
        self.last_heard = time.monotonic()


class AgentLink:
    """Sends tasks to an agent. Not thread-safe.

    Attributes:
        node: the number of its node; -1: it has not said hello.
        name: what its node is called.
        pid: the number of the agent's process there.
        source: who has started it.
        lanes: those that it runs, or holds something for.
        leaving: why it takes no more tasks.
    """

    def __init__(self, channel: Channel, reactor: Reactor, lock: threading.RLock) -> None:
        self._lock = lock
        self.channel = channel
        self.node = -1
        self.name = "?"
        self.pid = 0
        self.source: Source | None = None
        self.lanes: dict[Lane, None] = {}
        self.leaving: str | None = None
        self.last_heard = time.monotonic()
        self._reactor = reactor
        self._functions: set[int] = set()
        self._environments: set[int] = set()
        self._options: dict[Options, int] = {}

    def fileno(self) -> int:
        """The descriptor that messages come through."""
        return self.channel.connection.fileno()

    def call(self, token: int, future: TaskFuture[Any], messages: list[Any]) -> None:
        """Add what is to be sent for a call of a function."""
        call: Call = future._task
        function: Function = call.function
        if function.key not in self._functions:
            self._functions.add(function.key)
            messages.append(("function", function.key, function.name, *_flat(function.packed)))
        options = self._options_key(call.options, messages)
        number = future._number
        messages.append(("call", token, number, function.key, options, *_flat(call.payload)))

    def command(
        self,
        token: int,
        future: TaskFuture[Any],
        environments: Environments,
        messages: list[Any],
        words: list[str] | None = None,
    ) -> None:
        """Add what is to be sent for a command.

        Args:
            token: what the agent is to call it.
            future: the task.
            environments: what commands inherit.
            messages: where to add it.
            words: another command, which starts it on several nodes; what they need is set aside.
        """
        task: CommandTask = future._task
        if task.environment not in self._environments:
            self._environments.add(task.environment)
            messages.append(("environment", task.environment, environments.get(task.environment)))
        kind = "run" if words is None else "spread"
        messages.append(
            (kind, token, future._number, task.spec, words or task.words, task.environment)
        )

    def _options_key(self, options: Options, messages: list[Any]) -> int:
        key = self._options.get(options)
        if key is None:
            key = self._options[options] = len(self._options)
            messages.append(("options", key, options))
        return key

    def put(self, messages: list[Any]) -> None:
        """Send."""
        self.channel.put(messages)
        if self.channel.unsent:
            self._reactor.call_soon(self._watch_for_room)

    def listen(self, callback: Callable[[], object]) -> None:
        """Call back when something comes."""
        self._reactor.add_reader(self.fileno(), callback)

    def _watch_for_room(self) -> None:
        if self.fileno() >= 0 and self.channel.unsent:
            self._reactor.add_writer(self.fileno(), self._flush)

    def _flush(self) -> None:
        with self._lock:
            self.channel.flush()
            if not self.channel.unsent and self.fileno() >= 0:
                self._reactor.remove_writer(self.fileno())

    def close(self) -> None:
        """Give up the connection; the agent then ends, with all that it runs."""
        if self.fileno() >= 0:
            self._reactor.remove_reader(self.fileno())
            self._reactor.remove_writer(self.fileno())
        self.channel.close()


def _flat(packed: bytes | Packed) -> tuple[bytes, bytes | None]:
    """A pickled object as bytes that can travel, and those of its file if it has one."""
    if isinstance(packed, Packed):
        return packed.data, contents(packed.fd)
    return packed, None
