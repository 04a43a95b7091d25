"""The part of the local engine that runs commands."""

from __future__ import annotations

import os
from functools import partial
from typing import Any

from exaworks.core.workers.commands import Ending
from exaworks.tasks.errors import TaskFailed
from exaworks.tasks.future import TaskFuture
from exaworks.tasks.local.base import LocalBase, Runner, exit_code, how_ended
from exaworks.tasks.local.commands import (
    CommanderLink,
    Environments,
    make_command,
    outcome_of,
)
from exaworks.tasks.scheduler import Placement

__all__ = ["CommandRunner"]

MOST_COMMANDERS = 4
"""Processes that start commands. One is suspended while a command begins, and so makes at most a
thousand a second."""


class CommandRunner(Runner):
    """Has a few processes that start commands, from the first command on."""

    def __init__(self, engine: LocalBase, folder: str, capture: int) -> None:
        self._engine = engine
        self._folder = folder
        self._capture = capture
        self._commanders: dict[int, CommanderLink] = {}
        self._most = min(MOST_COMMANDERS, len(engine.node.cores), os.cpu_count() or 1)
        self._placements: dict[TaskFuture[Any], Placement] = {}
        self.environments = Environments()

    def start(self, task: TaskFuture[Any], placement: Placement) -> None:
        """See :meth:`Runner.start`."""
        engine = self._engine
        self._placements[task] = placement
        command = make_command(task, placement, engine.bind, bool(engine.node.gpus), self._capture)
        commander = self._least_busy()
        engine.started(task, worker=commander.pid)
        commander.run([(task, command)], self.environments)

    def _least_busy(self) -> CommanderLink:
        if len(self._commanders) < self._most and all(c.tasks for c in self._commanders.values()):
            return self._add()
        return min(self._commanders.values(), key=lambda each: len(each.tasks))

    def _add(self) -> CommanderLink:
        engine = self._engine
        engine.process_count += 1
        commander = CommanderLink(engine.process_count, engine.reactor)
        self._commanders[commander.number] = commander
        with commander.their_socket as theirs:
            engine.nursery.commander(commander.number, theirs.fileno(), self._folder)
        engine.reactor.call_soon(lambda: self._listen(commander))
        return commander

    def _listen(self, commander: CommanderLink) -> None:
        if commander.number in self._commanders:
            self._engine.reactor.add_reader(commander.fileno(), partial(self._speaks, commander))

    def _speaks(self, commander: CommanderLink) -> bool:
        """Take in what has come; false: nothing has, and nothing may ever come again."""
        engine = self._engine
        ended: list[tuple[TaskFuture[Any], Any, float | None, float]] = []
        refused: list[tuple[TaskFuture[Any], str]] = []
        with engine.lock:
            messages = commander.read()
            if messages is None:  # how it has ended, the nursery will tell
                engine.reactor.remove_reader(commander.fileno())
            for kind, token, *rest in messages or ():
                task = commander.tasks.pop(token)
                engine.scheduler.release(self._placements.pop(task))
                if task._task is None:  # it was cancelled
                    continue
                if kind == "ended":
                    ending: Ending = rest[0]
                    outcome = outcome_of(task._task.spec, task.id, ending, engine.node.name)
                    ended.append((task, outcome, ending[1], ending[2]))
                else:
                    refused.append((task, rest[0]))
            engine.dispatch()
        for each in ended:
            engine.end(*each)
        for task, message in refused:
            engine.fail(task, TaskFailed(f"{task.id} could not be started: {message}"))
        return bool(messages)

    def stop(self, task: TaskFuture[Any]) -> None:
        """See :meth:`Runner.stop`."""
        for commander in self._commanders.values():
            commander.end(task)

    def where(self, task: TaskFuture[Any]) -> str | None:
        """See :meth:`Runner.where`."""
        for commander in self._commanders.values():
            if task in commander.tasks.values():
                return f"runs as a child of process {commander.pid}"
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
            victims = list(commander.tasks.values())
            for task in victims:
                engine.scheduler.release(self._placements.pop(task))
            self._close(commander)
            engine.dispatch()
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
