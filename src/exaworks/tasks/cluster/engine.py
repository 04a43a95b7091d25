"""The engine of which each node has an agent."""

from __future__ import annotations

import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from exaworks.core.workers.wire import RAISED, RETURNED, segment_of
from exaworks.tasks.cluster.boot import Boot
from exaworks.tasks.cluster.channel import Channel, ChannelError
from exaworks.tasks.cluster.door import Door, addresses_of_this_machine
from exaworks.tasks.cluster.lanes import Lanes
from exaworks.tasks.cluster.launch import Launch
from exaworks.tasks.cluster.link import AgentLink
from exaworks.tasks.cluster.members import Member, Members
from exaworks.tasks.cluster.source import Source
from exaworks.tasks.commands import CommandTask, command_words
from exaworks.tasks.errors import EngineFailed, InvalidTaskError, NodeLost, UnsupportedError
from exaworks.tasks.future import TaskFuture
from exaworks.tasks.local.outcome import Received
from exaworks.tasks.options import Options
from exaworks.tasks.queued import QueuedEngine
from exaworks.tasks.resources import NodeResources, Resources
from exaworks.tasks.scheduler import Scheduler
from exaworks.tasks.spec import TaskSpec

__all__ = ["ClusterEngine"]


HEARTBEAT = 10.0
"""Seconds between two signs of life of an agent, unless it says something anyway."""

MOST_SILENT = 4
"""How many of them may be missing until its node counts as lost."""

_MOST_REMEMBERED = 10_000
_MOMENT = 2.0

SECONDS_TO_CONNECT = 120.0
"""For so long an agent that has started tries to reach its engine."""


