"""The bookkeeping that executors share, on a backend that the test plays itself."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Mapping, Sequence

import pytest

from exaworks.psij import (
    BulkSubmitException,
    InvalidJobException,
    InvalidStateException,
    Job,
    JobSpec,
    JobState,
    PSIJException,
    SubmitException,
)
from exaworks.psij.executors.managed import ManagedExecutor


class Backend(ManagedExecutor):
    """Accepts jobs one after the other, or does what ``trouble`` says."""

    _NAME_ = "backend"

    def __init__(self) -> None:
        super().__init__()
        self.trouble: BaseException | None = None
        self.accepted: list[Job] = []

    def _submit_jobs(self, jobs: Sequence[Job]) -> Mapping[Job, PSIJException]:
        if self.trouble is not None:
            raise self.trouble
        for job in jobs:
            self.accepted.append(job)
            self._accepted(job, str(len(self.accepted)))
        return {}

    def _attach_jobs(self, jobs: Sequence[tuple[Job, str]]) -> None:
        raise AssertionError

    def _cancel_jobs(self, jobs: Sequence[Job]) -> None:
        raise AssertionError

    def list(self) -> list[str]:
        return []


@pytest.mark.parametrize(
    "trouble",
    [SubmitException("no"), OSError("no"), KeyboardInterrupt(), TypeError("bug"), SystemExit()],
)
def test_a_failed_submission_leaves_jobs_as_they_were(trouble: BaseException) -> None:
    backend = Backend()
    jobs = [Job(JobSpec("x")) for _ in range(2)]
    backend.trouble = trouble
    with pytest.raises((type(trouble), SubmitException)):
        backend.submit_many(jobs)
    assert {job.executor for job in jobs} == {None}
    backend.trouble = None
    backend.submit_many(jobs)
    assert {job.status.state for job in jobs} == {JobState.QUEUED}


def test_a_job_submitted_from_many_threads_is_accepted_once() -> None:
    backend = Backend()
    for _ in range(200):
        job, refused, barrier = Job(JobSpec("x")), [], threading.Barrier(4)

        def submit(job: Job = job, refused: list = refused, barrier=barrier) -> None:  # type: ignore[type-arg,no-untyped-def]
            barrier.wait()
            try:
                backend.submit(job)
            except InvalidStateException as problem:
                refused.append(problem)

        threads = [threading.Thread(target=submit) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refused) == 3
    assert len(backend.accepted) == 200


def test_only_jobs_can_be_submitted() -> None:
    with pytest.raises(InvalidJobException, match="only a Job"):
        Backend().submit(JobSpec("x"))  # type: ignore[arg-type]


def test_bulk_failures_can_be_sent_to_another_process() -> None:
    failure = BulkSubmitException([(Job(), SubmitException("no", transient=True))], 5)
    again = pickle.loads(pickle.dumps(failure))
    assert isinstance(again, SubmitException)
    assert again.message == failure.message
    assert again.is_transient
