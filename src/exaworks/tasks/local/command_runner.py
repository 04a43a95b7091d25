"""The part of the local engine that runs commands."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from functools import partial
from typing import Any

from exaworks.core.workers.commands import Ending
from exaworks.tasks.commands import CommandTask, make_command, not_started, outcome_of
from exaworks.tasks.errors import TaskFailed
from exaworks.tasks.future import TaskFuture
from exaworks.tasks.local.base import LocalBase, Runner
from exaworks.tasks.local.commander import CommanderLink, Lane
from exaworks.tasks.queued import COMMAND, exit_code, how_ended
from exaworks.tasks.scheduler import Placement

__all__ = ["CommandRunner"]

MOST_COMMANDERS = 4
"""Processes that start commands. One is suspended while a command begins, and so makes at most a
thousand a second."""

AHEAD = 0.01
"""Seconds of work that such a process is sent ahead for each place."""

MOST_AHEAD = 16
"""How many commands at most."""

LATE = 0.005
"""Seconds after which commands that wait behind a long one are recalled if a core is idle."""

MOST_REMEMBERED = 1000
"""Executables of which it is known how long they take."""


class CommandRunner(Runner):
    """Has a few processes that start commands, from the first command on."""

    def __init__(self, engine: LocalBase, folder: str, capture: int) -> None:
        self._engine = engine
        self._folder = folder
        self._capture = capture
        self._commanders: dict[int, CommanderLink] = {}
        self._most = min(MOST_COMMANDERS, len(engine.node.cores), os.cpu_count() or 1)
        self._seconds: dict[str, float] = {}
        self._balancing = False

    @property
    def running(self) -> bool:
        """Whether commands run, or are about to."""
        return any(commander.lanes for commander in self._commanders.values())

    def start(self, task: TaskFuture[Any], placement: Placement) -> None:
        """See :meth:`Runner.start`."""
        commander = self._least_busy()
        lane = commander.open_lane(placement, task._task.options.priority)
        self._send(lane, [task, *self._ahead(lane, task)])

    def _ahead(self, lane: Lane, task: TaskFuture[Any]) -> list[TaskFuture[Any]]:
        """Commands to send ahead, so that the next one need not wait for this process."""
        seconds = self._seconds.get(task._task.words[0])
        if seconds is None:
            return []
        most, there = min(MOST_AHEAD, int(AHEAD / max(seconds, 1e-6))), len(lane.tasks)
        if there > most // 2:  # several at a time cost less
            return []
        return self._engine.scheduler.more(lane.placement, lane.priority, COMMAND, most - there)

    def _send(self, lane: Lane, tasks: list[TaskFuture[Any]]) -> None:
        engine = self._engine
        commands = []
        for task in tasks:
            engine.started(task, worker=lane.commander.pid)
            gpus = bool(engine.node.gpus)
            command = make_command(
                task, lane.placement, engine.bind, gpus, self._capture, engine.environments
            )
            commands.append((task, command))
        lane.commander.run(lane, commands, engine.environments)

    def _least_busy(self) -> CommanderLink:
        commanders = self._commanders.values()
        if len(commanders) < self._most and all(each.lanes for each in commanders):
            return self._add()
        return min(commanders, key=lambda each: len(each.lanes))

    def _add(self) -> CommanderLink:
        engine = self._engine
        engine.process_count += 1
        commander = CommanderLink(engine.process_count, engine.reactor, engine.lock)
        self._commanders[commander.number] = commander
        with commander.their_socket as theirs:
            engine.nursery.commander(
                commander.number, theirs.fileno(), commander.notes, self._folder
            )
        engine.reactor.call_soon(lambda: self._listen(commander))
        return commander

    def _listen(self, commander: CommanderLink) -> None:
        if commander.number in self._commanders:
            self._engine.reactor.add_reader(commander.fileno(), partial(self._speaks, commander))

    def _speaks(self, commander: CommanderLink) -> bool:
        """Take in what has come; false: nothing has, and nothing may ever come again."""
        engine = self._engine
        ended: list[tuple[TaskFuture[Any], Any, float | None, float]] = []
        refused: list[tuple[TaskFuture[Any], TaskFailed]] = []
        lanes: dict[Lane, None] = {}
        with engine.lock:
            messages = commander.read()
            if messages is None:  # how it has ended, the nursery will tell
                engine.reactor.remove_reader(commander.fileno())
            for kind, key, *rest in messages or ():
                if kind == "recalled":
                    if rest[0]:
                        back = [commander.take(token) for token in rest[0]]
                        engine.let_wait(task for task, _ in back if task._task is not None)
                        lanes.setdefault(back[0][1])
                    continue
                task, lane = commander.take(key)
                lanes.setdefault(lane)
                record: CommandTask | None = task._task
                if record is not None and kind == "ended":
                    ending: Ending = rest[0]
                    self._took(record.words[0], ending[2] - ending[1])
                    outcome = outcome_of(record.spec, task.id, ending, engine.node.name)
                    ended.append((task, outcome, ending[1], ending[2]))
                elif record is not None:  # and if there is none, it was cancelled
                    refused.append((task, not_started(task.id, *rest)))
            for lane in lanes:
                self._go_on(lane)
            engine.dispatch()
            engine.end_if_done()
        for each in ended:
            engine.end(*each)
        for one in refused:
            engine.fail(*one)
        return bool(messages)

    def _took(self, executable: str, seconds: float) -> None:
        known = self._seconds.get(executable)
        if known is None and len(self._seconds) >= MOST_REMEMBERED:
            self._seconds.clear()
        self._seconds[executable] = seconds if known is None else known + 0.2 * (seconds - known)

    def _go_on(self, lane: Lane) -> None:
        """Commands of a lane have ended: send more, or give its place back."""
        if not lane.tasks:
            lane.commander.close_lane(lane)
            self._engine.scheduler.release(lane.placement)
            return
        last = next(reversed(lane.tasks.values()))
        if self._engine.scheduler.waiting and last._task is not None:
            more = self._ahead(lane, last)
            if more:
                self._send(lane, more)

    def balance(self) -> None:
        """See :meth:`Runner.balance`."""
        if self._balancing or not any(self._long_lanes()):
            return
        if self._engine.scheduler.idle_cores:
            self._balancing = True
            self._engine.reactor.call_later(LATE, self._balance)

    def _long_lanes(self) -> Iterator[Lane]:
        for commander in self._commanders.values():
            for lane in commander.lanes.values():
                if len(lane.tasks) > 1:
                    yield lane

    def _balance(self) -> None:
        with self._engine.lock:
            self._balancing = False
            late = time.monotonic() - LATE
            for lane in self._long_lanes():
                if lane.last_heard <= late:
                    lane.commander.recall(lane)
                    lane.last_heard = time.monotonic()
            self.balance()

    def stop(self, task: TaskFuture[Any]) -> None:
        """See :meth:`Runner.stop`."""
        for commander in self._commanders.values():
            commander.end(task)

    def where(self, task: TaskFuture[Any]) -> str | None:
        """See :meth:`Runner.where`."""
        for commander in self._commanders.values():
            for lane in commander.lanes.values():
                for position, each in enumerate(lane.tasks.values()):
                    if each is task:
                        how = "waits for its turn in" if position else "runs as a child of"
                        return f"{how} process {commander.pid}"
        return None

    def heard(self, number: int, kind: str, rest: tuple[Any, ...]) -> bool:
        """See :meth:`Runner.heard`."""
        commander = self._commanders.get(number)
        if commander is None:
            return False
        if kind == "forked":
            commander.pid = rest[0]
        elif kind == "ended":
            code = exit_code(rest[0])
            self._ended(commander, how_ended(code), code)
        else:
            self._ended(commander, rest[0], None)
        return True

    def abandoned(self) -> None:
        """See :meth:`Runner.abandoned`."""
        for commander in list(self._commanders.values()):
            self._ended(commander, "was ended, since its parent was killed,", None)

    def _ended(self, commander: CommanderLink, how: str, code: int | None) -> None:
        engine = self._engine
        while self._speaks(commander):
            pass
        with engine.lock:
            del self._commanders[commander.number]
            victims: list[TaskFuture[Any]] = []
            for lane in commander.lanes.values():
                begun = commander.begun(lane)
                victims += [task for token, task in lane.tasks.items() if token <= begun]
                waiting = [task for token, task in lane.tasks.items() if token > begun]
                engine.let_wait(task for task in waiting if task._task is not None)
                engine.scheduler.release(lane.placement)
            self._close(commander)
            engine.dispatch()
            engine.end_if_done()
        for task in victims:
            engine.lose(task, commander.pid, how, code)

    def _close(self, commander: CommanderLink) -> None:
        if commander.fileno() >= 0:
            self._engine.reactor.remove_reader(commander.fileno())
            self._engine.reactor.remove_writer(commander.fileno())
        commander.close()

    def close(self) -> None:
        """See :meth:`Runner.close`."""
        for commander in self._commanders.values():
            self._close(commander)
        self._commanders.clear()