class ClusterEngine(QueuedEngine):
    """Sends tasks to agents. Subclasses say where those come from."""

    name = "cluster"
    log = logging.getLogger("exaworks.tasks")

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        address: str | None = None,
        python: str | None = None,
        bind: bool = True,
        max_waiting: int | None = None,
        capture: int = 1 << 16,
        output_folder: str | os.PathLike[str] | None = None,
        cores_per_node: int | None = None,
        gpus_per_node: int | Sequence[str] | None = None,
        launch: Launch | None = None,
        timed: bool = False,
    ) -> None:
        """Start.

        Args:
            sources: who starts agents.
            address: where to listen for them, a name or number of this machine that they can
                reach; ``None``: everywhere.
            python: the interpreter on the nodes, with this package; ``None``: the path of this
                one.
            bind: bind each task to its cores.
            max_waiting: :meth:`submit` waits while so many tasks wait; ``None``: it never does.
            capture: bytes of the output of a command to keep in its result; all of what is longer
                is in a file on its node.
            output_folder: where such files are made; ``None``: where temporary files are there.
            cores_per_node: how many cores of each node to use; ``None``: all that may be used.
            gpus_per_node: names of GPUs, or how many; ``None``: those of the variables there.
            launch: what can start ranks over several nodes.
            timed: nodes have an end.

        Raises:
            EngineFailed: a source cannot start agents.
            InvalidTaskError: a value makes no sense.
            OSError: one cannot listen at that address.
        """
        self._launch = launch if launch is not None and launch.can_spread else None
        super().__init__(Scheduler([], spread=self._launch is not None), max_waiting)
        if isinstance(gpus_per_node, int):
            gpus_per_node = [str(number) for number in range(gpus_per_node)]
        self._settings = {
            "cores": cores_per_node,
            "gpus": gpus_per_node,
            "patience": SECONDS_TO_CONNECT,
        }
        self._welcome = {
            "id": self.id,
            "bind": bind,
            "capture": capture,
            "folder": None if output_folder is None else os.fspath(output_folder),
            "directory": os.getcwd(),
            "python": [sys.prefix, sys.version],
            "path": [os.path.abspath(folder) for folder in sys.path],
        }
        self.address = address
        """Where it listens for agents; ``None``: everywhere."""
        self._python = python or sys.executable
        self._timed = timed
        self._secret = secrets.token_bytes(32)
        self._members = Members()
        self._links: dict[int, AgentLink] = {}
        self._newcomers: set[AgentLink] = set()
        self._lanes = Lanes(self)
        self._ready = threading.Condition(self._lock)
        self._shape: NodeResources | None = None
        self._possible: set[Resources] = set()
        self._door = Door(self.reactor, self._secret, address, self._welcome_agent)
        hosts = [address] if address is not None else addresses_of_this_machine()
        self._addresses = [(host, self._door.port) for host in hosts]
        self.reactor.call_later(HEARTBEAT, self._beat)
        self._begin()
        try:
            for source in sources:
                self.add_source(source)
        except BaseException:
            self.shutdown(wait=False, cancel_futures=True)
            raise

    # Nodes

    def add_source(self, source: Source) -> None:
        """Get nodes from one more source.

        Raises:
            EngineFailed: it cannot start agents.
        """
        with self._lock:
            self._check_open()
            member = self._members.add(source)
        settings = {
            **self._settings,
            "addresses": self._addresses,
            "secret": self._secret.hex(),
            "source": member.number,
        }
        failed = partial(self._source_failed, member)
        boot = Boot(settings, failed, self._python)
        try:
            source.start(boot)
        except BaseException as problem:
            member.over = str(problem)
            raise

    def _source_failed(self, member: Member, reason: str) -> None:
        """It has ended. Its agents, if there are any, notice by themselves."""
        self.reactor.call_soon(partial(self._source_is_over, member, reason))

    def _source_is_over(self, member: Member, reason: str) -> None:
        with self._lock:
            if member.over is None:
                member.over = reason
                self._possible.clear()
                self._is_over(member)
            self._ready.notify_all()
        self._give_up_the_impossible()

    # The lock is held

    def _is_over(self, member: Member) -> None:
        """A source has ended."""

    def _may_grow(self) -> bool:
        """Whether further nodes may be asked for, some time."""
        return False

    def _busy(self, member: Member) -> bool:
        """Whether tasks run on nodes of a source, or it has not brought them yet."""
        links = [link for link in self._links.values() if link.source is member.source]
        return member.to_come > 0 or any(link.lanes for link in links)

    def _retire(self, member: Member) -> None:
        """Give the nodes of a source back, on which nothing runs."""
        member.over = "it was given back"
        self._possible.clear()
        for link in [link for link in self._links.values() if link.source is member.source]:
            del self._links[link.node]
            self.scheduler.remove_node(link.node)
            link.put([("end",)])
            link.close()
        threading.Thread(target=self._stop, args=(member.source,), daemon=True).start()

    # The lock is not held

    def wait_ready(self, timeout: float | None = None, nodes: int | None = None) -> bool:
        """Wait until its nodes are there.

        Args:
            timeout: seconds to wait for that; ``None``: as long as it takes.
            nodes: how many; ``None``: all.

        Returns:
            whether they are.

        Raises:
            EngineFailed: they will never be.
        """

        def ready() -> bool:
            to_come = self._members.to_come
            few = not to_come and len(self._links) < (nodes or 1) and not self._may_grow()
            if self._closing or few:
                raise EngineFailed(self._why_no_nodes())
            return len(self._links) >= nodes if nodes is not None else not to_come

        with self._ready:
            return self._ready.wait_for(ready, timeout)

    def _why_no_nodes(self) -> str:
        if self._closing:
            return "the engine was shut down"
        there = f"{len(self._links)} nodes are left" if self._links else "there are no nodes"
        reasons = self._members.reasons()
        return f"{there}; {reasons}" if reasons else there

    def _welcome_agent(self, channel: Channel) -> None:
        link = AgentLink(channel, self.reactor, self._lock)
        self._newcomers.add(link)
        link.put([("welcome", self._welcome)])
        link.listen(partial(self._speaks, link))

    def _arrived(self, link: AgentLink, hello: dict[str, Any]) -> None:
        """An agent has said what its node has; the lock is held."""
        self._newcomers.discard(link)
        member = self._members[hello["source"]]
        link.source, link.name, link.pid = member.source, hello["name"], hello["pid"]
        node = NodeResources(
            link.name, tuple(hello["cores"]), tuple(hello["gpus"]), hello["memory"]
        )
        ends = member.source.ends(hello["started"])
        until = float("inf") if ends is None else time.monotonic() + ends - time.time()
        link.node = self.scheduler.add_node(node, until)
        self._links[link.node] = link
        self._shape = node
        member.came += 1
        self._ready.notify_all()
        self.dispatch()

    def _lost(self, link: AgentLink, why: str) -> None:
        """An agent is gone."""
        with self._lock:
            link.close()
            self._newcomers.discard(link)
            if self._links.pop(link.node, None) is None:
                return
            self.scheduler.remove_node(link.node)
            self._possible.clear()
            for member in self._members.live():
                if member.source is link.source and member.source.revives:
                    member.came -= 1
            victims = self._lanes.lost(link)
            self.dispatch()
            self._ready.notify_all()
        for task in victims:
            if not self.run_again(task, lost=True):
                record = task._task
                title = record.title if record is not None else "a task"
                self.fail(
                    task,
                    NodeLost(
                        f"the node {link.name} was lost ({why}) while it ran {title} ({task.id}), "
                        "or was about to; the task was not run again, since it is not declared "
                        "restartable"
                    ),
                )
        # Its source may have ended, too, and will tell why in a moment.
        self.reactor.call_later(_MOMENT, self._give_up_the_impossible)

    def _nodes_to_come(self) -> list[NodeResources] | None:
        """Nodes that are to come, as far as one can tell; ``None``: of a size not known yet."""
        count = self._members.to_come
        if self._shape is None:
            return None if count else []
        return [self._shape] * count

    def _give_up_the_impossible(self) -> None:
        """Let tasks fail that wait for what will never be there."""
        with self._lock:
            also = self._nodes_to_come()
            gone = [] if also is None else self.impossible(also)
            why = self._why_no_nodes()
        for task, reason in gone:
            text = f"{why}: {reason}" if self._links else why
            self.fail(task, EngineFailed(f"{task.id} cannot run any more: {text}"))

    # What agents say

    def _speaks(self, link: AgentLink) -> None:
        try:
            messages = link.channel.get()
        except ChannelError as problem:
            self._lost(link, str(problem))
            return
        except Exception as problem:
            self._lost(link, f"its answer makes no sense: {type(problem).__name__}: {problem}")
            return
        if messages is None:
            self._lost(link, link.leaving or "its agent has ended")
            return
        link.last_heard = time.monotonic()
        ended: list[tuple[TaskFuture[Any], Any, float | None, float]] = []
        lost: list[tuple[TaskFuture[Any], int | None, str, int | None]] = []
        with self._lock:
            for kind, *rest in messages:
                if kind in ("returned", "ended", "lost", "cancelled"):
                    task = self._lanes.ended(rest[0])
                    record = task._task if task is not None else None
                    if task is None or record is None:  # it was cancelled
                        continue
                    if kind == "returned":
                        _, failed, data, segment, begun, end = rest
                        self._lanes.took(record, end - begun)
                        fd = -1 if segment is None else segment_of(segment)
                        outcome = Received(RAISED if failed else RETURNED, data, fd)
                        ended.append((task, outcome, begun, end))
                    elif kind == "ended":
                        _, outcome, begun, end = rest
                        if begun is not None:
                            self._lanes.took(record, end - begun)
                        ended.append((task, outcome, begun, end))
                    elif kind == "lost":
                        lost.append((task, *rest[1:]))
                elif kind == "recalled":
                    self.let_wait(self._lanes.recalled(rest[0]))
                elif kind == "held":
                    self._lanes.held(link, rest[0])
                elif kind == "hello":
                    self._arrived(link, rest[0])
                elif kind == "leaving":
                    link.leaving = rest[0]
                    self.scheduler.close_node(link.node)
            self._lanes.go_on()
            self.dispatch()
        for each in ended:
            self.end(*each)
        for one in lost:
            self.lose(*one)

    def _beat(self) -> None:
        silent = time.monotonic() - HEARTBEAT * MOST_SILENT
        for link in list(self._links.values()):
            if link.last_heard < silent:
                self._lost(link, f"it has said nothing for {HEARTBEAT * MOST_SILENT:g} s")
            else:
                with self._lock:
                    link.put([("ping",)])
        if not self._closed.is_set():
            self.reactor.call_later(HEARTBEAT, self._beat)

    # Ranks

    def launch_many(self, specs: Sequence[TaskSpec]) -> list[TaskFuture[Any]]:
        """See :meth:`Engine.launch_many`."""
        return super().launch_many([self._adapted(spec) for spec in specs])

    def _adapted(self, spec: TaskSpec) -> TaskSpec:
        """A task whose ranks are started by a launcher that knows no other nodes is on one."""
        if spec.ranks == 1 or self._launch is None:
            return spec
        if spec.launcher in (None, self._launch.name):
            self._launch.check(spec)
            return spec
        if spec.nodes is not None and spec.nodes > 1:
            raise UnsupportedError(
                f"here, ranks on several nodes are started by {self._launch.name}, "
                f"not by {spec.launcher}"
            )
        return replace(spec, nodes=1)

    def _words(self, spec: TaskSpec) -> list[str]:
        return command_words(spec, () if self._launches(spec) else None)

    def _launches(self, spec: TaskSpec) -> bool:
        launch = self._launch
        return launch is not None and spec.ranks > 1 and spec.launcher in (None, launch.name)

    def launches(self, record: Any) -> bool:
        """Whether the ranks of a task are started by what can do that over several nodes."""
        return isinstance(record, CommandTask) and self._launches(record.spec)

    # See QueuedEngine

    def check_possible(self, options: Options) -> None:
        """See :meth:`QueuedEngine.check_possible`."""
        if options.resources in self._possible:
            return
        also = self._nodes_to_come()
        if also is None:
            return
        if not also and not self._links and self._members:
            raise EngineFailed(f"this engine runs nothing any more: {self._why_no_nodes()}")
        reason = self.scheduler.impossible(options.resources, also)
        if reason is not None:
            raise InvalidTaskError(f"the task can never run here: {reason}")
        if len(self._possible) < _MOST_REMEMBERED:
            self._possible.add(options.resources)

    def seconds_of(self, options: Options) -> float:
        """See :meth:`QueuedEngine.seconds_of`."""
        return (options.time_limit or 0.0) if self._timed else 0.0

    def wants_calls(self) -> bool:
        """See :meth:`QueuedEngine.wants_calls`."""
        return self.scheduler.idle_cores

    def dispatch(self) -> None:
        """See :meth:`QueuedEngine.dispatch`."""
        scheduler = self.scheduler
        waiting = scheduler.waiting
        if waiting:
            now = time.monotonic()
            while found := scheduler.next(now):
                self._lanes.start(*found)
            if self._max_waiting is not None and scheduler.waiting < waiting:
                self._room.notify_all()
        if scheduler.idle_cores:
            self._lanes.balance()

    def link_of(self, node: int) -> AgentLink:
        """The agent of a node."""
        return self._links[node]

    def stop_task(self, task: TaskFuture[Any]) -> None:
        """See :meth:`QueuedEngine.stop_task`."""
        self._lanes.stop(task)

    def where(self, task: TaskFuture[Any]) -> str | None:
        """See :meth:`QueuedEngine.where`."""
        return self._lanes.where(task)

    def origin(self) -> dict[str, Any]:
        """Where its nodes come from, for people and programs."""
        live = self._members.live()
        return live[-1].source.origin() if live else {}

    def _close(self) -> None:
        with self._lock:
            if self._closed.is_set():
                return
            for link in self._links.values():
                link.put([("end",)])
                link.close()
            for link in self._newcomers:
                link.close()
            self._links.clear()
            self._door.close()
            sources = [member.source for member in self._members.live()]
        try:
            for source in sources:
                self._stop(source)
        finally:
            self.reactor.stop()
            self._closed.set()
            self._is_closed()

    def _stop(self, source: Source) -> None:
        try:
            source.stop()
        except Exception as problem:
            self.log.warning("%s could not be ended well: %s", source.title, problem)
