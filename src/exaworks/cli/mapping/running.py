"""Tasks from their inputs to their ends: output, log, figures, ctrl-C."""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from exaworks.cli.interrupts import Interrupts
from exaworks.cli.mapping.feeder import Ended, Feeder
from exaworks.cli.mapping.halt import Halt
from exaworks.cli.mapping.joblog import JobLog
from exaworks.cli.mapping.outcome import Outcome, Task
from exaworks.cli.mapping.output import InOrder, Output, Screen
from exaworks.cli.mapping.progress import Bar, Figures
from exaworks.cli.mapping.summary import Summary
from exaworks.cli.output import clean, note
from exaworks.tasks import Engine, TaskFuture, TaskSpec

__all__ = ["Mapping"]

_TICK: Final = 0.05
_BLINK: Final = 0.01
_AT_A_TIME: Final = 100
_PATIENCE: Final = 2.0
"""Seconds beyond their grace time that cancelled tasks have to be gone."""

_HERE: Final = ("local", "inline")
"""Engines whose host is written as GNU parallel writes this machine's."""


class Mapping:
    """A command that is run for each of many arguments.

    Attributes:
        summary: what has become of the tasks.
        interrupted: the signal that has stopped it, or 0.
        halted: whether it was stopped because tasks have failed.
    """

    def __init__(
        self,
        engine: Engine,
        tasks: Iterator[Task],
        spec_of: Callable[[Task], TaskSpec],
        most: Callable[[], int],
        summary: Summary,
        *,
        halt: Halt,
        log: JobLog | None = None,
        bar: Bar | None = None,
        printed: bool = True,
        kept: bool = False,
        ordered: bool = False,
        tagged: bool = False,
        talks: bool = False,
    ) -> None:
        """Prepare.

        Args:
            engine: who runs the tasks.
            tasks: what is to be run.
            spec_of: how it is to be run.
            most: tells how many may be on the way.
            summary: where they are counted.
            halt: when to stop.
            log: where ends of tasks are noted.
            bar: shows how far they are.
            printed: their output is shown.
            kept: their output goes to files that they name.
            ordered: it is shown in their order.
            tagged: its lines begin with the arguments.
            talks: say of each failure what is known.
        """
        self.summary = summary
        self.interrupted = 0
        self.halted = False
        self._engine = engine
        self._feeder = Feeder(engine, tasks, spec_of, most)
        self._halt = halt
        self._log = log
        self._bar = bar
        self._printed = printed
        self._kept = kept
        self._tagged = tagged
        self._talks = talks
        self._screen = Screen()
        self._order = InOrder(self._screen) if ordered else None
        self._cancelled = False

    def run(self) -> None:
        """Run all tasks.

        Raises:
            Exception: what is wrong with the inputs, or has gone wrong with the engine or our
                output; no task runs any more.
        """
        with Interrupts() as interrupts:
            interrupts.most = 3  # an engine that does not end must not hold us for ever
            self._feeder.start()
            try:
                while not self._feeder.finished and interrupts.count < 2:
                    for ended in self._next():
                        self._take(*ended)
                    self._look(interrupts)
                if self._order is not None:
                    self._hide()
                    self._order.finish()
            except BaseException:
                self._cancel()
                raise
            finally:
                self._hide()
                if self._order is not None:
                    self._order.close()
                if self._cancelled:
                    self._wait_until_gone(interrupts)
                self._engine.shutdown()
        if self._feeder.problem is not None and not self.interrupted:
            raise self._feeder.problem

    def _next(self) -> list[Ended]:
        """Tasks that have ended, if any have in the next moment."""
        found: list[Ended] = []
        with contextlib.suppress(queue.Empty):
            ended = self._feeder.ended.get(timeout=_TICK)
            while True:
                found += [] if ended is None else [ended]
                if len(found) == _AT_A_TIME:
                    break
                ended = self._feeder.ended.get_nowait()
        return found

    def _take(self, number: int, task: Task, future: TaskFuture[Any]) -> None:
        """A task has ended."""
        outcome = Outcome.of(future, self._feeder.stopped)
        self.summary.add(task, outcome)
        self._halt_if_reached()  # before there is room for another
        self._feeder.done(future)
        label = f"{' '.join(task.values)}\t" if self._tagged else ""
        output = None
        if outcome.result is not None:
            output = Output.of(outcome.result, os.fsencode(label), self._kept)
        received = 0 if output is None else output.stdout.size()
        if self._printed:
            self._print(number, output)
        elif output is not None:
            output.remove()
        if outcome.cancelled:
            return
        if self._log is not None:
            self._note_in(self._log, task, outcome, received)
        if not outcome.ok and (self._talks or not outcome.own):
            self.say(f"task {task.seq}: {clean(outcome.message or '')}")

    def _print(self, number: int, output: Output | None) -> None:
        self._hide()
        if self._order is not None:
            self._order.add(number, output)
        elif output is not None:
            self._screen.show(output)

    def _note_in(self, log: JobLog, task: Task, outcome: Outcome, received: int) -> None:
        host = ":"
        if outcome.result is not None and self._engine.name not in _HERE:
            host = outcome.result.node
        seconds = outcome.ended - outcome.started
        log.write(
            task.seq, host, outcome.started, seconds, received, outcome.exit_value,
            outcome.signal or 0, task.text,
        )  # fmt: skip

    def _halt_if_reached(self) -> None:
        summary = self.summary
        known = self._feeder.handed + summary.skipped
        if not self.halted and self._halt.reached(summary.failed, summary.total, known):
            self.halted = True
            if self._halt.now:
                self._cancel()
            else:
                self._feeder.stop()

    def _look(self, interrupts: Interrupts) -> None:
        """See what else has happened."""
        if self._feeder.all_read:
            self.summary.total = self._feeder.handed + self.summary.skipped
        if interrupts.count and not self.interrupted:
            self.interrupted = interrupts.last
            self._cancel()
            if not self._feeder.finished:
                self.say("ending the tasks that run; ctrl-C again does not wait for them")
        if self._bar is not None and self._bar.due:
            summary = self.summary
            done = summary.ended + summary.skipped
            running = min(self._engine.resources().running, self._feeder.handed - summary.ended)
            self._screen.end_line()
            self._bar.show(Figures(done, summary.total, running, summary.failed, summary.rate))

    def _cancel(self) -> None:
        self._cancelled = True
        self._feeder.cancel()

    def _wait_until_gone(self, interrupts: Interrupts) -> None:
        """Wait until cancelled tasks have really ended: an engine that is shut down kills them."""
        limit = time.monotonic() + TaskSpec.grace + _PATIENCE
        while interrupts.count < 2 and time.monotonic() < limit:
            now = self._engine.resources()
            if not now.running and now.free == now.total:
                return
            time.sleep(_BLINK)

    def _hide(self) -> None:
        if self._bar is not None:
            self._bar.hide()

    def say(self, text: str) -> None:
        """Say something on standard error."""
        self._hide()
        self._screen.end_line()
        note(text)
