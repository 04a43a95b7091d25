"""Whatever is killed, broken or gone: no job is lost, none runs twice, none hangs."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from keeper_client import Client
from keeper_helpers import TESTS, alive, edit_database, kill, kill_both

from exaworks.core.keeper import server
from exaworks.core.keeper.protocol import FINAL, KeeperError, encode
from exaworks.core.keeper.start import connect
from patience import until


def results(home: Path, ids: list[int], timeout: float = 20.0) -> dict[int, dict[str, Any]]:
    """Return the final snapshots of jobs, from a new connection."""
    with Client(home) as client:
        client.watch(ids)
        until(lambda: all(job["state"] in FINAL for job in client.info(ids=ids)), timeout=timeout)
        return {job["id"]: job for job in client.info(ids=ids)}


def test_killed_keeper_loses_nothing_and_repeats_nothing(home: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    with Client(home) as client:
        jobs = [
            {
                "key": f"{uuid.uuid4().hex}-{n}",
                "argv": [
                    "/bin/sh",
                    "-c",
                    f'echo "$EXAWORKS_JOB_KEY" >>{ran}; sleep 0.{n % 4}; exit $1',
                    "sh",
                    str(n % 7),
                ],
                "pool": "p",
                "limit": 8,
            }
            for n in range(120)
        ]
        ids = client.submit(jobs)
        until(lambda: ran.exists() and len(ran.read_text().split()) >= 10)
        pid = client.request("ping")["pid"]
        supervisor = client.request("ping")["supervisor"]
    for _ in range(2):
        kill(pid)
        with Client(home) as client:
            status = client.request("ping")
            assert status["pid"] != pid
            assert status["supervisor"] == supervisor
            pid = status["pid"]
            done = len(ran.read_text().split())
            until(lambda at=done: len(ran.read_text().split()) >= at + 10)  # type: ignore[misc]
    final = results(home, ids)
    counts = Counter(ran.read_text().split())
    for number, job in final.items():
        assert counts[job["key"]] == 1
        assert job["exit_code"] == ids.index(number) % 7


def test_killed_keeper_goes_on_with_limits_timers_and_phases(home: Path, tmp_path: Path) -> None:
    with Client(home) as client:
        timed, phased, canceled, queued = client.submit(
            [
                {"argv": ["sleep", "1000"], "duration": 1.0, "grace": 0.2, "pool": "p", "limit": 3},
                {
                    "phases": [
                        {"state": "ACTIVE", "argv": ["sh", "-c", "sleep 0.5; exit 3"]},
                        {
                            "state": "CLEANUP",
                            "argv": ["sh", "-c", f"echo $PSIJ_OUTCOME >{tmp_path}/outcome"],
                        },
                    ],
                    "pool": "p",
                    "limit": 3,
                },
                {
                    "argv": ["sh", "-c", f"trap '' TERM; : >{tmp_path}/ready; sleep 1000"],
                    "grace": 0.5,
                    "pool": "p",
                    "limit": 3,
                },
                {"argv": ["true"], "pool": "p", "limit": 3},
            ]
        )
        until((tmp_path / "ready").exists)
        client.cancel([canceled])
        kill(client.request("ping")["pid"])
    final = results(home, [timed, phased, canceled, queued])
    assert (final[timed]["state"], final[timed]["reason"]) == ("FAILED", "timeout")
    assert (final[phased]["state"], final[phased]["exit_code"]) == ("FAILED", 3)
    assert (tmp_path / "outcome").read_text() == "error\n"
    assert final[canceled]["state"] == "CANCELED"
    assert final[queued]["state"] == "COMPLETED"


def test_events_of_adopted_jobs_arrive(home: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    with Client(home) as client:
        (number,) = client.submit([{"argv": ["sh", "-c", f"read x <{tmp_path}/go; exit 6"]}])
        until(lambda: client.info(ids=[number])[0]["state"] == "ACTIVE")
        kill(client.request("ping")["pid"])
    with Client(home) as client:
        (snapshot,) = client.watch([number])
        assert snapshot is not None
        assert snapshot["state"] == "ACTIVE"
        (tmp_path / "go").write_text("\n")
        result = client.wait([number], 10)[number]
        assert (result["state"], result["exit_code"]) == ("FAILED", 6)


def pidfd_tells(home: Path) -> bool:
    """Whether the kernel tells the exit status of a process that is not our child."""
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    return release >= (6, 15)


def test_leftover_of_an_adopted_job_is_ended(home: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    script = f"sleep 1000 & echo $! >{tmp_path}/left; read x <{tmp_path}/go"
    with Client(home) as client:
        (number,) = client.submit([{"argv": ["sh", "-c", script]}])
        until(lambda: (tmp_path / "left").exists() and (tmp_path / "left").read_text())
        kill(client.request("ping")["pid"])
    (tmp_path / "go").write_text("\n")
    assert results(home, [number])[number]["state"] == "COMPLETED"
    left = int((tmp_path / "left").read_text())
    until(lambda: not alive(left))


def test_both_killed_while_jobs_run(home: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    client = Client(home)
    ids = client.submit(
        [
            {"argv": ["sh", "-c", f"read x <{tmp_path}/go; exit 6"]},
            {"argv": ["sleep", "1000"]},
            {"argv": ["true"], "held": True},
        ]
    )
    until(lambda: [job["state"] for job in client.info(ids=ids)][:2] == ["ACTIVE"] * 2)
    kill_both(client)
    with Client(home) as client:
        client.watch(ids)
        (tmp_path / "go").write_text("\n")
        first = client.wait(ids[:1], 10)[ids[0]]
        assert first["state"] == "FAILED"
        if pidfd_tells(home):
            assert (first["reason"], first["exit_code"]) == ("exit", 6)
        client.release(ids[2:])
        client.cancel(ids[1:2])
        rest = client.wait(ids[1:], 10)
        assert [rest[number]["state"] for number in ids[1:]] == ["CANCELED", "COMPLETED"]


def test_both_killed_and_the_job_ended_meanwhile(home: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    client = Client(home)
    (number,) = client.submit([{"argv": ["sh", "-c", f"read x <{tmp_path}/go"]}])
    until(lambda: client.info(ids=[number])[0]["state"] == "ACTIVE")
    pid = client.info(ids=[number])[0]["pid"]
    kill_both(client)
    (tmp_path / "go").write_text("\n")
    until(lambda: not os.path.exists(f"/proc/{pid}"))
    job = results(home, [number])[number]
    assert (job["state"], job["reason"]) == ("FAILED", "lost")
    assert job["message"] == (
        "its exit status was lost because both keeper and supervisor were killed"
    )


def test_killed_supervisor_alone_harms_nothing(home: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "go")
    with Client(home) as client:
        (number,) = client.submit([{"argv": ["sh", "-c", f"read x <{tmp_path}/go; exit 6"]}])
        until(lambda: client.info(ids=[number])[0]["state"] == "ACTIVE")
        before = client.request("ping")
        kill(before["supervisor"])
        (tmp_path / "go").write_text("\n")
        assert client.wait([number], 10)[number]["exit_code"] == 6
        with Client(home) as other:
            assert other.request("ping")["pid"] == before["pid"]


def test_after_a_restart_of_the_machine(home: Path) -> None:
    client = Client(home)
    running, queued = client.submit(
        [{"argv": argv, "pool": "p", "limit": 1} for argv in (["sleep", "1000"], ["true"])]
    )
    until(lambda: client.info(ids=[running])[0]["state"] == "ACTIVE")
    kill_both(client)
    edit_database(home, "UPDATE facts SET value = 'earlier boot' WHERE name = 'machine'")
    final = results(home, [running, queued])
    assert (final[running]["state"], final[running]["reason"]) == ("FAILED", "lost")
    assert "restarted" in final[running]["message"]
    assert final[queued]["state"] == "COMPLETED"


@pytest.mark.parametrize("found", [True, False])
def test_job_whose_start_is_uncertain(home: Path, found: bool) -> None:
    client = Client(home)
    (number,) = client.submit([{"argv": ["sleep", "1000"], "key": uuid.uuid4().hex}])
    until(lambda: client.info(ids=[number])[0]["state"] == "ACTIVE")
    pid = client.info(ids=[number])[0]["pid"]
    kill_both(client)
    if not found:
        kill(pid)
    edit_database(home, "UPDATE jobs SET stage = 1, state = 'QUEUED', pid = NULL")
    with Client(home) as client:
        client.watch([number])
        if found:
            (job,) = client.info(ids=[number])
            assert (job["state"], job["pid"]) == ("ACTIVE", pid)
            client.cancel([number])
            assert client.wait([number], 10)[number]["state"] == "CANCELED"
            assert not alive(pid)
        else:
            (job,) = client.info(ids=[number])
            assert (job["state"], job["reason"]) == ("FAILED", "lost")
            assert "not started again" in job["message"]


def test_client_that_does_not_read_blocks_and_bloats_nothing(home: Path) -> None:
    with Client(home) as client:
        ids = client.submit([{"argv": ["true"], "held": True, "meta": "x" * 1000}] * 200)
        lazy = connect(home)
        lazy.settimeout(0.3)
        flood = 30_000 * encode({"op": "list", "n": 1, "ids": ids})
        with pytest.raises(TimeoutError):
            lazy.sendall(flood)
        (number,) = client.submit([{"argv": ["true"]}])
        assert client.wait([number], 10)[number]["state"] == "COMPLETED"
        pid = client.request("ping")["pid"]
        status = Path("/proc", str(pid), "status").read_text()
        (rss,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")]
        assert rss < 150 * 1024
        lazy.close()


def test_client_that_leaves_its_events_unread_is_dropped() -> None:
    near, far = socket.socketpair()
    near.setblocking(False)
    connection = server.Connection(near)
    watchers = server.Watchers()
    watchers.add(1, connection)
    event = [1, "ACTIVE", 0.0, {"message": "x" * 100_000}]
    sent = 0
    while connection.write():
        watchers.tell(1, event, False)
        sent += 1
        assert sent < 2 * server.MAX_UNREAD / 100_000
    assert sent > 0.9 * server.MAX_UNREAD / 100_000
    watchers.forget(connection)
    watchers.tell(1, event, True)
    assert not connection.events
    near.close()
    far.close()


def test_client_that_dies_leaves_its_jobs(home: Path, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from keeper_client import Client\n"
        "client = Client(Path(sys.argv[1]))\n"
        "client.submit([{'argv': ['sh', '-c', 'sleep 0.3; exit 5'], 'key': 'mine'}])\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    died = subprocess.run([sys.executable, "-c", code, str(home), TESTS], check=False)
    assert died.returncode == -signal.SIGKILL
    with Client(home) as client:
        (job,) = client.info(keys=["mine"])
        client.watch([job["id"]])
        if job["state"] not in FINAL:
            assert client.wait([job["id"]], 10)[job["id"]]["exit_code"] == 5
        assert client.info(keys=["mine"])[0]["exit_code"] == 5


def test_sigterm_ends_the_keeper_orderly_and_jobs_go_on(home: Path, tmp_path: Path) -> None:
    client = Client(home)
    (number,) = client.submit([{"argv": ["sleep", "1000"]}])
    until(lambda: client.info(ids=[number])[0]["state"] == "ACTIVE")
    status = client.request("ping")
    os.kill(status["supervisor"], signal.SIGTERM)
    until(lambda: not alive(status["supervisor"]) and not alive(status["pid"]))
    client.close()
    with Client(home) as client:
        (job,) = client.info(ids=[number])
        assert job["state"] == "ACTIVE"
        assert alive(job["pid"])
        client.watch([number])
        client.cancel([number])
        assert client.wait([number], 10)[number]["state"] == "CANCELED"


def test_refused_frames_close_the_connection_only(home: Path) -> None:
    bad = connect(home)
    bad.sendall(b"\xff\xff\xff\xff")
    assert bad.recv(10) == b""
    bad.close()
    with Client(home) as client, pytest.raises(KeeperError, match="version 1"):
        client.request("hello", version=99)
