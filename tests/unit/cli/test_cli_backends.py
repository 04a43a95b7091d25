"""The executors of remembered jobs."""

from __future__ import annotations

from pathlib import Path

import pytest

from exaworks.cli.backends import Backends, Live
from exaworks.cli.store import Store
from exaworks.psij import Job, JobExecutor, JobSpec, JobState, JobStatus, PSIJException
from exaworks.psij.job_executor import registry


def test_an_executor_is_made_once(tmp_path: Path) -> None:
    backends = Backends()
    assert backends.get("local") is backends.get("local")
    default = str(backends.get("local").config.work_directory)
    assert default == str(tmp_path / "home" / "work")
    assert backends.get("local", work=default).config.work_directory == Path(default)
    other = backends.get("local", work=str(tmp_path / "other"))
    assert other.config.work_directory == tmp_path / "other"
    assert type(other) is type(backends.get("local"))


def test_jobs_of_executors_that_are_not_there_keep_their_state(store: Store) -> None:
    job = Job(JobSpec("x"))
    store.add([job], "gone", None, None)
    job._native_id, job._status = "5", JobStatus(JobState.ACTIVE)
    store.accepted([job])
    live = Live(store)
    (record,) = live.refreshed(store.select(), 5.0)
    assert record.state == "ACTIVE"
    assert "no executor 'gone'" in live.problems[record.uuid]


class Unmanaged(JobExecutor):
    """An executor of a third party that has only what it must have, and dislikes one job."""

    _NAME_ = "unmanaged"
    _VERSION_ = "1"
    canceled: list[str] = []  # noqa: RUF012

    def submit(self, job: Job) -> None:
        raise PSIJException("never")

    def cancel(self, job: Job) -> None:
        self.canceled.append(str(job.native_id))

    def attach(self, job: Job, native_id: str) -> None:
        if native_id == "bad":
            raise PSIJException("no such thing")
        job.executor, job._native_id = self, native_id
        self._set_job_status(job, JobStatus(JobState.ACTIVE))

    def list(self) -> list[str]:
        return []


@pytest.fixture
def _unmanaged(monkeypatch: pytest.MonkeyPatch) -> None:
    from exaworks.psij import Descriptor

    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    registry.register(Descriptor("unmanaged", "1", f"{__name__}.Unmanaged"), Unmanaged)


def remember(store: Store, native_id: str) -> Job:
    job = Job(JobSpec("x"))
    store.add([job], "unmanaged", None, None)
    job._native_id, job._status = native_id, JobStatus(JobState.QUEUED)
    store.accepted([job])
    return job


@pytest.mark.usefixtures("_unmanaged")
def test_executors_of_third_parties(store: Store, exaworks) -> None:  # type: ignore[no-untyped-def]
    remember(store, "good")
    live = Live(store)
    (record,) = live.refreshed(store.select(), 5.0)
    assert record.state == "ACTIVE"
    assert live.with_reasons([record]) == [record]
    assert exaworks("cancel", "1").stdout == "job 1 (unmanaged good) was asked to stop\n"
    assert Unmanaged.canceled == ["good"]
    result = exaworks("hold", "1")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "has no hold()" in result.stderr
    assert exaworks("submit", "-e", "unmanaged", "--", "true").exit_code == 3


@pytest.mark.usefixtures("_unmanaged")
def test_a_job_that_cannot_be_attached_to(store: Store) -> None:
    remember(store, "bad")
    live = Live(store)
    (record,) = live.refreshed(store.select(), 5.0)
    assert record.state == "QUEUED"
    assert live.problems[record.uuid] == "unmanaged: no such thing"
    assert live.job(record) is None
