"""Jobs that wait for others, on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from exaworks.psij import (
    InvalidJobException,
    Job,
    JobAttributes,
    JobExecutor,
    JobSpec,
    JobState,
    Reason,
)
from patience import end

pytestmark = pytest.mark.usefixtures("local_home")


@pytest.fixture
def executor() -> JobExecutor:
    return JobExecutor.get_instance("local")


def until_go(folder: Path, then: str = "true") -> Job:
    loop = 'while [ ! -e "$0" ]; do sleep 0.02; done; '
    return Job(JobSpec("/bin/sh", ["-c", loop + then, str(folder / "go")]))


def waiting(**kinds: list[Job | str]) -> Job:
    return Job(JobSpec("/bin/true", attributes=JobAttributes(dependencies=kinds)))


def test_each_kind(executor: JobExecutor, tmp_path: Path) -> None:
    good, bad = until_go(tmp_path), until_go(tmp_path, "exit 3")
    executor.submit_many([good, bad])
    run = {
        "ok": waiting(afterok=[good]),
        "any": waiting(afterany=[good, bad]),
        "notok": waiting(afternotok=[bad]),
        "both": waiting(afterok=[good], afternotok=[bad]),
        "id": waiting(afterany=[str(good.native_id)]),
    }
    never = {"never ok": waiting(afterok=[good, bad]), "never notok": waiting(afternotok=[good])}
    for job in (*run.values(), *never.values()):
        executor.submit(job)
    began = waiting(after=[good])
    executor.submit(began)
    assert end(began).state is JobState.COMPLETED  # the others have not ended
    assert not good.status.final
    assert {job.status.state for job in (*run.values(), *never.values())} == {JobState.QUEUED}
    (tmp_path / "go").touch()
    for name, job in run.items():
        assert end(job).state is JobState.COMPLETED, name
    for name, job in never.items():
        status = end(job)
        assert (status.state, status.reason) == (JobState.CANCELED, Reason.DEPENDENCY), name
        assert "it was to start after" in (status.message or "")


def test_jobs_that_have_ended_already(executor: JobExecutor) -> None:
    good, bad = Job(JobSpec("/bin/true")), Job(JobSpec("/bin/false"))
    executor.submit_many([good, bad])
    end(good), end(bad)
    fine = waiting(afterok=[good], afternotok=[bad])
    executor.submit(fine)
    assert end(fine).state is JobState.COMPLETED
    with pytest.raises(InvalidJobException, match="can never start"):
        executor.submit(waiting(afterok=[bad]))
    unknown = waiting(afterok=["987654"])
    executor.submit(unknown)
    assert end(unknown).state is JobState.CANCELED


@pytest.mark.parametrize(
    ("dependencies", "fix"),
    [
        ({"afterwards": ["1"]}, "after, afterok, afternotok, afterany"),
        ({"afterok": "1"}, "must be a list of jobs"),
        ({"afterok": [""]}, "jobs or native ids"),
        ({"afterok": [Job(JobSpec("/bin/true"))]}, "submit it first"),
    ],
)
def test_mistakes(executor: JobExecutor, dependencies: dict[str, list[str]], fix: str) -> None:
    spec = JobSpec("/bin/true")
    spec.attributes.dependencies = dependencies  # type: ignore[assignment]
    with pytest.raises(InvalidJobException, match=fix):
        executor.submit(Job(spec))


def test_a_cancelled_job_waits_no_more(executor: JobExecutor, tmp_path: Path) -> None:
    first = until_go(tmp_path)
    executor.submit(first)
    second = waiting(afterok=[first])
    executor.submit(second)
    second.cancel()
    assert end(second).reason == Reason.CANCELED
    (tmp_path / "go").touch()
    assert end(first).state is JobState.COMPLETED
    assert second.status.state is JobState.CANCELED
