"""What jobs share: places in a pool, descriptors, the keeper's attention."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

from keeper_client import Client
from keeper_helpers import run, sh

from patience import until


def test_no_room_for_another_file_delays_but_fails_nothing(client: Client, tmp_path: Path) -> None:
    pid = client.request("ping")["pid"]
    used = {int(fd) for fd in os.listdir(f"/proc/{pid}/fd")}
    free = min(set(range(len(used) + 1)) - used)
    limits = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, limits[1]))
    job = sh("echo it", stdout=str(tmp_path / "out"), stderr=str(tmp_path / "err"))
    ids = client.submit([job | {"stdout": str(tmp_path / f"out{n}")} for n in range(5)])
    log = Path(client.request("ping")["folder"], "keeper.log")
    until(lambda: "no room" in log.read_text())
    assert {job["state"] for job in client.info(ids=ids)} == {"QUEUED"}
    resource.prlimit(pid, resource.RLIMIT_NOFILE, limits)
    assert {job["state"] for job in client.wait(ids, 10).values()} == {"COMPLETED"}
    assert (tmp_path / "out4").read_text() == "it\n"


def test_leftover_in_the_background_delays_nothing_and_is_ended(
    client: Client, tmp_path: Path
) -> None:
    began = time.monotonic()
    (number,) = client.submit(
        [sh("trap '' TERM; sleep 1000 & echo $!", stdout=str(tmp_path / "out"), grace=0.3)]
    )
    assert client.wait([number], 10)[number]["state"] == "COMPLETED"
    assert time.monotonic() - began < 5
    left = int((tmp_path / "out").read_text())
    until(lambda: not os.path.exists(f"/proc/{left}"))


def test_daemon_with_its_own_session_is_left_alone(client: Client, tmp_path: Path) -> None:
    job = sh("setsid sleep 1000 & echo $!; sleep 0.1", stdout=str(tmp_path / "out"), grace=0)
    assert run(client, job)["state"] == "COMPLETED"
    assert run(client, sh("sleep 0.1"))["state"] == "COMPLETED"
    left = int((tmp_path / "out").read_text())
    assert Path("/proc", str(left), "comm").read_text() == "sleep\n"


def test_pool_limit(client: Client, tmp_path: Path) -> None:
    script = 'mkdir "$1/$$" && ls "$1" | wc -l >>"$2"; sleep 0.02; rmdir "$1/$$"'
    (tmp_path / "now").mkdir()
    job = sh(script, str(tmp_path / "now"), str(tmp_path / "counts"), pool="three", limit=3)
    ids = client.submit([job] * 30)
    result = client.wait(ids, 30)
    assert {result[number]["state"] for number in ids} == {"COMPLETED"}
    counts = [int(line) for line in (tmp_path / "counts").read_text().split()]
    assert len(counts) == 30
    assert max(counts) == 3


def test_fifo_blocks_nobody_else(client: Client, tmp_path: Path) -> None:
    fifo = tmp_path / "fi fo"
    os.mkfifo(fifo)
    out = tmp_path / "out"
    (reader,) = client.submit([{"argv": ["cat"], "stdin": str(fifo), "stdout": str(out)}])
    assert run(client, sh("exit 0"))["state"] == "COMPLETED"
    (writer,) = client.submit([sh("echo through >&2; echo it", stdout=str(fifo), stderr=str(fifo))])
    assert client.wait([reader, writer], 10)[reader]["state"] == "COMPLETED"
    assert out.read_text() == "through\nit\n"


def test_running_jobs_cost_no_descriptors_and_no_threads(client: Client) -> None:
    pid = client.request("ping")["pid"]
    before = len(os.listdir(f"/proc/{pid}/fd"))
    ids = client.submit([{"argv": ["sleep", "1000"]}] * 500)
    until(lambda: client.request("ping")["running"] == 500, 30)
    assert len(os.listdir(f"/proc/{pid}/fd")) == before
    assert len(os.listdir(f"/proc/{pid}/task")) == 1
    client.cancel(ids, grace=0)
    result = client.wait(ids, 30)
    assert {result[number]["state"] for number in ids} == {"CANCELED"}
