"""The program with jobs on a real Slurm."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_program import Exaworks

from patience import TIMEOUT, until

pytestmark = pytest.mark.slurm


def test_running(on_slurm: Exaworks) -> None:
    out, err = on_slurm.both(
        "run", "--", "sh", "-c", "echo $SLURM_JOB_ID; echo err >&2; exit 3", code=3
    )
    (job,) = on_slurm.json("jobs")
    assert (out, err) == (f"{job['native_id']}\n", "err\n")
    assert (job["state"], job["exit_code"], job["executor"]) == ("FAILED", 3, "slurm")


def test_output_arrives_while_the_job_runs(on_slurm: Exaworks, tmp_path: Path) -> None:
    script = "echo one; until [ -e go ]; do sleep 0.1; done; echo two"
    process = on_slurm.start("run", "--", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"one\n"
    assert process.poll() is None
    (tmp_path / "go").touch()
    out, _ = process.communicate(timeout=TIMEOUT)
    assert (out, process.returncode) == (b"two\n", 0)


def test_ctrl_c_cancels_the_job(on_slurm: Exaworks) -> None:
    process = on_slurm.start("run", "--", "sh", "-c", "echo $SLURM_JOB_ID; exec sleep 600")
    assert process.stdout is not None
    number = process.stdout.readline().decode().strip()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert on_slurm.state("1") == "CANCELED"
    shown = subprocess.run(
        ["squeue", "-h", "-j", number, "-t", "all", "-o", "%T"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() in ("CANCELLED", "COMPLETING")


def test_an_array_and_its_elements(on_slurm: Exaworks) -> None:
    ids = on_slurm("submit", "--count", "4", "--", "sh", "-c", "echo {i} $EXAWORKS_INDEX; exit {i}")
    assert ids.split() == ["1", "2", "3", "4"]
    told = on_slurm("wait", *ids.split(), code=1)
    assert sorted(told.splitlines()) == [
        "1 COMPLETED",
        "2 FAILED with exit code 1",
        "3 FAILED with exit code 2",
        "4 FAILED with exit code 3",
    ]
    jobs = on_slurm.json("jobs")
    assert len({job["native_id"].partition("_")[0] for job in jobs}) == 1
    assert [on_slurm("logs", str(job["id"])) for job in jobs] == [f"{i} {i}\n" for i in range(4)]
    assert on_slurm.json("status", f"slurm:{jobs[2]['native_id']}")[0]["id"] == 3


def test_holding_and_releasing(on_slurm: Exaworks) -> None:
    on_slurm("submit", "--attr", "hold", "--", "echo", "released")
    text = until(lambda: on_slurm("explain", "1"))
    assert "JobHeldUser" in text
    assert "exaworks release 1" in text
    assert on_slurm("jobs", "--state", "held").split()[-1] == "JobHeldUser"
    assert "HELD: JobHeldUser" in on_slurm("status", "1")
    assert "was released" in on_slurm("release", "1")
    assert on_slurm("wait", "1") == "1 COMPLETED\n"
    assert on_slurm("logs", "1") == "released\n"
    _, err = on_slurm.both("hold", "1", code=1)
    assert "has ended: COMPLETED" in err


@pytest.mark.parametrize(
    ("options", "reason", "advice"),
    [
        (["--queue", "closed"], "PartitionDown", "another --queue"),
        (["--attr", "begin=now+1hour"], "BeginTime", "StartTime"),
    ],
)
def test_why_a_job_does_not_start(
    on_slurm: Exaworks, options: list[str], reason: str, advice: str
) -> None:
    on_slurm("submit", *options, "--", "true")
    until(lambda: reason in on_slurm("explain", "1"))
    text = on_slurm("explain", "1")
    assert "has been waiting to start" in text
    assert advice in text
    assert on_slurm.state("1") == "QUEUED"
    on_slurm("cancel", "1")
    assert on_slurm("wait", "1", code=1).startswith("1 CANCELED")


def test_a_refused_job(on_slurm: Exaworks) -> None:
    out, err = on_slurm.both("submit", "--queue", "no-such-queue", "--", "true", code=3)
    assert out == ""
    assert "invalid partition" in err
    assert len(err.splitlines()) <= 2
    assert on_slurm.json("jobs") == []


def test_some_of_many_are_refused(on_slurm: Exaworks) -> None:
    good = {"executable": "echo", "arguments": ["accepted"]}
    bad = {"executable": "true", "attributes": {"queue_name": "no-such-queue"}}
    out, err = on_slurm.both("submit", "--file", "-", code=3, text=json.dumps([bad, good]))
    (id,) = out.split()
    assert "1 of 2 jobs were not accepted" in err
    assert "invalid partition" in err
    (job,) = on_slurm.json("jobs")
    assert (str(job["id"]), job["name"]) == (id, "echo")
    assert on_slurm("wait", id) == f"{id} COMPLETED\n"


def test_the_script(on_slurm: Exaworks) -> None:
    arguments = ["script", "--time", "1h", "--nodes", "2", "--queue", "batch", "--", "solve", "a b"]
    text = on_slurm(*arguments)
    assert text.startswith("# sbatch")
    assert "#SBATCH" in text
    assert "'a b'" in text
    assert "batch" in text
    assert on_slurm("script", "--json", *arguments[1:]).startswith(
        '{\n  "command": [\n    "sbatch"'
    )
    assert on_slurm.json("jobs") == []


def test_a_job_goes_on_without_the_program(on_slurm: Exaworks, tmp_path: Path) -> None:
    script = "echo begun; until [ -e go ]; do sleep 0.1; done; exit 5"
    process = on_slurm.start("run", "--", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.kill()
    process.wait(TIMEOUT)
    assert on_slurm.state("1") == "ACTIVE"
    assert "runs" in on_slurm("explain", "1")
    (tmp_path / "go").touch()
    assert on_slurm("wait", "1", code=1) == "1 FAILED with exit code 5\n"
    (job,) = on_slurm.json("jobs")
    assert job["run_time"] is not None


def test_slurm_is_chosen_where_it_answers(on_slurm: Exaworks) -> None:
    del on_slurm.environment["EXAWORKS_EXECUTOR"]
    assert on_slurm("submit", "--", "true") == "1\n"
    assert on_slurm.json("jobs")[0]["executor"] == "slurm"
    assert on_slurm("wait", "1") == "1 COMPLETED\n"
    data = {one["name"]: one for one in on_slurm.json("executors")}
    assert data["slurm"]["usable"]
    assert data["slurm"]["default"]
    assert on_slurm.json("info")["tools"]["slurm"]["version"].startswith("slurm")


def test_a_slurm_that_does_not_answer(on_slurm: Exaworks, tmp_path: Path) -> None:
    """As seen by a client: nothing is lost, nothing hangs, and what is said is true."""
    on_slurm("submit", "--attr", "hold", "--", "true")
    answering = os.environ["SLURM_CONF"]
    text = Path(answering).read_text()
    text = re.sub(r"(?m)^SlurmctldPort=.*", "SlurmctldPort=1", text)
    (tmp_path / "slurm.conf").write_text(
        re.sub(r"(?m)^MessageTimeout=.*", "MessageTimeout=2", text)
    )
    on_slurm.environment["SLURM_CONF"] = str(tmp_path / "slurm.conf")
    out, err = on_slurm.both("jobs")
    assert "QUEUED" in out
    assert "slurm has not said yet how 1 job is; the last known state is shown" in err
    assert "slurm cannot be asked" in on_slurm("explain", "1")
    on_slurm("wait", "--timeout", "0.5s", "1", code=124)
    for arguments, code in ((["cancel", "1"], 1), (["submit", "--", "true"], 3)):
        _, err = on_slurm.both(*arguments, code=code)
        assert "Unable to contact slurm controller" in err
    del on_slurm.environment["EXAWORKS_EXECUTOR"]
    _, err = on_slurm.both("run", "true")
    assert "Slurm does not answer, so the job goes to this machine" in err
    assert "DOWN" in err
    on_slurm.environment["SLURM_CONF"] = answering
    on_slurm("release", "1")
    assert on_slurm("wait", "1") == "1 COMPLETED\n"


KILLED = """
import os
from exaworks.cli.app import application
from exaworks.psij.executors.slurm import SlurmJobExecutor
submit_many = SlurmJobExecutor.submit_many
def killed(self, jobs):
    submit_many(self, jobs)
    os.kill(os.getpid(), 9)
SlurmJobExecutor.submit_many = killed
application.main(["submit", "--", "sh", "-c", "echo ran > ran"])
"""


def test_killed_before_the_answer_of_a_submission(on_slurm: Exaworks, tmp_path: Path) -> None:
    """Slurm is asked for the job by our id: it was accepted, and has run once."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED], env=on_slurm.environment, cwd=on_slurm.folder, check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert on_slurm("wait", "1", "--timeout", "60s") == "1 COMPLETED\n"
    assert on_slurm.state("1") == "COMPLETED"
    assert (tmp_path / "ran").exists()
