"""Jobs of several processes run one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from keeper_client import Client
from keeper_helpers import run


def phases(**scripts: str) -> list[dict[str, Any]]:
    return [{"state": state, "argv": ["/bin/sh", "-c", text]} for state, text in scripts.items()]


def test_phases_run_one_after_the_other(client: Client, home: Path, tmp_path: Path) -> None:
    log = tmp_path / "order"
    job = {
        "key": "staged",
        "cwd": str(tmp_path),
        "stdout": "out",
        "phases": phases(
            STAGE_IN=f"echo in >>{log}; echo noise",
            ACTIVE=f"echo main >>{log}; echo result",
            STAGE_OUT=f"echo out $PSIJ_OUTCOME >>{log}",
            CLEANUP=f"echo clean $PSIJ_OUTCOME >>{log}",
        ),
    }
    client.submit([job])
    events: list[list[Any]] = []
    while not events or events[-1][1] != "COMPLETED":
        events += client.events(10)
    assert [event[1] for event in events] == [
        "STAGE_IN", "ACTIVE", "STAGE_OUT", "CLEANUP", "COMPLETED",
    ]  # fmt: skip
    assert log.read_text().splitlines() == ["in", "main", "out success", "clean success"]
    assert (tmp_path / "out").read_text() == "result\n"
    assert not list(home.glob("local/*/log/*"))


def test_failed_staging_is_explained(client: Client, home: Path, tmp_path: Path) -> None:
    log = tmp_path / "order"
    job = {
        "key": "staged",
        "phases": phases(
            STAGE_IN="echo 'no such data set' >&2; exit 5",
            ACTIVE=f"echo main >>{log}",
            CLEANUP=f"echo clean $PSIJ_OUTCOME >>{log}",
        ),
    }
    result = run(client, job)
    assert (result["state"], result["reason"], result["exit_code"]) == ("FAILED", "staging", 5)
    assert "no such data set" in result["message"]
    assert log.read_text() == "clean error\n"
    assert [path.name for path in home.glob("local/*/log/*")] == ["staged"]


def test_second_phase_with_the_jobs_output_appends(client: Client, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("old")
    steps = phases(ACTIVE="echo 1", CLEANUP="echo 2")
    steps[1]["stdio"] = True
    job = {"phases": steps, "stdout": str(tmp_path / "out")}
    assert run(client, job)["state"] == "COMPLETED"
    assert (tmp_path / "out").read_text() == "1\n2\n"


def test_a_main_phase_with_a_log_is_explained_by_it(client: Client, home: Path) -> None:
    phase = {"state": "ACTIVE", "argv": ["/bin/sh", "-c", "echo why >&2; exit 3"], "stdio": False}
    good = {"state": "ACTIVE", "argv": ["/bin/sh", "-c", "echo chatter >&2"], "stdio": False}
    ids = client.submit([{"phases": [phase]}, {"phases": [good]}])
    ended = client.wait(ids, 20)
    assert ended[ids[0]]["message"] == "exit code 3\nwhy"
    assert ended[ids[1]]["state"] == "COMPLETED"
    logs = [path.read_text() for path in home.glob("local/*/log/*")]
    assert logs == ["why\n"]
