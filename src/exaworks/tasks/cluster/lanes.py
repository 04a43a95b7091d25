"""Which tasks were sent to which node, and how many more may be."""

from __future__ import annotations

import itertools
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from exaworks.tasks.calls import Call
from exaworks.tasks.cluster.link import AgentLink, Lane
from exaworks.tasks.commands import CommandTask, command_words
from exaworks.tasks.future import TaskFuture
from exaworks.tasks.queued import ALONE
from exaworks.tasks.scheduler import Placement

if TYPE_CHECKING:
    from exaworks.tasks.cluster.engine import ClusterEngine

__all__ = ["Lanes"]

AHEAD = 0.02
"""Seconds of work that a node is sent ahead for each place."""

MOST_AHEAD = 100
"""How many tasks at most."""

LATE = 0.02
"""Seconds after which tasks that wait behind a long one are recalled if a core is idle."""

MOST_REMEMBERED = 1000
"""Executables of which it is known how long they take."""


class Lanes:
    """All lanes of an engine. The lock of the engine is held in all methods."""

    def __init__(self, engine: ClusterEngine) -> None:
        self._engine = engine
        self._tokens = itertools.count(1)
        self._lane_of: dict[int, Lane] = {}
        self._touched: dict[Lane, None] = {}
        self._seconds: dict[str, float] = {}
        self._balancing = False

    # Sending

    def start(self, task: TaskFuture[Any], placement: Placement) -> None:
        """Send a task where there is room for it, and more of its kind."""
        engine = self._engine
        record = task._task
        nodes = list(dict.fromkeys(rank.node for rank in placement.ranks))
        link = engine.link_of(nodes[0])
        lane = Lane(link, placement, record.options.priority, engine.kind_of(record))
        link.lanes[lane] = None
        if len(nodes) > 1 or engine.launches(record):
            self._set_aside(lane, task, nodes)
        else:
            self._send(lane, [task, *self._ahead(lane, record)])

    def _set_aside(self, lane: Lane, task: TaskFuture[Any], nodes: list[int]) -> None:
        """Let each node keep what the ranks there need; when all do, the task begins."""
        token = next(self._tokens)
        self._keep(lane, token, task)
        lane.set_aside = True
        lane.others = [self._engine.link_of(node) for node in nodes[1:]]
        counts = Counter(rank.node for rank in lane.placement.ranks)
        for link in (lane.link, *lane.others):
            link.lanes[lane] = None
            lane.unready.add(link)
            request = replace(
                lane.placement.request, ranks=counts[link.node], nodes=None, colocate=None
            )
            link.put([("hold", token, request)])
        self._engine.started(task, node=lane.link.name)

    def _keep(self, lane: Lane, token: int, task: TaskFuture[Any]) -> None:
        lane.tasks[token] = task
        self._lane_of[token] = lane

    def held(self, link: AgentLink, token: int) -> None:
        """A node keeps what the ranks of a task need there."""
        lane = self._lane_of.get(token)
        if lane is None:
            return
        lane.unready.discard(link)
        task = lane.tasks[token]
        record: CommandTask | None = task._task
        if lane.unready or record is None:
            return
        source = lane.link.source
        assert source is not None
        names = {each.node: each.name for each in (lane.link, *lane.others)}
        words = command_words(record.spec, source.spread(record.spec, lane.placement, names))
        messages: list[Any] = []
        lane.link.command(token, task, self._engine.environments, messages, words)
        lane.link.put(messages)

    def _ahead(self, lane: Lane, record: Any) -> list[TaskFuture[Any]]:
        """Tasks to send ahead, so that the next one need not wait for this process."""
        if lane.kind == ALONE or self._engine.seconds_of(record.options):
            return []
        if isinstance(record, Call):
            seconds = record.function.seconds
        else:
            seconds = self._seconds.get(record.words[0])
        if seconds is None:
            return []
        most, there = min(MOST_AHEAD, int(AHEAD / max(seconds, 1e-6))), len(lane.tasks)
        if there > most // 2:  # several at a time cost less
            return []
        return self._engine.scheduler.more(lane.placement, lane.priority, lane.kind, most - there)

    def _send(self, lane: Lane, tasks: list[TaskFuture[Any]]) -> None:
        engine, link = self._engine, lane.link
        messages: list[Any] = []
        for task in tasks:
            token = next(self._tokens)
            self._keep(lane, token, task)
            engine.started(task, node=link.name)
            if isinstance(task._task, Call):
                link.call(token, task, messages)
            else:
                link.command(token, task, engine.environments, messages)
        link.put(messages)

    # Taking in

    def took(self, record: Any, seconds: float) -> None:
        """Note how long a task took."""
        if isinstance(record, Call):
            record.function.took(seconds)
            return
        executable = record.words[0]
        known = self._seconds.get(executable)
        if known is None and len(self._seconds) >= MOST_REMEMBERED:
            self._seconds.clear()
        self._seconds[executable] = seconds if known is None else known + 0.2 * (seconds - known)

    def ended(self, token: int) -> TaskFuture[Any] | None:
        """The task of a token, which is done with; ``None``: it was before."""
        lane = self._lane_of.pop(token, None)
        if lane is None:
            return None
        lane.last_heard = time.monotonic()
        self._touched[lane] = None
        if lane.set_aside:
            for other in (lane.link, *lane.others):
                other.put([("release", token)])
        return lane.tasks.pop(token)

    def recalled(self, tokens: Iterable[int]) -> list[TaskFuture[Any]]:
        """The tasks of tokens that did not begin."""
        tasks = [self.ended(token) for token in tokens]
        return [task for task in tasks if task is not None and task._task is not None]

    def go_on(self) -> None:
        """Send more to those places of which tasks have ended, or give them back."""
        touched, self._touched = self._touched, {}
        for lane in touched:
            if not lane.tasks:
                self._drop(lane)
                self._engine.scheduler.release(lane.placement)
            elif self._engine.scheduler.waiting:
                last = next(reversed(lane.tasks.values()))
                if last._task is not None:
                    more = self._ahead(lane, last._task)
                    if more:
                        self._send(lane, more)

    def _drop(self, lane: Lane) -> None:
        for link in (lane.link, *lane.others):
            link.lanes.pop(lane, None)

    def lost(self, link: AgentLink) -> list[TaskFuture[Any]]:
        """A node is gone: the tasks that it had."""
        victims: list[TaskFuture[Any]] = []
        for lane in link.lanes:
            for token, task in lane.tasks.items():
                del self._lane_of[token]
                for other in (lane.link, *lane.others):
                    if other is not link:
                        other.put([("cancel", token), ("release", token)])
                if task._task is not None:
                    victims.append(task)
            for other in (lane.link, *lane.others):
                if other is not link:
                    other.lanes.pop(lane, None)
            self._touched.pop(lane, None)
            self._engine.scheduler.release(lane.placement)
        link.lanes.clear()
        return victims

    # Ending

    def _find(self, task: TaskFuture[Any]) -> tuple[Lane, int] | None:
        for token, lane in self._lane_of.items():
            if lane.tasks[token] is task:
                return lane, token
        return None

    def stop(self, task: TaskFuture[Any]) -> None:
        """End a task."""
        found = self._find(task)
        if found is None:
            return
        lane, token = found
        if lane.unready:  # it has not begun
            self.ended(token)
            self.go_on()
            self._engine.dispatch()
        else:
            lane.link.put([("cancel", token)])

    def where(self, task: TaskFuture[Any]) -> str | None:
        """Where a task is, for people."""
        found = self._find(task)
        if found is None:
            return None
        lane, token = found
        names = ", ".join(link.name for link in (lane.link, *lane.others))
        if lane.unready:
            return f"waits for room on {', '.join(sorted(each.name for each in lane.unready))}"
        if next(iter(lane.tasks)) == token:
            return f"runs on {names}"
        return f"was sent to {names} ahead of time"

    # Long tasks

    def balance(self) -> None:
        """See to it that no task waits behind a long one while there is room elsewhere."""
        if self._balancing or not self._lane_of:
            return
        self._balancing = True
        self._engine.reactor.call_later(LATE, self._balance)

    def _waiting_behind(self) -> list[Lane]:
        return [lane for lane in set(self._lane_of.values()) if len(lane.tasks) > 1]

    def _balance(self) -> None:
        with self._engine.lock:
            self._balancing = False
            waiting_behind = self._waiting_behind()
            if not waiting_behind or not self._engine.scheduler.idle_cores:
                return
            late = time.monotonic() - LATE
            for lane in waiting_behind:
                if lane.last_heard <= late:
                    lane.last_heard = time.monotonic()
                    lane.link.put([("recall", list(lane.tasks)[1:])])
            self.balance()
