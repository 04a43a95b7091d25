"""The workers of the local engine, which run functions."""

from __future__ import annotations

import time
from collections import deque
from functools import partial
from typing import Any

from exaworks.core.workers.wire import BEGUN
from exaworks.tasks.calls import Call
from exaworks.tasks.errors import TaskTimeout
from exaworks.tasks.future import TaskFuture
from exaworks.tasks.gpus import gpu_variables
from exaworks.tasks.local.base import LocalBase, Runner
from exaworks.tasks.local.link import MOST_AHEAD, Answer, WorkerLink
from exaworks.tasks.local.outcome import Received
from exaworks.tasks.queued import ALONE, exit_code, how_ended
from exaworks.tasks.scheduler import Placement

__all__ = ["Crew"]

AHEAD = 0.002
"""Seconds of work that a worker is sent ahead of time."""

LATE = 0.005
"""Seconds after which calls that wait behind a long one are given to a worker that is idle."""

GRACE = 1.0
"""Seconds that an interrupted function has to end."""

SHORT_LIFE = 1.0
"""A worker that lives shorter than this many seconds is replaced only after a pause."""
LONGEST_PAUSE = 5.0


class Crew(Runner):
    """As many workers as there are cores."""

    def __init__(self, engine: LocalBase) -> None:
        self._engine = engine
        self._workers: dict[int, WorkerLink] = {}
        self.idle: deque[WorkerLink] = deque()
        self._rebalancing = False
        self._pause = 0.0
        for _ in engine.node.cores:
            self._add()

    @property
    def workers(self) -> list[WorkerLink]:
        """All of them."""
        return list(self._workers.values())

    @property
    def running(self) -> bool:
        """Whether one of them has something to do."""
        return any(worker.calls for worker in self._workers.values())

    # Workers

    def _add(self) -> None:
        engine = self._engine
        engine.process_count += 1
        worker = WorkerLink(engine.process_count, engine.reactor, engine.lock)
        self._workers[worker.number] = worker
        engine.nursery.worker(worker.number, worker.worker_socket.fileno(), worker.worker_tokens)
        worker.handed_over()
        self.idle.append(worker)
        engine.reactor.call_soon(lambda: self._listen(worker))

    def _listen(self, worker: WorkerLink) -> None:
        if worker.number in self._workers:
            self._engine.reactor.add_reader(worker.fileno(), lambda: self._speaks(worker))

    def _replace(self, worker: WorkerLink) -> None:
        """Have another worker; not at once if they keep dying at birth."""
        if worker.served or time.monotonic() - worker.made > SHORT_LIFE:
            self._pause = 0.0
            self._add()
            return
        self._pause = min(LONGEST_PAUSE, self._pause * 2 or 0.05)
        self._engine.reactor.call_later(self._pause, self._add_later)

    def _add_later(self) -> None:
        with self._engine.lock:
            if not self._engine.ending and len(self._workers) < len(self._engine.node.cores):
                self._add()
                self._engine.dispatch()

    def heard(self, number: int, kind: str, rest: tuple[Any, ...]) -> bool:
        """See :meth:`Runner.heard`."""
        worker = self._workers.get(number)
        if worker is None:
            return False
        if kind == "forked":
            worker.pid = rest[0]
        elif kind == "ended":
            code = exit_code(rest[0])
            self._ended(worker, how_ended(code), code)
        else:
            self._ended(worker, rest[0], None)
        return True

    def abandoned(self) -> None:
        """See :meth:`Runner.abandoned`."""
        for worker in self.workers:
            self._ended(worker, how_ended(-9), -9)

    def _ended(self, worker: WorkerLink, how: str, code: int | None) -> None:
        engine = self._engine
        with engine.lock:
            del self._workers[worker.number]
            answers: list[Answer] = []
            more = True
            while more:
                found, alive = worker.read()
                answers += found
                more = alive and bool(found)
            engine.let_wait(worker.take_back())
            victims = [future for _, future in worker.calls]
            worker.calls.clear()
            if worker in self.idle:
                self.idle.remove(worker)
            self._close(worker)
            if worker.placement is not None:
                engine.scheduler.release(worker.placement)
            if not engine.ending:
                self._replace(worker)
            engine.dispatch()
        self._deliver(answers)
        for future in victims:
            engine.lose(future, worker.pid, how, code)
        with engine.lock:
            engine.end_if_done()

    def _close(self, worker: WorkerLink) -> None:
        if worker.fileno() >= 0:
            self._engine.reactor.remove_reader(worker.fileno())
            self._engine.reactor.remove_writer(worker.fileno())
        worker.close()

    def close(self) -> None:
        """See :meth:`Runner.close`."""
        for worker in self.workers:
            self._close(worker)
        self._workers.clear()
        self.idle.clear()

    # Answers

    def _speaks(self, worker: WorkerLink) -> None:
        engine = self._engine
        with engine.lock:
            answers, alive = worker.read()
            if not alive:  # how it has ended, the nursery will tell
                engine.reactor.remove_reader(worker.fileno())
            for future, kind, _, _, begun, ended in answers:
                call: Call | None = future._task
                if call is None:
                    continue
                if kind == BEGUN:
                    engine.after(call.options.time_limit or 0.0, future, self._out_of_time)
                else:
                    call.function.took(ended - begun)
            if answers:
                self._next_for(worker)
                engine.end_if_done()
        self._deliver(answers)

    def _deliver(self, answers: list[Answer]) -> None:
        for future, kind, payload, fd, begun, ended in answers:
            if kind != BEGUN:
                self._engine.end(future, Received(kind, payload, fd), begun, ended)

    def _next_for(self, worker: WorkerLink) -> None:
        """A worker has answered: send it more, or let it rest."""
        engine = self._engine
        calls = worker.calls
        if not calls:
            self._rest(worker)
            engine.dispatch()
        elif worker.kind != ALONE and engine.scheduler.waiting:
            call: Call | None = calls[-1][1]._task
            if call is not None:
                more = self._ahead(worker, call, len(calls))
                if more:
                    self._send(worker, more)

    def _rest(self, worker: WorkerLink) -> None:
        """A worker has nothing to do."""
        if worker.kill_timer is not None:
            worker.kill_timer.cancel()
            worker.kill_timer = None
        assert worker.placement is not None
        self._engine.scheduler.release(worker.placement)
        worker.placement = None
        self.idle.append(worker)

    # Calls

    def start(self, task: TaskFuture[Any], placement: Placement) -> None:
        """See :meth:`Runner.start`."""
        call: Call = task._task
        worker = self._choose(placement)
        worker.placement = placement
        worker.priority = call.options.priority
        worker.kind = self._engine.kind_of(call)
        worker.last_heard = time.monotonic()
        futures = [task]
        if worker.kind != ALONE:
            futures += self._ahead(worker, call, 1)
        self._send(worker, futures)

    def _choose(self, placement: Placement) -> WorkerLink:
        """An idle worker; for GPUs, one that has used no others: libraries hold on to them."""
        gpus = placement.ranks[0].gpus
        if not gpus:
            return self.idle.popleft()
        worker = next((each for each in self.idle if each.gpus in (None, gpus)), None)
        if worker is None:
            self._retire(self.idle[0])
            self._add()
            worker = self.idle[-1]
        self.idle.remove(worker)
        worker.gpus = gpus
        return worker

    def _retire(self, worker: WorkerLink) -> None:
        """Let an idle worker end."""
        del self._workers[worker.number]
        self.idle.remove(worker)
        self._engine.reactor.call_soon(lambda: self._close(worker))

    def _ahead(self, worker: WorkerLink, call: Call, sent: int) -> list[TaskFuture[Any]]:
        """Calls to send ahead, so many that the worker is busy until it can be sent more."""
        seconds = call.function.seconds
        if seconds is None or worker.placement is None:
            return []
        most = min(MOST_AHEAD, int(AHEAD / max(seconds, 1e-6))) - sent
        if most <= 0:
            return []
        scheduler = self._engine.scheduler
        return scheduler.more(worker.placement, worker.priority, worker.kind, most)

    def _send(self, worker: WorkerLink, futures: list[TaskFuture[Any]]) -> None:
        for future in futures:
            self._engine.started(future, worker=worker.pid)
        worker.send(futures, self._settings(worker))

    def _settings(self, worker: WorkerLink) -> dict[str, Any] | None:
        engine = self._engine
        assert worker.placement is not None
        rank = worker.placement.ranks[0]
        settings: dict[str, Any] = {}
        if engine.bind:
            settings["cpus"] = rank.cores
        if engine.node.gpus:
            settings["environment"] = gpu_variables(worker.placement)
        return settings or None

    def balance(self) -> None:
        """See :meth:`Runner.balance`."""
        if not self.idle or self._rebalancing or len(self.idle) == len(self._workers):
            return
        if any(len(worker.calls) > 1 for worker in self._workers.values()):
            self._rebalancing = True
            self._engine.reactor.call_later(LATE, self._rebalance)

    def _rebalance(self) -> None:
        with self._engine.lock:
            self._rebalancing = False
            if not self.idle:
                return
            late = time.monotonic() - LATE
            for worker in self.workers:
                if len(worker.calls) > 1 and worker.last_heard <= late:
                    self._engine.let_wait(worker.take_back())
                    if not worker.calls:
                        self._rest(worker)
            self._engine.dispatch()

    # Ending calls

    def _worker_of(self, task: TaskFuture[Any]) -> WorkerLink | None:
        return next((w for w in self._workers.values() if any(f is task for _, f in w.calls)), None)

    def stop(self, task: TaskFuture[Any]) -> None:
        """See :meth:`Runner.stop`."""
        worker = self._worker_of(task)
        if worker is None:
            return
        back = worker.take_back()
        self._engine.let_wait(future for future in back if future is not task)
        if task in back:
            if not worker.calls:
                self._rest(worker)
        else:
            worker.interrupt()
            if worker.kill_timer is None:
                insist = partial(self._insist, worker, worker.calls[0][0])
                worker.kill_timer = self._engine.reactor.call_later(GRACE, insist)
        self._engine.dispatch()

    def _insist(self, worker: WorkerLink, token: int) -> None:
        with self._engine.lock:
            worker.kill_timer = None
            if worker.number in self._workers and worker.calls and worker.calls[0][0] == token:
                worker.kill()

    def _out_of_time(self, task: TaskFuture[Any]) -> None:
        call: Call = task._task
        with self._engine.lock:
            self.stop(task)
        limit = call.options.time_limit
        self._engine.fail(
            task, TaskTimeout(f"{call.title} ({task.id}) has run for {limit:g} s, its limit")
        )

    def where(self, task: TaskFuture[Any]) -> str | None:
        """See :meth:`Runner.where`."""
        worker = self._worker_of(task)
        if worker is None:
            return None
        position = next(i for i, (_, future) in enumerate(worker.calls) if future is task)
        verb = f"is number {position + 1} of the calls sent to" if position else "runs in"
        return f"{verb} worker process {worker.pid}"
