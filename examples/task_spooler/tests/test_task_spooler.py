"""The executor of this package, found by its entry point, against the PSI/J semantics."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from exaworks.psij import Job, JobAttributes, JobExecutor, JobSpec, JobState, Reason
from exaworks.psij.conformance import JobExecutorConformance

pytestmark = [
    pytest.mark.task_spooler,
    pytest.mark.skipif(shutil.which("tsp") is None, reason="Task Spooler (tsp) is not installed"),
]


@pytest.fixture(autouse=True)
def _queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A queue of the test's own."""
    monkeypatch.setenv("EXAWORKS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TS_SOCKET", str(tmp_path / "queue"))
    monkeypatch.setenv("TS_SLOTS", "8")
    monkeypatch.chdir(tmp_path)
    yield
    subprocess.run(["tsp", "-K"], check=True)


class TestTaskSpooler(JobExecutorConformance):
    can_hold = False
    many = 20

    def make_executor(self) -> JobExecutor:
        return JobExecutor.get_instance("task_spooler")


def test_it_is_listed() -> None:
    words = [sys.executable, "-m", "exaworks.cli", "executors"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "task_spooler" in done.stdout


def test_a_time_limit() -> None:
    spec = JobSpec("/bin/sleep", ["60"])
    spec.attributes = JobAttributes(duration=timedelta(seconds=1))
    job = Job(spec)
    JobExecutor.get_instance("tsp").submit(job)
    status = job.wait(30)
    assert status is not None
    assert (status.state, status.reason) == (JobState.FAILED, Reason.TIMEOUT)
