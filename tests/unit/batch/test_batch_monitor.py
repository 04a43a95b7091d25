"""The monitor's decisions, on a simulated clock."""

from __future__ import annotations

from itertools import pairwise

import pytest
from batch_world import TOKEN, TrueJob, World
from hypothesis import given, settings
from hypothesis import strategies as st

from exaworks.psij import JobState, Reason
from exaworks.psij.executors.batch.adapter import Answer, Hint, Observation
from exaworks.psij.executors.batch.monitor import Monitor, Update
from exaworks.psij.executors.batch.report import Report
from exaworks.psij.executors.batch.verdict import Findings

S = JobState


def world(*jobs: TrueJob, **settings: object) -> World:
    return World(list(jobs), Monitor("Slurm"), **settings)  # type: ignore[arg-type]


def states(world: World, key: str = "1") -> list[JobState]:
    return [update.state for _, update in world.updates if update.key == key]


def test_what_jobs_push_is_known_at_once() -> None:
    w = world(TrueJob("1", 0, 100, 200, code=3))
    w.run(1000)
    assert states(w) == [S.QUEUED, S.ACTIVE, S.FAILED] or states(w) == [S.ACTIVE, S.FAILED]
    assert w.final_time("1") == pytest.approx(200.2)
    final = w.final("1")
    assert (final.exit_code, final.metadata["reason"]) == (3, Reason.EXIT_CODE)
    assert final.time == 200


def test_without_pushes_the_scheduler_tells() -> None:
    w = world(TrueJob("1", 0, 100, 200, code=3, pushes=False, records=False))
    w.run(1000)
    assert states(w) == [S.QUEUED, S.ACTIVE, S.FAILED]
    assert w.final_time("1") < 270
    assert w.final("1").exit_code == 3


def test_a_quiet_queue_is_asked_less_often() -> None:
    w = world(TrueJob("1", 0, 3600, 7200))
    w.run(3599)
    gaps = [b - a for a, b in pairwise(w.queries)]
    assert w.queries[0] == pytest.approx(2.0)
    assert min(gaps) >= 10
    assert gaps[-1] == pytest.approx(60)
    assert len(w.queries) < 70


@pytest.mark.parametrize("how", ["timeout", "cancelled", "preempted"])
def test_the_scheduler_says_why_it_ended_a_job(how: str) -> None:
    job = TrueJob("1", 0, 100, 200, how=how)
    w = world(job)
    w.run(1000)
    final = w.final("1")
    assert (final.state, final.metadata["reason"]) == job.truth()
    assert (final.exit_code, final.metadata["signal"]) == (143, 15)
    assert final.message
    assert w.final_time("1") < 211


def test_our_own_cancellation_needs_no_verdict() -> None:
    w = world(TrueJob("1", 0, 100, 200, how="cancelled"), outages=[(150, 1e9)])
    w.at(199, lambda: w.monitor.cancel_requested(w.now, ["1"]))
    w.run(300)
    assert states(w)[-1] is S.CANCELED
    assert w.final_time("1") == pytest.approx(200.2)


def test_a_job_that_ends_while_it_is_cancelled_has_ended() -> None:
    w = world(TrueJob("1", 0, 100, 200, code=0))
    w.at(199.9, lambda: w.monitor.cancel_requested(w.now, ["1"]))
    w.run(300)
    assert w.final("1").state is S.COMPLETED


def test_a_requeued_job_stays_active() -> None:
    w = world(TrueJob("1", 0, 300, 400, requeued_at=150))
    w.run(1000)
    assert states(w)[-2:] == [S.ACTIVE, S.COMPLETED]
    final = w.final("1")
    assert final.metadata["restarts"] == 1
    assert "back into the queue once" in (final.message or "")
    assert w.final_time("1") == pytest.approx(400.2)


