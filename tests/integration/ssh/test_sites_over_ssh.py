"""A site that is reached over SSH, from a program and on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ssh_helpers import elsewhere

from exaworks.psij import InvalidJobException, Job, JobExecutor, JobSpec, JobState, ResourceSpecV1
from patience import end

pytestmark = [pytest.mark.ssh, pytest.mark.usefixtures("site")]

SITES = """
[far]
date = 2026-11-22
ssh = "cluster-csh"
work_directory = "$FAR_SCRATCH/exaworks"
remote_setup = ["FAR_SCRATCH=$HOME/scratch; export FAR_SCRATCH"]
setup = ["FROM_SITE=yes; export FROM_SITE"]

[far.schedulers.ssh]
executor = "ssh"
launcher = "multiple"

[far.nodes.only]
cores = 4
"""


@pytest.fixture
def site(local_home: Path) -> None:
    local_home.mkdir(exist_ok=True)
    (local_home / "sites.toml").write_text(SITES)


def exaworks(*words: str, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "exaworks.cli", *words], capture_output=True, text=True, timeout=100
    )
    assert done.returncode == code, done.stderr
    return done.stdout


def test_jobs_are_completed_from_the_profile(tmp_path: Path) -> None:
    executor = JobExecutor.for_site("far")
    spec = JobSpec(
        "/bin/sh",
        ["-c", "echo $FROM_SITE $_PSI_J_PROCESS_COUNT"],
        stdout_path="~/out",
        resources=ResourceSpecV1(process_count=2),
    )
    job = Job(spec)
    executor.submit(job)
    assert end(job).state is JobState.COMPLETED, job.status
    assert spec.launcher is None
    assert job.spec is not None
    assert job.spec.launcher == "multiple"
    assert elsewhere("cat ~/out; rm ~/out") == "yes 2\nyes 2\n"
    assert "records" in elsewhere("ls ~/scratch/exaworks/ssh")
    again = Job()
    same = JobExecutor.get_instance(executor.name, url=executor.url)
    same.attach(again, str(job.native_id))
    assert end(again).state is JobState.COMPLETED
    too_much = JobSpec("/bin/true", resources=ResourceSpecV1(cpu_cores_per_process=9))
    with pytest.raises(InvalidJobException, match="far"):
        executor.submit(Job(too_much))


def test_command_line(tmp_path: Path) -> None:
    assert exaworks("run", "--site", "far", "--", "sh", "-c", "id -un; pwd") == (
        "exacsh\n/home/exacsh\n"
    )
    exaworks("run", "--site", "far", "--", "sh", "-c", "exit 7", code=7)
    number = exaworks("submit", "--site", "far", "--", "sh", "-c", "echo later; exit 4").strip()
    exaworks("wait", number, code=1)
    assert exaworks("logs", number) == "later\n"
    assert json.loads(exaworks("status", "--json", number))[0]["exit_code"] == 4
    assert "exaworks-" not in elsewhere("ls ~")
    assert exaworks("run", "-e", "ssh", "--url", "ssh://cluster-csh", "--", "whoami") == "exacsh\n"


def test_mistakes() -> None:
    with pytest.raises(ValueError, match="nowhere"):
        JobExecutor.for_site("nowhere")
    environment = {**os.environ, "COLUMNS": "200"}
    for words, fix in (
        (["--site", "nowhere"], "nowhere"),
        (["--site", "far", "--url", "ssh://x"], "exclude each other"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "exaworks.cli", "submit", *words, "--", "true"],
            capture_output=True,
            text=True,
            env=environment,
        )
        assert done.returncode == 2
        assert fix in done.stderr
