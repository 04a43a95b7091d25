"""Callbacks, waiting and asyncio on jobs whose status the test sets itself."""

import asyncio
import logging
import os
import threading
from datetime import timedelta

import pytest

from exaworks import psij
from exaworks.core import events
from exaworks.psij import Job, JobState, JobStatus

S = JobState


def at(state: JobState, **kwargs: object) -> JobStatus:
    return JobStatus(state, **kwargs)  # type: ignore[arg-type]


def test_callbacks_come_once_in_order_with_intermediate_states() -> None:
    job, seen = Job(), []
    job.set_job_status_callback(lambda j, status: seen.append((j, status.state)))
    for state in (S.QUEUED, S.QUEUED, S.COMPLETED, S.ACTIVE, S.FAILED):
        job.status = at(state)
    assert job.wait() is not None
    assert seen == [(job, S.QUEUED), (job, S.ACTIVE), (job, S.COMPLETED)]


def test_a_final_state_is_final() -> None:
    job = Job()
    job.status = at(S.COMPLETED, exit_code=0)
    job.status = at(S.CANCELED)
    assert job.status.state is S.COMPLETED
    assert job.status.exit_code == 0


def test_wait_returns_after_the_callbacks() -> None:
    for _ in range(200):
        job, seen = Job(), []
        job.set_job_status_callback(lambda j, status: seen.append(status.state))  # noqa: B023
        job.status = at(S.COMPLETED)
        job.wait()
        assert seen == [S.QUEUED, S.ACTIVE, S.COMPLETED]


def test_a_callback_that_raises_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    first, second = Job(), Job()
    seen: list[JobState] = []

    def bad(job: Job, status: JobStatus) -> None:
        raise RuntimeError("boom")

    first.set_job_status_callback(bad)
    second.set_job_status_callback(lambda j, status: seen.append(status.state))
    with caplog.at_level(logging.ERROR, "exaworks"):
        first.status = at(S.COMPLETED)
        second.status = at(S.COMPLETED)
        assert first.wait(5) is not None
        assert second.wait(5) is not None
    assert seen[-1] is S.COMPLETED
    assert "boom" in caplog.text


def test_a_callback_may_wait_for_another_job() -> None:
    first, second, results = Job(), Job(), []
    entered = threading.Event()

    def wait_for_second(job: Job, status: JobStatus) -> None:
        if status.final:
            entered.set()
            results.append(second.wait(10))

    first.set_job_status_callback(wait_for_second)
    second.set_job_status_callback(lambda j, s: None)
    first.status = at(S.COMPLETED)
    assert entered.wait(10)
    second.status = at(S.FAILED)
    assert first.wait(10) is not None
    assert results[0] is not None
    assert results[0].state is S.FAILED


def test_callback_removed_with_none() -> None:
    job, seen = Job(), []
    job.set_job_status_callback(lambda j, s: seen.append(s))
    job.set_job_status_callback(None)
    job.status = at(S.COMPLETED)
    job.wait()
    assert seen == []


def test_bad_callback_is_refused() -> None:
    with pytest.raises(TypeError, match="status callback"):
        Job().set_job_status_callback(3)  # type: ignore[arg-type]


def test_wait_for_states() -> None:
    job = Job()
    assert job.wait(timedelta(0)) is None
    assert job.wait(0.01, S.QUEUED) is None
    job.status = at(S.ACTIVE)
    for targets in (S.QUEUED, S.ACTIVE, [S.ACTIVE], {S.QUEUED, S.COMPLETED}):
        status = job.wait(0, targets)
        assert status is not None
        assert status.state is S.ACTIVE
    assert job.wait(0, S.COMPLETED) is None
    job.status = at(S.CANCELED)
    for targets in (None, S.QUEUED, S.COMPLETED):
        status = job.wait(0, targets)
        assert status is not None
        assert status.state is S.CANCELED


def test_await_and_states() -> None:
    async def main() -> None:
        job = Job()
        threading.Timer(0.01, lambda: setattr(job, "status", at(S.COMPLETED, exit_code=0))).start()
        seen = [status.state async for status in job.states()]
        assert seen == [S.NEW, S.QUEUED, S.ACTIVE, S.COMPLETED]
        assert (await job).exit_code == 0
        assert await Job().wait_async(0.01) is None
        assert await Job().wait_async(0) is None
        active = Job()
        active.status = at(S.ACTIVE)
        status = await active.wait_async(target_states=S.QUEUED)
        assert status is not None
        assert status.state is S.ACTIVE

    asyncio.run(main())