def test_an_outage_harms_nobody() -> None:
    jobs = [TrueJob(str(i), 0, 10, 100 + i, pushes=bool(i % 2)) for i in range(10)]
    w = world(*jobs, outages=[(50, 600)])
    w.run(2000)
    assert [w.final(job.key).state for job in jobs] == [S.COMPLETED] * 10
    assert any("does not answer" in line for line in w.log)
    assert any("answers again" in line for line in w.log)
    assert len(w.log) == 2
    during = [q for q in w.queries if 60 < q < 600]
    assert len(during) < 15
    # those that push are known at once; the others are found in records when Slurm has forgotten
    assert all(w.final_time(job.key) < 200 for job in jobs if job.pushes)


def test_a_failing_query_changes_nothing_at_all() -> None:
    monitor = Monitor("Slurm")
    monitor.track(0, "1", "1", 10, 2, TOKEN)
    monitor.take_actions(2)
    answer = Answer([Observation("1", S.ACTIVE, "RUNNING")], problem="and then it broke off")
    monitor.answered(3, ["1", "2"], answer)
    assert [u.state for u in monitor.take_actions(3).updates] == [S.ACTIVE]
    monitor.answered(4, ["1"], Answer(problem="down"))
    actions = monitor.take_actions(4)
    assert (actions.updates, actions.records, actions.accounting) == ([], [], [])


def test_a_forgotten_job_is_looked_for_in_the_records() -> None:
    w = world(TrueJob("1", 0, 10, 100, code=5, pushes=False), outages=[(50, 500)])
    w.run(2000)
    assert w.final("1").exit_code == 5


def test_a_forgotten_job_is_looked_for_in_the_accounting() -> None:
    job = TrueJob("1", 0, 10, 100, code=5, pushes=False, records=False)
    w = world(job, outages=[(50, 500)])
    w.run(2000)
    assert w.final("1").exit_code == 5


def test_accounting_that_lags_is_waited_for() -> None:
    job = TrueJob("1", 0, 10, 100, code=5, pushes=False, records=False)
    w = world(job, outages=[(50, 163)], accounting_lag=100)
    w.run(2000)
    assert w.final("1").exit_code == 5


@pytest.mark.parametrize("accounting", [True, False])
def test_a_lost_job_gets_a_verdict_that_says_what_was_tried(accounting: bool) -> None:
    job = TrueJob("1", 0, 10, 100, pushes=False, records=False)
    w = world(job, outages=[(50, 500)], accounting=accounting, accounting_lag=1e9)
    w.run(2000)
    final = w.final("1")
    assert (final.state, final.metadata["reason"]) == (S.FAILED, Reason.LOST)
    for word in ("Slurm does not list", "record", "accounting", "RUNNING"):
        assert word in (final.message or "")
    assert w.final_time("1") < 700


def test_a_job_that_we_cancelled_and_that_is_gone_is_canceled() -> None:
    job = TrueJob("1", 0, 1e9, 2e9, how="cancelled", pushes=False, records=False)
    w = world(job, accounting=False, min_job_age=0)
    w.at(10, lambda: w.monitor.cancel_requested(w.now, ["1"]))
    w.at(11, lambda: setattr(job, "end", 11.0))
    w.run(1000)
    assert w.final("1").state is S.CANCELED


def test_after_a_cancellation_the_scheduler_is_asked_soon() -> None:
    job = TrueJob("1", 0, 1e9, 2e9, how="cancelled", pushes=False, records=False)
    w = world(job)

    def cancel() -> None:
        job.start = job.end = w.now
        w.monitor.cancel_requested(w.now, ["1"])

    w.at(30, cancel)
    w.run(60)
    assert w.final_time("1") < 30.2


def test_many_demands_are_answered_together_and_ever_more_slowly() -> None:
    w = world(TrueJob("1", 0, 1e9, 2e9))
    w.run(100)
    before = len(w.queries)
    for i in range(1000):
        w.at(100 + i * 0.02, lambda: w.monitor.demand(w.now))
    w.run(120)
    assert 2 <= len(w.queries) - before <= 10
    assert w.queries[before] < 100.1


