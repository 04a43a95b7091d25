"""MPI programs on this machine, with a real MPI."""

import os
import shutil
from pathlib import Path

import pytest

from exaworks.psij import Job, JobExecutor, JobSpec, JobState, ResourceSpecV1

pytestmark = [
    pytest.mark.mpi,
    pytest.mark.skipif(
        shutil.which("mpirun") is None, reason="no mpirun (on Debian: apt install openmpi-bin)"
    ),
    pytest.mark.usefixtures("local_home"),
]


@pytest.fixture(autouse=True)
def _root_may_use_open_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() == 0:
        monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT", "1")
        monkeypatch.setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1")


def ranks(launcher: str, count: int, tmp_path: Path, command: str) -> JobState:
    job = Job(
        JobSpec(
            "/bin/sh", ["-c", command], launcher=launcher, stdout_path=tmp_path / "out",
            stderr_path=tmp_path / "err", resources=ResourceSpecV1(process_count=count),
        )
    )  # fmt: skip
    JobExecutor.get_instance("local").submit(job)
    status = job.wait(120)
    assert status is not None
    return status.state


def test_mpirun_starts_more_ranks_than_cores(tmp_path: Path) -> None:
    count = 2 * (os.cpu_count() or 1)
    command = "echo $OMPI_COMM_WORLD_RANK of $OMPI_COMM_WORLD_SIZE"
    assert ranks("mpirun", count, tmp_path, command) is JobState.COMPLETED
    assert sorted((tmp_path / "out").read_text().splitlines()) == sorted(
        f"{rank} of {count}" for rank in range(count)
    )


def test_mpiexec(tmp_path: Path) -> None:
    command = "echo $OMPI_COMM_WORLD_SIZE"
    state = ranks("mpiexec", 1, tmp_path, command)
    assert state is JobState.COMPLETED, (tmp_path / "err").read_text()
    assert (tmp_path / "out").read_text() == "1\n"


def test_a_failing_rank_fails_the_job(tmp_path: Path) -> None:
    command = "[ $OMPI_COMM_WORLD_RANK != 1 ] || exit 3"
    assert ranks("mpirun", 2, tmp_path, command) is JobState.FAILED