def test_await_many_jobs_needs_no_threads() -> None:
    async def main() -> None:
        jobs = [Job() for _ in range(500)]
        tasks = [asyncio.ensure_future(job.wait_async()) for job in jobs]
        await asyncio.sleep(0)
        before = threading.active_count()
        for job in jobs:
            job.status = at(S.COMPLETED)
        assert all(status is not None for status in await asyncio.gather(*tasks))
        assert threading.active_count() <= before

    asyncio.run(main())


def test_wait_and_as_completed() -> None:
    jobs = [Job() for _ in range(3)]
    jobs[1].status = at(S.FAILED)
    assert psij.wait(jobs, return_when=psij.FIRST_COMPLETED) == ({jobs[1]}, {jobs[0], jobs[2]})
    assert psij.wait(jobs, 10, psij.FIRST_FAILED).done == {jobs[1]}
    assert psij.wait(jobs, 0.01).done == {jobs[1]}
    jobs[2].status = at(S.COMPLETED)
    order = psij.as_completed(jobs, 10)
    assert {next(order), next(order)} == {jobs[1], jobs[2]}
    jobs[0].status = at(S.COMPLETED)
    assert next(order) is jobs[0]
    assert psij.wait(jobs).not_done == set()
    with pytest.raises(TimeoutError, match="1 of 1 jobs"):
        list(psij.as_completed([Job()], 0.01))
    with pytest.raises(ValueError, match="ALL_COMPLETED"):
        psij.wait(jobs, return_when="ALL")  # type: ignore[arg-type]


def test_events() -> None:
    seen: list[events.Event] = []
    unsubscribe = events.subscribe(seen.append)
    try:
        job = Job()
        job.status = at(S.FAILED, exit_code=3, message="no")
        job.wait()
    finally:
        unsubscribe()
    assert [e.state for e in seen] == ["QUEUED", "ACTIVE", "FAILED"]
    assert seen[-1].component == "psij"
    assert seen[-1].id == job.id
    assert seen[-1].detail["exit_code"] == 3


def test_watchers_do_not_pile_up() -> None:
    job = Job()
    for _ in range(3):
        job.wait(0)
    assert job._watchers is None


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, asyncio.CancelledError])
def test_nothing_that_a_callback_raises_ends_the_others(error: type[BaseException]) -> None:
    def bad(job: Job, status: JobStatus) -> None:
        raise error

    for _ in range(2):
        job = Job()
        job.set_job_status_callback(bad)
        job.status = at(S.COMPLETED)
        assert job.wait(10) is not None


def test_order_stays_when_a_callback_is_removed() -> None:
    job, entered, go = Job(), threading.Event(), threading.Event()

    def slow(job: Job, status: JobStatus) -> None:
        entered.set()
        go.wait(10)

    async def main() -> list[JobState]:
        job.set_job_status_callback(slow)
        seen = []
        states = job.states()
        seen.append((await anext(states)).state)
        job.status = at(S.ACTIVE)
        assert entered.wait(10)
        job.set_job_status_callback(None)
        job.status = at(S.COMPLETED)
        go.set()
        seen += [status.state async for status in states]
        return seen

    assert asyncio.run(main()) == [S.NEW, S.QUEUED, S.ACTIVE, S.COMPLETED]


def test_a_forked_child_does_not_wait_for_its_parents_callbacks() -> None:
    entered, go = threading.Event(), threading.Event()

    def slow(job: Job, status: JobStatus) -> None:
        entered.set()
        go.wait(30)

    job = Job()
    job.set_job_status_callback(slow)
    job.status = at(S.COMPLETED)
    assert entered.wait(10)
    child = os.fork()
    if child == 0:
        os._exit(0 if job.wait(10) is not None else 1)
    go.set()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_odd_time_outs_and_targets() -> None:
    job = Job()
    threading.Timer(0.05, lambda: setattr(job, "status", at(S.COMPLETED))).start()
    assert job.wait(timedelta.max) is not None
    assert job.wait(float("inf")) is not None
    assert not psij.wait([job], timedelta.max).not_done
    with pytest.raises(TypeError, match="target_states must be a JobState"):
        job.wait(1, "ACTIVE")  # type: ignore[arg-type]