def test_a_dead_script_without_a_verdict_is_not_waited_for_for_ever() -> None:
    monitor = Monitor("Slurm")
    monitor.track(0, "1", "1", 10, 2, TOKEN)
    monitor.reported(1, "1", Report(TOKEN, "1", 1.0, None, 0, 137, False, "launch", "ACTIVE"))
    found: list[Update] = []
    now = 1.0
    while not any(update.state.final for update in found):
        now += 5
        actions = monitor.take_actions(now)
        found += actions.updates
        if actions.query:
            seen = Observation("1", S.ACTIVE, "COMPLETING", cause="Epilog")
            monitor.answered(now, actions.query, Answer([seen]))
        assert now < 200
    assert (found[-1].state, found[-1].metadata["reason"]) == (S.FAILED, Reason.SIGNAL)
    assert "COMPLETING" in (found[-1].message or "")


def test_the_log_may_tell_what_the_scheduler_does_not() -> None:
    monitor = Monitor("Slurm")
    monitor.track(0, "1", "1", 10, 2, TOKEN)
    monitor.reported(1, "1", Report(TOKEN, "1", 1.0, None, 0, 137, False, "launch", "ACTIVE"))
    actions = monitor.take_actions(2)
    killed = Observation("1", S.FAILED, "FAILED", 137, 9)
    monitor.answered(2, actions.query, Answer([killed]))
    actions = monitor.take_actions(2)
    assert (actions.records, [u for u in actions.updates if u.state.final]) == (["1"], [])
    hint = Hint(Reason.OUT_OF_MEMORY, "too much memory")
    monitor.files_read(3, {"1": Findings(None, "/log", hint)})
    final = monitor.take_actions(3).updates[-1]
    assert (final.state, final.exit_code, final.message) == (S.FAILED, 137, "too much memory")
    assert final.metadata["reason"] == Reason.OUT_OF_MEMORY
    assert final.metadata["log"] == "/log"


def test_exit_codes_that_the_site_requeues_are_not_the_end() -> None:
    monitor = Monitor("Slurm")
    monitor.requeue_codes = frozenset([99])
    monitor.track(0, "1", "1", 10, 2, TOKEN)
    end = Report(TOKEN, "1", 1.0, None, 0, 99, False, "launch", "ACTIVE")
    monitor.reported(1, "1", end)
    actions = monitor.take_actions(3)
    assert [u.state for u in actions.updates if u.state.final] == []
    pending = Observation("1", S.QUEUED, "PENDING", restarts=1)
    monitor.answered(3, actions.query, Answer([pending]))
    monitor.reported(9, "1", Report(TOKEN, "1", 9.0, None, 1, 0, False, "launch", "ACTIVE"))
    assert monitor.take_actions(9).updates[-1].state is S.COMPLETED


# -- attached jobs


def attach(native_id: str = "1") -> Monitor:
    monitor = Monitor("Slurm")
    monitor.track(0, native_id, native_id, 10, 2)
    actions = monitor.take_actions(0)
    assert actions.records == [native_id]
    assert not actions.query
    return monitor


def ended(code: int = 0, token: str = TOKEN) -> Report:
    return Report(token, "1", 5.0, None, 0, code, False, "launch", "ACTIVE", nodes="n1")


def test_attaching_to_a_running_job() -> None:
    monitor = attach()
    monitor.files_read(0.01, {"1": Findings()})
    assert monitor.take_actions(0.06).query == ["1"]
    running = Observation("1", S.ACTIVE, "RUNNING", nodes="n1")
    monitor.answered(0.1, ["1"], Answer([running]))
    assert [u.state for u in monitor.take_actions(0.1).updates] == [S.ACTIVE]
    assert monitor.take_actions(5).records == ["1"]
    monitor.files_read(5.1, {"1": Findings(ended(7))})
    assert monitor.take_actions(5.1).updates[-1].exit_code == 7


def test_attaching_to_a_job_that_ended_long_ago() -> None:
    monitor = attach()
    monitor.files_read(0.01, {"1": Findings(ended(7))})
    assert monitor.take_actions(0.06).query == ["1"]
    monitor.answered(0.1, ["1"], Answer())
    updates = monitor.take_actions(0.1).updates
    assert (updates[-1].state, updates[-1].exit_code) == (S.FAILED, 7)


