"""The decisions of the keeper, without processes: properties under any course of events."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from exaworks.core.keeper.core import KILL, TERM, Core
from exaworks.core.keeper.job import RUNNING, STARTING, WAITING, Job
from exaworks.core.keeper.processes import Process
from exaworks.core.keeper.recovery import ADOPT, AWAIT, LOST, QUEUE, judge

RANK = {
    "QUEUED": 0,
    "STAGE_IN": 1,
    "ACTIVE": 2,
    "STAGE_OUT": 3,
    "CLEANUP": 4,
    "COMPLETED": 5,
    "FAILED": 5,
    "CANCELED": 5,
}
LIMITS = {"a": 1, "b": 3, "c": 100}
STATES = [
    ("ACTIVE",),
    ("STAGE_IN", "ACTIVE", "STAGE_OUT", "CLEANUP"),
    ("ACTIVE", "ACTIVE"),
    ("STAGE_IN", "ACTIVE", "CLEANUP"),
]


def make(number: int, states: tuple[str, ...] = ("ACTIVE",), pool: str = "c") -> Job:
    job = Job(f"key{number}", "{}", "env", states)
    job.id = number
    job.pool = pool
    job.limit = LIMITS[pool]
    return job


class Keeper(RuleBasedStateMachine):
    """Drives a core as a daemon would, with whatever processes may do."""

    def __init__(self) -> None:
        super().__init__()
        self.core = Core()
        self.now = 0.0
        self.all: list[Job] = []
        self.seen: dict[int, list[str]] = {}
        self.running: dict[int, Job] = {}
        self.stubborn: set[int] = set()
        self.started: list[int] = []
        self.canceled: set[int] = set()

    def settle(self) -> None:
        core = self.core
        while core.signals or core.groups or core.changed:
            signals, core.signals = core.signals, []
            core.groups = []
            for job, number in signals:
                if number == KILL:
                    self.stubborn.discard(job.id)
                core.tree(self.now, job, job.id in self.running or job.id in self.stubborn)
            changed, core.changed = core.changed, []
            for job, state in changed:
                self.seen[job.id].append(state)

    def start(self, job: Job) -> None:
        assert job.id not in self.running
        self.running[job.id] = job
        if job.index == 0:
            self.started.append(job.id)
        self.core.spawned(self.now, job, 1000 + job.id)

    @rule(
        states=st.sampled_from(STATES),
        pool=st.sampled_from(sorted(LIMITS)),
        held=st.booleans(),
        duration=st.none() | st.floats(0.1, 20),
        grace=st.floats(0, 10),
    )
    def submit(
        self, states: tuple[str, ...], pool: str, held: bool, duration: float | None, grace: float
    ) -> None:
        job = make(len(self.all) + 1, states, pool)
        job.held = held
        job.duration = duration
        job.grace = grace
        self.all.append(job)
        self.seen[job.id] = []
        self.core.submit(job)
        self.settle()

    @rule(data=st.data(), budget=st.integers(1, 5))
    def start_some(self, data: st.DataObject, budget: int) -> None:
        batch = self.core.startable(self.now, budget)
        assert len(batch) <= budget
        for at, job in enumerate(batch):
            assert job.stage == STARTING
            what = data.draw(st.sampled_from(["run", "run", "run", "fail", "later"]))
            if what == "run":
                self.start(job)
            elif what == "fail":
                self.core.spawn_failed(job, 127, "no such executable")
            else:
                for later in reversed(batch[at:]):
                    self.core.deferred(self.now, later)
                break
        self.settle()

    @precondition(lambda self: self.running)
    @rule(data=st.data(), status=st.sampled_from([0, 0, 256, 15, 9]), left=st.booleans())
    def a_process_ends(self, data: st.DataObject, status: int, left: bool) -> None:
        number = data.draw(st.sampled_from(sorted(self.running)))
        job = self.running.pop(number)
        if job.kill and data.draw(st.booleans()):
            self.stubborn.add(number)
        self.core.exited(self.now, job, status, None, left and not job.kill)
        self.settle()

    @precondition(lambda self: self.core.jobs)
    @rule(data=st.data(), grace=st.none() | st.floats(0, 5))
    def cancel(self, data: st.DataObject, grace: float | None) -> None:
        number = data.draw(st.sampled_from(sorted(self.core.jobs)))
        self.canceled.add(number)
        self.core.cancel(self.now, self.core.jobs[number], grace)
        self.settle()

    @precondition(lambda self: self.core.jobs)
    @rule(data=st.data(), hold=st.booleans())
    def hold_or_release(self, data: st.DataObject, hold: bool) -> None:
        job = self.core.jobs[data.draw(st.sampled_from(sorted(self.core.jobs)))]
        if hold:
            assert self.core.hold(job) == (job.stage == WAITING and job.index == 0)
        else:
            was = job.held
            assert self.core.release(job) == was

    @rule(seconds=st.floats(0, 15))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.core.tick(self.now)
        self.settle()

    @invariant()
    def limits_hold(self) -> None:
        in_pool = Counter(job.pool for job in self.running.values())
        for pool, limit in LIMITS.items():
            assert in_pool[pool] <= limit

    @invariant()
    def states_move_forward_and_end_once(self) -> None:
        for number, states in self.seen.items():
            ranks = [RANK[state] for state in states]
            assert ranks == sorted(set(ranks))
            assert (ranks[-1:] == [5]) == (number not in self.core.jobs)

    @invariant()
    def held_jobs_do_not_run(self) -> None:
        assert not any(job.held for job in self.running.values())

    def teardown(self) -> None:
        """Whatever happened, every job comes to exactly one end when processes end."""
        rounds = 0
        while self.core.jobs:
            rounds += 1
            assert rounds < 1000, "jobs that never end"
            for job in list(self.core.jobs.values()):
                self.core.release(job)
            self.now += 40.0
            self.core.tick(self.now)
            self.settle()
            for job in self.core.startable(self.now, 1000):
                self.start(job)
            self.settle()
            self.stubborn.clear()
            for number in list(self.running):
                self.core.exited(self.now, self.running.pop(number), 0)
            self.settle()
            self.limits_hold()
        self.states_move_forward_and_end_once()
        assert set(self.seen) == {job.id for job in self.all}
        for job in self.all:
            last = self.seen[job.id][-1]
            assert (last == "CANCELED") == (job.id in self.canceled)
            if last == "COMPLETED":
                assert job.exit_code == 0
                assert job.reason is None
            else:
                assert job.reason
        self.now += 100.0
        self.core.tick(self.now)
        assert self.core.startable(self.now, 1000) == []
        assert self.core.pending_groups == 0
        assert not self.core.pools
        assert self.core.next_timer() is None or len(self.core._timers) <= 1100


Keeper.TestCase.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)
TestKeeperProperties = Keeper.TestCase


def run_to(core: Core, job: Job, now: float = 0.0) -> None:
    assert core.startable(now, 1) == [job]
    core.spawned(now, job, 77)


def test_pools_start_in_order_of_submission_and_take_turns() -> None:
    core = Core()
    jobs = [make(n, pool="a" if n % 2 else "b") for n in range(1, 9)]
    for job in jobs:
        core.submit(job)
    first = core.startable(0.0, 100)
    assert [job.id for job in first] == [1, 2, 4, 6]
    for job in first:
        core.spawned(0.0, job, job.id)
    core.exited(1.0, jobs[0], 0)
    core.exited(1.0, jobs[3], 0)
    assert sorted(job.id for job in core.startable(1.0, 100)) == [3, 8]


def test_a_released_job_has_its_old_place() -> None:
    core = Core()
    for n in (1, 2, 3):
        core.submit(make(n, pool="a"))
    assert core.hold(core.jobs[1])
    assert [job.id for job in core.startable(0.0, 5)] == [2]
    assert core.release(core.jobs[1])
    core.spawn_failed(core.jobs[2], 127, "gone")
    assert [job.id for job in core.startable(0.0, 5)] == [1]


def test_failed_staging_skips_the_main_phase_and_still_cleans_up() -> None:
    core = Core()
    job = make(1, ("STAGE_IN", "ACTIVE", "STAGE_OUT", "CLEANUP"))
    core.submit(job)
    run_to(core, job)
    core.exited(0.0, job, 2 << 8, "no such file: x")
    for state in ("STAGE_OUT", "CLEANUP"):
        run_to(core, job)
        assert job.states[job.index] == state
        assert job.outcome == "error"
        core.exited(0.0, job, 0)
    assert [state for _, state in core.changed] == ["STAGE_IN", "STAGE_OUT", "CLEANUP", "FAILED"]
    assert (job.reason, job.exit_code) == ("staging", 2)
    assert job.message is not None
    assert "no such file: x" in job.message


def test_main_failure_wins_over_later_ones() -> None:
    core = Core()
    job = make(1, ("ACTIVE", "STAGE_OUT"))
    core.submit(job)
    run_to(core, job)
    core.exited(0.0, job, 3 << 8)
    run_to(core, job)
    core.exited(0.0, job, 4 << 8, "cannot copy")
    assert (job.state, job.reason, job.exit_code) == ("FAILED", "exit", 3)


def test_duration_ends_politely_then_not() -> None:
    core = Core()
    job = make(1)
    job.duration, job.grace = 10.0, 2.0
    core.submit(job)
    run_to(core, job)
    core.tick(9.9)
    assert not core.signals
    core.tick(10.0)
    assert core.signals == [(job, TERM)]
    core.tick(11.9)
    assert core.signals == [(job, TERM)]
    core.tick(12.0)
    assert core.signals[1:] == [(job, KILL)]
    core.exited(12.1, job, 9)
    core.tree(12.1, job, False)
    assert (job.state, job.reason, job.signal) == ("FAILED", "timeout", 9)
    assert job.message == "exceeded its duration of 10 s"


def test_descendants_that_never_die_do_not_hold_the_job_for_ever() -> None:
    core = Core()
    job = make(1)
    job.grace = 0.0
    core.submit(job)
    run_to(core, job)
    core.cancel(0.0, job)
    core.exited(0.1, job, 9)
    now = 0.1
    while core.jobs:
        core.tree(now, job, True)
        due = core.next_timer()
        if core.jobs:
            assert due is not None
            now = max(now, due)
            core.tick(now)
    assert 30.0 <= now < 35.0
    assert job.state == "CANCELED"


def test_timers_of_finished_jobs_do_not_pile_up() -> None:
    core = Core()
    for n in range(1, 20_001):
        job = make(n)
        job.duration = 1e6
        core.submit(job)
        run_to(core, job)
        core.exited(0.0, job, 0)
        core.changed.clear()
        core.dirty.clear()
    assert not core.jobs
    assert len(core._timers) < 3000


def process(start: int) -> Process:
    return Process(50, [b"S", b"1", b"50", b"50", *[b"0"] * 15, str(start).encode(), *[b"0"] * 30])


@pytest.mark.parametrize(
    ("stage", "same_machine", "same_supervisor", "start", "verdict"),
    [
        (WAITING, True, True, None, QUEUE),
        (WAITING, False, False, None, QUEUE),
        (STARTING, True, True, 500, ADOPT),
        (STARTING, True, True, None, LOST),
        (STARTING, False, False, None, LOST),
        (RUNNING, True, True, 500, ADOPT),
        (RUNNING, True, False, 500, ADOPT),
        (RUNNING, True, True, None, AWAIT),
        (RUNNING, True, True, 100_000, AWAIT),
        (RUNNING, True, False, None, LOST),
        (RUNNING, True, False, 100_000, LOST),
        (RUNNING, False, False, 500, LOST),
    ],
)
def test_verdicts_after_a_restart(
    stage: int, same_machine: bool, same_supervisor: bool, start: int | None, verdict: str
) -> None:
    job = make(1)
    job.stage = stage
    job.pid, job.pid_start = 50, 499
    found = None if start is None else process(start)
    got, message = judge(job, same_machine, same_supervisor, found)
    assert got == verdict
    assert bool(message) == (verdict == LOST)


def test_what_follows_a_cancelled_main_phase_is_left_to_run() -> None:
    core = Core()
    job = make(1, ("ACTIVE", "STAGE_OUT", "CLEANUP"))
    core.submit(job)
    core.spawned(0.0, core.startable(0.0, 1)[0], 100)
    core.cancel(0.0, job)
    core.exited(0.1, job, TERM)
    core.tree(0.1, job, alive=False)
    for pid in (101, 102):
        core.signals.clear()
        assert core.startable(0.2, 1) == [job]
        core.spawned(0.2, job, pid)
        assert core.signals == []
        core.exited(0.3, job, 0)
    assert (job.state, job.exit_code) == ("CANCELED", 128 + TERM)


def test_a_cancel_that_meets_a_start_ends_the_main_phase() -> None:
    core = Core()
    job = make(1, ("ACTIVE", "STAGE_OUT"))
    core.submit(job)
    core.startable(0.0, 1)
    core.cancel(0.0, job)
    core.spawned(0.0, job, 100)
    assert core.signals == [(job, TERM)]
