"""Submissions that are cut short, ids that mean something else elsewhere, damaged files."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

from cli_program import Exaworks

from patience import until


def database(exaworks: Exaworks) -> sqlite3.Connection:
    return sqlite3.connect(exaworks.home / "cli" / "jobs.db", isolation_level=None)


KILLED = """
import os
from exaworks.cli.app import application
from exaworks.psij.executors.local import LocalJobExecutor
submit_many = LocalJobExecutor.submit_many
def killed(self, jobs):
    if {after}: submit_many(self, jobs)
    os.kill(os.getpid(), 9)
LocalJobExecutor.submit_many = killed
application.main(["submit", "--", "sh", "-c", "echo ran; exit 6"])
"""


def submit_and_die(exaworks: Exaworks, after: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", KILLED.format(after=after)],
        env=exaworks.environment,
        cwd=exaworks.folder,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL


def test_killed_before_the_answer_of_a_submission_that_arrived(exaworks: Exaworks) -> None:
    submit_and_die(exaworks, after=True)
    assert exaworks("wait", "1", code=1) == "1 FAILED with exit code 6\n"
    assert exaworks("logs", "1") == "ran\n"


def test_killed_before_a_submission_arrived(exaworks: Exaworks) -> None:
    submit_and_die(exaworks, after=False)
    assert exaworks.state("1") == "UNKNOWN"
    assert "interrupted" in exaworks("jobs")
    text = exaworks("explain", "1")
    assert "not known whether job 1 was accepted" in text
    assert "exaworks forget 1" in text
    _, err = exaworks.both("wait", "1", code=1)
    assert "not known yet whether local has accepted job 1" in err
    with database(exaworks) as db:  # long ago, nothing can still be on its way
        db.execute("UPDATE jobs SET submitted = ?", (time.time() - 3600,))
    (job,) = exaworks.json("jobs")
    assert (job["state"], job["reason"]) == ("FAILED", "lost")
    assert "local has not received the job" in job["message"]
    assert exaworks("forget", "1") == "1 job forgotten\n"


def test_jobs_of_another_machine_are_not_asked_about_here(exaworks: Exaworks) -> None:
    exaworks("submit", "--", "sleep", "600")
    until(lambda: exaworks.state("1") == "ACTIVE")
    with database(exaworks) as db:
        db.execute("UPDATE jobs SET place = 'elsewhere'")
    out, err = exaworks.both("jobs")
    assert "ACTIVE" in out
    assert "belongs to elsewhere; ask there" in err
    for command in ("wait", "cancel", "hold"):
        assert "elsewhere" in exaworks.both(command, "1", code=1)[1]
    with database(exaworks) as db:
        db.execute("UPDATE jobs SET place = ?", (os.uname().nodename,))
    exaworks("cancel", "1")


def test_jobs_inside_a_batch_job_have_a_place_of_their_own(exaworks: Exaworks) -> None:
    exaworks("run", "--", "sh", "-c", "exit 1", code=1)
    exaworks("submit", "--", "sleep", "600")
    exaworks.environment["SLURM_JOB_ID"] = "77"
    assert exaworks("submit", "--", "sh", "-c", "exit 2") == "3\n"
    assert exaworks("wait", "3", code=1) == "3 FAILED with exit code 2\n"
    jobs = exaworks.json("jobs")
    assert [job["native_id"] for job in jobs] == ["1", "2", "1"]
    _, err = exaworks.both("cancel", "2", code=1)
    assert f"belongs to {os.uname().nodename}; ask there" in err
    del exaworks.environment["SLURM_JOB_ID"]
    assert exaworks.state("2") == "ACTIVE"


def test_an_id_that_was_given_again_is_not_mistaken(exaworks: Exaworks, tmp_path: Path) -> None:
    script = "until [ -e go ]; do sleep 0.05; done; echo ended > ended-$EXAWORKS_INDEX"
    exaworks("submit", "--count", "2", "--", "sh", "-c", script)
    until(lambda: {job["state"] for job in exaworks.json("jobs")} == {"ACTIVE"})
    with database(exaworks) as db:  # as if the ids had been counted anew
        db.execute("UPDATE jobs SET native_id = '2', uuid = 'forgotten' WHERE id = 1")
        db.execute("UPDATE jobs SET native_id = '1' WHERE id = 2")
    first, second = exaworks.json("jobs")
    assert (first["state"], first["reason"]) == ("FAILED", "lost")
    assert (second["state"], second["native_id"]) == ("ACTIVE", "2")
    assert "had ended: FAILED" in exaworks("cancel", "1")
    assert exaworks.state("2") == "ACTIVE"
    assert exaworks("wait", "1", code=1).startswith("1 FAILED: local does not know")
    (tmp_path / "go").touch()
    assert exaworks("wait", "2") == "2 COMPLETED\n"
    until((tmp_path / "ended-0").exists)


def test_a_damaged_list_does_not_stop_new_jobs(exaworks: Exaworks) -> None:
    exaworks("run", "true")
    (exaworks.home / "cli" / "jobs.db").write_bytes(b"\0broken" * 3000)
    out, err = exaworks.both("run", "--", "echo", "still works")
    assert out == "still works\n"
    assert "set aside" in err
    assert len(exaworks.json("jobs")) == 1