def test_attaching_to_a_job_that_only_the_accounting_knows() -> None:
    monitor = attach()
    monitor.files_read(0.01, {"1": Findings()})
    monitor.take_actions(0.06)
    monitor.answered(0.1, ["1"], Answer())
    assert monitor.take_actions(0.1).records == ["1"]
    monitor.files_read(0.2, {"1": Findings()})
    assert monitor.take_actions(0.2).accounting == ["1"]
    seen = Observation("1", S.FAILED, "TIMEOUT", None, None, Reason.TIMEOUT, None, "too long")
    monitor.accounting_answered(0.3, ["1"], Answer([seen]))
    updates = monitor.take_actions(0.3).updates
    assert updates[-1].metadata["reason"] == Reason.TIMEOUT


def test_the_record_of_an_earlier_job_with_the_same_id_is_not_taken() -> None:
    monitor = attach()
    old = ended(7, "old")
    monitor.files_read(0.01, {"1": Findings(old)})
    monitor.take_actions(0.06)
    running = Observation("1", S.ACTIVE, "RUNNING")
    monitor.answered(0.1, ["1"], Answer([running]))
    monitor.take_actions(2)
    monitor.files_read(2, {"1": Findings(old)})
    assert [u.state for u in monitor.take_actions(2).updates if u.state.final] == []
    monitor.files_read(6, {"1": Findings(ended(0, "new"))})
    assert monitor.take_actions(6).updates[-1].state is S.COMPLETED


def test_a_verdict_that_contradicts_a_record_is_believed() -> None:
    monitor = attach()
    monitor.files_read(0.01, {"1": Findings(ended(0, "old"))})
    monitor.take_actions(0.06)
    cancelled = Observation("1", S.CANCELED, "CANCELLED", None, None, Reason.CANCELED)
    monitor.answered(0.1, ["1"], Answer([cancelled]))
    final = monitor.take_actions(0.1).updates[-1]
    assert (final.state, final.exit_code) == (S.CANCELED, None)


def test_another_submission_with_the_same_id_does_not_speak_for_a_job() -> None:
    monitor = Monitor("Slurm")
    monitor.track(0, "1", "1", 10, 2, TOKEN)
    monitor.take_actions(2)
    monitor.answered(2, ["1"], Answer())
    monitor.take_actions(2)
    monitor.files_read(3, {"1": Findings(ended(0, "other"))})
    assert not [u for u in monitor.take_actions(3).updates if u.state.final]


def test_two_jobs_can_be_attached_to_one() -> None:
    monitor = Monitor("Slurm")
    for key in ("a", "b"):
        monitor.track(0, key, "1", 10, 2)
    monitor.take_actions(0.06)
    seen = Observation("1", S.COMPLETED, "COMPLETED", 0)
    monitor.answered(0.1, ["a", "b"], Answer([seen]))
    monitor.files_read(0.2, {"a": Findings(), "b": Findings()})
    assert {u.key for u in monitor.take_actions(0.2).updates if u.state.final} == {"a", "b"}
    assert len(monitor) == 0


# -- properties

times = st.floats(0.1, 300)


@st.composite
def true_jobs(draw: st.DrawFn) -> list[TrueJob]:
    jobs = []
    for index in range(draw(st.integers(1, 6))):
        submitted = draw(st.floats(0, 100))
        requeued_at = None
        start = submitted + draw(times)
        if draw(st.booleans()) and draw(st.booleans()):
            requeued_at = submitted + draw(st.floats(1, 100))
            start = requeued_at + draw(times)
        how = draw(st.sampled_from(["exit", "exit", "timeout", "cancelled", "node", "preempted"]))
        jobs.append(
            TrueJob(
                str(index),
                submitted,
                start,
                start + draw(times),
                how,
                draw(st.sampled_from([0, 1, 7, 200])) if how == "exit" else 0,
                requeued_at,
                pushes=draw(st.booleans()),
                records=draw(st.booleans()),
            )
        )
    return jobs


