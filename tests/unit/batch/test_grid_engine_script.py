"""What a job script does that bash runs as Grid Engine would."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import pytest

from exaworks.psij import Job, JobExecutor, JobSpec, ResourceSpecV1
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig
from exaworks.psij.executors.batch.report import Report, parse_report

HOSTS = "n1 4 all.q@n1 UNDEFINED\nn2 2 all.q@n2 UNDEFINED\n"


def run(tmp_path: Path, text: str, **variables: str) -> tuple[int, Report]:
    """Run a job; what its script ends with, and what it says about that."""
    config = BatchSchedulerExecutorConfig(work_directory=tmp_path / "work")
    executor = JobExecutor.get_instance("grid_engine", config=config)
    job = Job(JobSpec("/bin/sh", ["-c", text], stdout_path=tmp_path / "out"))
    if "PE_HOSTFILE" in variables:
        job.spec.resources = ResourceSpecV1(  # type: ignore[union-attr]
            process_count=3, cpu_cores_per_process=2
        )
        job.spec.attributes.set_custom_attribute("sge.pe", "mpi")  # type: ignore[union-attr]
    rendered = executor.render(job)
    for folder in ("log", "nodes", "inbox"):
        (tmp_path / "work" / "grid_engine" / folder).mkdir(parents=True, exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "HOSTNAME": "n1", "JOB_ID": "5", **variables}
    done = subprocess.run(
        ["bash"],
        input=rendered.script.encode(),
        env=environment,
        timeout=30,
        start_new_session=True,
    )
    record = tmp_path / "work" / "grid_engine" / "records" / "default" / "5"
    report = parse_report(record.read_bytes(), 1.0)
    assert report is not None
    return done.returncode, report


@pytest.mark.parametrize(
    ("text", "code", "left_with"),
    [
        ("exit 0", 0, 0),
        ("exit 7", 7, 7),
        ("exit 99", 99, 1),
        ("exit 100", 100, 1),
        ("kill -9 $$", 137, 137),
        ("kill -SEGV $$", 139, 139),
    ],
)
def test_how_scripts_leave(tmp_path: Path, text: str, code: int, left_with: int) -> None:
    returncode, report = run(tmp_path, text)
    assert (report.code, report.terminated, returncode) == (code, False, left_with)
    assert (report.native_id, report.nodes) == ("5", "n1")


@pytest.mark.parametrize("name", ["USR1", "USR2", "XCPU"])
def test_announcements_of_the_end(tmp_path: Path, name: str) -> None:
    """The script dies of the signal too, if the job did, so that the accounting shows it."""
    number = signal.Signals[f"SIG{name}"]
    returncode, report = run(tmp_path, f"kill -s {name} 0; sleep 60")
    assert (report.code, report.terminated, returncode) == (128 + number, True, -number)
    returncode, report = run(tmp_path, f"trap 'exit 0' {name}; kill -s {name} 0; sleep 60")
    assert (report.code, report.terminated, returncode) == (0, True, 0)


def test_nodes(tmp_path: Path) -> None:
    file = tmp_path / "hosts"
    file.write_text(HOSTS)
    _, report = run(tmp_path, 'cat "$PSIJ_NODEFILE"', PE_HOSTFILE=str(file))
    assert (tmp_path / "out").read_text().split() == ["n1", "n1", "n2"]
    assert report.nodes == "n1,n2"


def test_a_shell_in_posix_mode(tmp_path: Path) -> None:
    returncode, report = run(tmp_path, "exit 99", POSIXLY_CORRECT="1")
    assert (report.code, returncode) == (99, 99)
