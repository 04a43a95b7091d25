"""A keeper killed at any moment: no job runs twice, and none that never ran is called failed."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from keeper_client import Client
from keeper_helpers import kill, kill_both

from exaworks.core.keeper import start
from exaworks.core.keeper.core import Core
from exaworks.core.keeper.job import RUNNING, STARTING, WAITING, Job, parse_request
from exaworks.core.keeper.journal import Journal
from exaworks.core.keeper.processes import inspect
from exaworks.core.keeper.protocol import FINAL, KeeperError
from exaworks.core.keeper.recovery import recover, settle_starts
from patience import until

LINUX_ONLY = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs orphans")


def final_snapshots(home: Path, ids: list[int]) -> dict[int, dict[str, Any]]:
    """Return the snapshots of jobs when all are over, whatever becomes of the connection."""
    found: list[dict[str, Any]] = []

    def over() -> bool:
        try:
            with Client(home, timeout=30.0) as client:
                found[:] = client.info(ids=ids)
        except KeeperError:
            return False
        return all(job["state"] in FINAL for job in found)

    until(over, timeout=60.0)
    return {job["id"]: job for job in found}


def keeper_of(supervisor: int) -> int | None:
    """Return the pid of the keeper, also of one that is just starting."""
    for name in os.listdir("/proc"):
        process = inspect(int(name)) if name.isdigit() else None
        if process is not None and process.parent == supervisor and not process.dead:
            command = Path("/proc", name, "comm")
            try:
                if command.read_text().startswith("exaworks-"):
                    return process.pid
            except OSError:
                continue
    return None


def recording(ran: Path, count: int) -> list[dict[str, Any]]:
    """Return jobs that append their key to ``ran`` and end with different exit codes."""
    script = f'echo "$EXAWORKS_JOB_KEY" >>{ran}; exit $1'
    return [
        {"key": uuid.uuid4().hex, "argv": ["/bin/sh", "-c", script, "sh", str(n % 3)]}
        for n in range(count)
    ]


def submit_surely(home: Path, jobs: list[dict[str, Any]]) -> list[int]:
    """Submit jobs, again if the keeper is killed before it answers; return their ids."""
    while True:
        try:
            with Client(home) as client:
                return client.submit(jobs)
        except KeeperError:
            continue


def check(home: Path, jobs: list[dict[str, Any]], ids: list[int], ran: Path) -> None:
    """Check that each of the jobs has run once, and that its exit code is known."""
    final = final_snapshots(home, ids)
    counts = Counter(ran.read_text().split())
    assert counts == Counter(job["key"] for job in jobs)
    for job, number in zip(jobs, ids, strict=True):
        code = int(job["argv"][-1])
        assert (final[number]["exit_code"], final[number]["reason"]) == (
            code,
            "exit" if code else None,
        ), repr(final[number])


@LINUX_ONLY
@pytest.mark.parametrize("seed", range(3))
def test_keeper_killed_again_and_again(home: Path, tmp_path: Path, seed: int) -> None:
    moments = random.Random(seed)
    ran = tmp_path / "ran"
    jobs = recording(ran, 600)
    with Client(home) as client:
        supervisor = client.request("ping")["supervisor"]
        ids = client.submit(jobs)
    for longest in (0.1, 0.02, 0.2, 0.03):
        until(lambda: keeper_of(supervisor))
        time.sleep(moments.uniform(0.003, longest))
        keeper = keeper_of(supervisor)
        if keeper is not None:
            kill(keeper)
    check(home, jobs, ids, ran)


_KILL_ONCE = """
import os, signal
from exaworks.core.keeper import daemon, journal, spawn, store
def killed_once():
    try:
        os.close(os.open({flag!r}, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
def die(owner, name, after, at):
    original = getattr(owner, name)
    calls = []
    def method(*arguments):
        calls.append(name)
        if not after and len(calls) == at:
            killed_once()
        result = original(*arguments)
        if after and len(calls) == at:
            killed_once()
        return result
    setattr(owner, name, method)
"""


def alter_keepers(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Let the keepers that are started from here on run ``code`` first."""
    parts = start._CODE.split("from exaworks", 1)
    assert len(parts) == 2
    prelude = f"exec({code!r}); "
    monkeypatch.setattr(start, "_CODE", f"{parts[0]}{prelude}from exaworks{parts[1]}")


@LINUX_ONLY
@pytest.mark.parametrize("at", [1, 7])
@pytest.mark.parametrize(
    ("owner", "name", "after"),
    [
        ("daemon.Daemon", "_launch", False),
        ("journal.Journal", "starting", False),
        ("journal.Journal", "starting", True),
        ("spawn.Spawner", "spawn", True),
        ("journal.Journal", "started", True),
        ("journal.Journal", "ended", True),
        ("journal.Journal", "clear", False),
        ("journal.Journal", "clear", True),
    ],
)
def test_keeper_killed_at_each_step(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    owner: str,
    name: str,
    after: bool,
    at: int,
) -> None:
    flag = tmp_path / "killed"
    code = _KILL_ONCE.format(flag=str(flag)) + f"die({owner}, {name!r}, {after}, {at})\n"
    alter_keepers(monkeypatch, code)
    ran = tmp_path / "ran"
    jobs = recording(ran, 120)
    ids = submit_surely(home, jobs[:1])
    ids += submit_surely(home, jobs[1:])
    check(home, jobs, ids, ran)
    assert flag.exists()


@LINUX_ONLY
@pytest.mark.parametrize("step", ["_take_over", "_settle"])
def test_keeper_killed_while_it_takes_over(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The second keeper is killed before it has recorded what it learned from the first."""
    first, second = tmp_path / "first", tmp_path / "second"
    code = _KILL_ONCE.format(flag=str(first)) + "die(spawn.Spawner, 'spawn', True, 9)\n"
    code += (
        _KILL_ONCE.format(flag=str(second)).replace("killed_once", "killed_again")
        + f"original = daemon.Daemon.{step}\n"
        + "def method(*arguments):\n"
        + f"    if os.path.exists({str(first)!r}) and {step == '_settle'}:\n"
        + "        killed_again()\n"
        + "    original(*arguments)\n"
        + f"    if os.path.exists({str(first)!r}):\n"
        + "        killed_again()\n"
        + f"daemon.Daemon.{step} = method\n"
    )
    alter_keepers(monkeypatch, code)
    ran = tmp_path / "ran"
    jobs = recording(ran, 60)
    ids = submit_surely(home, jobs)
    check(home, jobs, ids, ran)
    assert first.exists()
    assert second.exists()


def test_canceled_while_it_was_being_started_and_never_was() -> None:
    """A start that a killed keeper did not reach is not made up for once the job is canceled."""
    job = _job(1)
    job.stage = STARTING
    job.canceled = True
    core = Core()
    recover(core, [job], 0.0, Journal().read(), True, True)
    assert job.state == "CANCELED"
    assert not core.startable(0.0, 10)


def _job(number: int, pid: int | None = None, stage: int = STARTING) -> Job:
    job = parse_request({"key": f"k{number}", "env": "e", "phases": [{"argv": ["true"]}]})
    job.id = number
    job.pid = pid
    job.pid_start = 100
    job.stage = stage
    return job


def test_journal_outlives_its_writer_and_is_read_any_number_of_times() -> None:
    journal = Journal()
    for _ in range(2):
        child = os.fork()
        if child == 0:
            journal.starting(_job(1))
            journal.started(_job(1, 10))
            journal.ended(_job(1, 10), 256)
            journal.starting(_job(2))
            journal.not_started(_job(2))
            journal.starting(_job(3))
            os.kill(os.getpid(), signal.SIGKILL)
        os.waitpid(child, 0)
        journal.read()
        journal.inherited([(11, 101, "k3"), (12, 102, "-")])
        for _ in range(2):
            records = journal.read()
            assert records.started == {(1, 0): (10, 100)}
            assert records.ended == [(10, 100, 256)]
            assert list(records.uncertain) == [(3, 0)]
            assert records.inherited == [(11, 101, "k3"), (12, 102, "-")]
        journal.clear()
        records = journal.read()
        assert (records.started, records.ended, records.intended) == ({}, [], {})
        assert records.inherited is None


def test_full_journal_refuses_ends_and_takes_starts() -> None:
    journal = Journal()
    count = 0
    while journal.ended(_job(1, 10), 0):
        count += 1
    assert count > 1000
    for number in range(100):
        journal.starting(_job(number))
        journal.started(_job(number, number))
    records = journal.read()
    assert len(records.ended) == count
    assert len(records.started) == 100


@pytest.mark.parametrize(
    ("children", "stage", "pid"),
    [
        (None, STARTING, None),
        ([], WAITING, None),
        ([(50, 0, "-")], WAITING, None),
        ([(10, 1 << 60, "-")], WAITING, None),
        ([(50, 1 << 60, "other")], WAITING, None),
        ([(50, 1 << 60, "-")], RUNNING, 50),
        ([(50, 1 << 60, "-"), (51, 1 << 60, "-")], STARTING, None),
        ([(50, 1 << 60, "-"), (51, 1 << 60, "k2")], RUNNING, 51),
    ],
    ids=["not looked", "none", "older", "claimed", "foreign", "one", "two", "marked"],
)
def test_what_became_of_a_start_that_was_cut_off(
    children: list[tuple[int, int, str]] | None, stage: int, pid: int | None
) -> None:
    journal = Journal()
    jobs = [_job(1), _job(2), _job(3)]
    journal.starting(jobs[0])
    journal.started(_job(1, 10))
    journal.starting(jobs[1])
    if children is not None:
        journal.inherited(children)
    settle_starts(jobs, journal.read())
    assert (jobs[0].stage, jobs[0].pid) == (RUNNING, 10)
    assert (jobs[1].stage, jobs[1].pid) == (stage, pid)
    assert jobs[2].stage == WAITING


def test_records_are_swept_now_and_then(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alter_keepers(
        monkeypatch,
        "from exaworks.core.keeper import daemon, requests, store\n"
        "daemon.SWEEP_EVERY = 0.05\nstore.KEEP_DAYS = 1e-9\nrequests._MAX_ENVIRONMENTS = 1\n",
    )
    with Client(home) as client:
        gone = client.env({"GONE": "1"})
        client.env({"UNUSED": "1"})
        ids = client.submit([{"argv": ["true"]}, {"argv": ["true"], "held": True}])
        last = client.env({"LAST": "1"})
        until(lambda: [job["id"] for job in client.info()] == ids[1:])
        client.submit([{"argv": ["true"], "held": True, "env": last}])
        with pytest.raises(KeeperError, match="unknown environment"):
            client.request(
                "submit", jobs=[{"key": "k", "env": gone, "phases": [{"argv": ["true"]}]}]
            )
        kill_both(client)
    (path,) = home.glob("local/*/keeper.db")
    database = sqlite3.connect(path)
    assert database.execute("SELECT count(*) FROM envs").fetchone() == (2,)
    database.close()