@settings(max_examples=300, deadline=None)
@given(
    jobs=true_jobs(),
    outages=st.lists(st.tuples(st.floats(0, 600), st.floats(1, 400)), max_size=2),
    interval=st.sampled_from([1.0, 10.0, 30.0]),
    demands=st.lists(st.floats(0, 600), max_size=3),
)
def test_every_job_gets_its_true_verdict_once(
    jobs: list[TrueJob],
    outages: list[tuple[float, float]],
    interval: float,
    demands: list[float],
) -> None:
    w = world(*jobs, outages=[(a, a + b) for a, b in outages], interval=interval)
    for when in demands:
        w.at(when, lambda: w.monitor.demand(w.now))
    w.run(10_000)
    for job in jobs:
        seen = states(w, job.key)
        assert sum(state.final for state in seen) == 1
        assert all(b.is_greater_than(a) for a, b in pairwise(seen))
        final = w.final(job.key)
        assert (final.state, final.metadata.get("reason")) == job.truth()
        if job.how == "exit":
            assert final.exit_code == job.code
        assert final.metadata.get("restarts", 0) == job.restarts or not w.queries
    assert len(w.monitor) == 0
    assert w.monitor.next_deadline() is None
    gaps = [b - a for a, b in pairwise(w.queries)]
    assert sum(gap < min(interval, 60) - 1e-6 for gap in gaps) <= len(demands)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_is_said_states_go_one_way(data: st.DataObject) -> None:
    monitor = Monitor("Slurm")
    seen: dict[object, list[JobState]] = {}
    now, keys = 0.0, ["a", "b", "c"]
    for key in keys:
        token = data.draw(st.sampled_from([TOKEN, None]))
        monitor.track(0.0, key, key, 10, 2, token)
    observation = st.builds(
        Observation,
        native_id=st.sampled_from([*keys, "unknown"]),
        state=st.sampled_from([None, S.QUEUED, S.ACTIVE, S.COMPLETED, S.FAILED, S.CANCELED]),
        word=st.just("WORD"),
        exit_code=st.sampled_from([None, 0, 1, 137]),
        signal=st.sampled_from([None, 9]),
        restarts=st.integers(0, 2),
    )
    report = st.builds(
        Report,
        token=st.sampled_from([TOKEN, "other"]),
        native_id=st.just("x"),
        time=st.floats(0, 10),
        state=st.sampled_from([None, None, S.STAGE_IN, S.ACTIVE, S.CLEANUP]),
        restarts=st.integers(0, 2),
        code=st.sampled_from([0, 1, 137, 143]),
        terminated=st.booleans(),
        step=st.sampled_from(["", "ACTIVE", "STAGE_IN", "CLEANUP"]),
    )
    ends = report.filter(lambda r: r.state is None)
    some = st.lists(st.sampled_from([*keys, "unknown"]), unique=True)
    for _ in range(data.draw(st.integers(1, 25))):
        now += data.draw(st.floats(0, 30))
        failing = False
        match data.draw(st.integers(0, 6)):
            case 0:
                monitor.reported(now, data.draw(st.sampled_from(keys)), data.draw(report))
            case 1:
                answer = Answer(data.draw(st.lists(observation, max_size=3)))
                monitor.answered(now, data.draw(some), answer)
            case 2:
                failing = True
                monitor.answered(now, data.draw(some), Answer(problem="down"))
            case 3:
                finding = st.builds(Findings, st.none() | ends)
                monitor.files_read(now, data.draw(st.dictionaries(st.sampled_from(keys), finding)))
            case 4:
                problem = data.draw(st.sampled_from([None, "broken"]))
                answer = Answer(data.draw(st.lists(observation, max_size=3)), problem)
                monitor.accounting_answered(now, data.draw(some), answer)
            case 5:
                monitor.cancel_requested(now, data.draw(some))
            case 6:
                monitor.demand(now)
        updates = monitor.take_actions(now).updates
        assert not (failing and updates)
        for update in updates:
            seen.setdefault(update.key, []).append(update.state)
    for path in seen.values():
        assert all(b.is_greater_than(a) for a, b in pairwise(path))
        assert sum(state.final for state in path) <= 1
