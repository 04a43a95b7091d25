"""A simulated scheduler, its accounting and the job scripts, to drive a monitor with."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from exaworks.psij import JobState, Reason
from exaworks.psij.executors.batch.adapter import Answer, Observation
from exaworks.psij.executors.batch.monitor import Monitor, Update
from exaworks.psij.executors.batch.report import Report
from exaworks.psij.executors.batch.verdict import Findings

S = JobState
TOKEN = "t"

VERDICTS = {
    "timeout": ("TIMEOUT", S.FAILED, Reason.TIMEOUT),
    "cancelled": ("CANCELLED", S.CANCELED, Reason.CANCELED),
    "node": ("NODE_FAIL", S.FAILED, Reason.NODE_FAILURE),
    "preempted": ("PREEMPTED", S.FAILED, Reason.PREEMPTED),
}
KILLED_WITHOUT_A_WORD = ("node",)


@dataclass
class TrueJob:
    """What really happens to a job. Times are on the simulated clock."""

    key: str
    submitted: float
    start: float
    end: float
    how: str = "exit"
    code: int = 0
    requeued_at: float | None = None
    """The first incarnation was ended at that time; ``start`` and ``end`` are of the second."""
    pushes: bool = True
    records: bool = True

    @property
    def restarts(self) -> int:
        return int(self.requeued_at is not None)

    def truth(self) -> tuple[JobState, str | None]:
        if self.how == "exit":
            return (S.FAILED, Reason.EXIT_CODE) if self.code else (S.COMPLETED, None)
        _, state, reason = VERDICTS[self.how]
        return state, reason

    def final(self) -> Observation:
        if self.how == "exit":
            state, word = (S.FAILED, "FAILED") if self.code else (S.COMPLETED, "COMPLETED")
            return Observation(self.key, state, word, self.code, nodes="n1", restarts=self.restarts)
        word, state, reason = VERDICTS[self.how]
        return Observation(self.key, state, word, 143, 15, reason, None, word, "n1", self.restarts)

    def observed(self, now: float) -> Observation:
        restarts = 0
        if self.requeued_at is not None:
            if now < self.requeued_at:
                return Observation(self.key, S.ACTIVE, "RUNNING", nodes="n0")
            restarts = 1
        if now < self.start:
            return Observation(self.key, S.QUEUED, "PENDING", restarts=restarts)
        if now < self.end:
            return Observation(self.key, S.ACTIVE, "RUNNING", nodes="n1", restarts=restarts)
        return self.final()

    def report(self, state: JobState | None, time: float, restarts: int) -> Report:
        if state is not None:
            return Report(TOKEN, self.key, time, state, restarts, nodes="n1")
        term = self.how != "exit"
        return Report(
            TOKEN, self.key, time, None, restarts, 143 if term else self.code, term, "launch",
            "ACTIVE", time, time, "n1",
        )  # fmt: skip

    def reports(self) -> list[Report]:
        found = []
        if self.requeued_at is not None:
            found.append(self.report(S.ACTIVE, self.submitted, 0))
            found.append(Report(TOKEN, self.key, self.requeued_at, None, 0, 143, True, "launch",
                                "ACTIVE"))  # fmt: skip
        found.append(self.report(S.ACTIVE, self.start, self.restarts))
        if self.how not in KILLED_WITHOUT_A_WORD:
            found.append(self.report(None, self.end, self.restarts))
        return found


@dataclass
class World:
    """Drives a monitor until all jobs have ended, or for a limited time."""

    jobs: list[TrueJob]
    monitor: Monitor
    interval: float = 10.0
    min_job_age: float = 60.0
    outages: list[tuple[float, float]] = field(default_factory=list)
    accounting: bool = True
    accounting_lag: float = 2.0
    now: float = 0.0
    updates: list[tuple[float, Update]] = field(default_factory=list)
    queries: list[float] = field(default_factory=list)
    log: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._count = itertools.count()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._by_key = {job.key: job for job in self.jobs}
        for job in self.jobs:
            self.at(job.submitted, partial(self._submit, job))
            if job.pushes:
                for report in job.reports():
                    arrival = max(report.time, job.submitted) + 0.2
                    self.at(arrival, partial(self._push, job.key, report))

    def at(self, time: float, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._count), act))

    def _submit(self, job: TrueJob) -> None:
        self.monitor.track(self.now, job.key, job.key, self.interval, 2.0, TOKEN)

    def _push(self, key: str, report: Report) -> None:
        self.monitor.reported(self.now, key, report)

    def down(self) -> bool:
        return any(begin <= self.now < end for begin, end in self.outages)

    def final(self, key: str) -> Update:
        (update,) = [u for _, u in self.updates if u.key == key and u.state.final]
        return update

    def final_time(self, key: str) -> float:
        (when,) = [t for t, u in self.updates if u.key == key and u.state.final]
        return when

    def run(self, until: float) -> None:
        while True:
            self._act()
            times = [self._events[0][0]] if self._events else []
            deadline = self.monitor.next_deadline()
            if deadline is not None:
                times.append(max(deadline, self.now))
            if not times or min(times) > until:
                return
            self.now = max(self.now, min(times))
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()

    def _act(self) -> None:
        actions = self.monitor.take_actions(self.now)
        self.updates += [(self.now, update) for update in actions.updates]
        self.log += [message for _, message in actions.log]
        if actions.query:
            self.queries.append(self.now)
            self.at(self.now + 0.01, partial(self._answer, list(actions.query)))
        if actions.records:
            self.at(self.now + 0.001, partial(self._read_files, list(actions.records)))
        if actions.accounting:
            self.at(self.now + 0.05, partial(self._account, list(actions.accounting)))

    def _answer(self, keys: list[object]) -> None:
        if self.down():
            self.monitor.answered(self.now, keys, Answer(problem="Unable to contact controller"))
            return
        seen = [
            job.observed(self.now)
            for job in self.jobs
            if job.key in keys and self.now < job.end + self.min_job_age
        ]
        self.monitor.answered(self.now, keys, Answer(seen))

    def _read_files(self, keys: list[object]) -> None:
        found: dict[object, Findings] = {}
        for key in keys:
            job = self._by_key[str(key)]
            ended = [r for r in job.reports() if r.state is None and r.time <= self.now]
            found[key] = Findings(ended[-1] if ended and job.records else None)
        self.monitor.files_read(self.now, found)

    def _account(self, keys: list[object]) -> None:
        if not self.accounting:
            answer = Answer(problem="accounting is disabled", unavailable=True)
        else:
            told = [
                j for j in self.jobs if j.key in keys and self.now > j.end + self.accounting_lag
            ]
            answer = Answer([job.final() for job in told])
        self.monitor.accounting_answered(self.now, keys, answer)
