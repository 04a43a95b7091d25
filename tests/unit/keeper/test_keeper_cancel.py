"""Ending jobs before they end themselves: all of their processes, politely, then not."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from keeper_client import Client
from keeper_helpers import alive, processes_with

from patience import until

TREE = """
import os, signal, sys, time
folder, = sys.argv[1:]
def report(name):
    with open(os.path.join(folder, name + ".tmp"), "w") as file:
        file.write(str(os.getpid()))
    os.rename(os.path.join(folder, name + ".tmp"), os.path.join(folder, name))
if os.fork() == 0:                       # a child that ignores SIGTERM
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    report("stubborn")
    time.sleep(1000)
if os.fork() == 0:                       # a daemon: own session, forked twice
    os.setsid()
    if os.fork() == 0:
        report("daemon")
        time.sleep(1000)
    os._exit(0)
if os.fork() == 0:                       # one that is stopped
    report("stopped")
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(1000)
if os.fork() == 0:                       # a daemon with an environment of its own
    os.setsid()
    os.execve(sys.executable, [sys.executable, "-c", "import os, sys, time; "
        "open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(1000)", folder + "/clean"], {})
report("root")
time.sleep(1000)
"""


def test_cancel_reaches_every_descendant(client: Client, tmp_path: Path) -> None:
    (number,) = client.submit([{"argv": [sys.executable, "-c", TREE, str(tmp_path)], "grace": 0.5}])
    names = ("root", "stubborn", "daemon", "stopped", "clean")
    until(lambda: all((tmp_path / n).exists() and (tmp_path / n).read_text() for n in names))
    pids = {name: int((tmp_path / name).read_text()) for name in names}
    (bystander,) = client.submit([{"argv": ["sleep", "1000"]}])
    began = time.monotonic()
    assert client.cancel([number]) == [None]
    result = client.wait([number], 10)[number]
    assert not {name for name, pid in pids.items() if alive(pid)}
    assert 0.4 < time.monotonic() - began < 3
    assert (result["state"], result["reason"]) == ("CANCELED", "cancel")
    assert (result["exit_code"], result["signal"]) == (143, 15)
    assert client.info(ids=[bystander])[0]["state"] == "ACTIVE"


def test_process_that_forks_all_the_time_does_not_escape(client: Client, tmp_path: Path) -> None:
    code = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open(sys.argv[1], "w").close()
while True:
    if os.fork():
        os._exit(0)
    if os.fork() == 0:
        os.setsid()
    time.sleep(0.001)
    if os.getsid(0) != os.getpid():
        continue
    time.sleep(1000)
"""
    flag = tmp_path / "flag"
    wrapper = [sys.executable, "-c", code, str(flag)]
    script = '"$@" & sleep 1000'
    (number,) = client.submit([{"argv": ["/bin/sh", "-c", script, "sh", *wrapper], "grace": 0.1}])
    until(flag.exists)
    client.cancel([number])
    assert client.wait([number], 20)[number]["state"] == "CANCELED"
    (key,) = [job["key"] for job in client.info(ids=[number])]
    assert not [pid for pid in processes_with(f"EXAWORKS_JOB_KEY={key}") if alive(pid)]


def test_cancel_is_canceled_even_if_the_job_exits_with_zero(client: Client, tmp_path: Path) -> None:
    script = f"trap 'exit 0' TERM; : >{tmp_path}/ready; while :; do sleep 0.05; done"
    (number,) = client.submit([{"argv": ["/bin/sh", "-c", script]}])
    until((tmp_path / "ready").exists)
    client.cancel([number])
    result = client.wait([number], 10)[number]
    assert (result["state"], result["exit_code"]) == ("CANCELED", 0)
    assert client.cancel([number, 77]) == ["the job is over", "there is no such job"]


def test_cancel_of_a_queued_job_never_starts_it(client: Client, tmp_path: Path) -> None:
    pool: dict[str, Any] = {"pool": "one", "limit": 1}
    first, second, third = client.submit(
        [
            {"argv": ["sleep", "1000"], **pool},
            {"argv": ["touch", str(tmp_path / "second")], **pool},
            {"argv": ["touch", str(tmp_path / "third")], **pool},
        ]
    )
    client.cancel([second])
    result = client.wait([second], 10)[second]
    assert (result["state"], result["exit_code"]) == ("CANCELED", None)
    client.cancel([first])
    assert client.wait([third], 10)[third]["state"] == "COMPLETED"
    assert not (tmp_path / "second").exists()


def test_cancel_again_with_less_patience(client: Client, tmp_path: Path) -> None:
    script = f"trap '' TERM; : >{tmp_path}/ready; sleep 1000; sleep 1000"
    (number,) = client.submit([{"argv": ["/bin/sh", "-c", script], "grace": 1000}])
    until((tmp_path / "ready").exists)
    client.cancel([number])
    client.cancel([number], grace=0)
    result = client.wait([number], 10)[number]
    assert (result["state"], result["signal"]) == ("CANCELED", 9)


def test_canceled_job_still_cleans_up(client: Client, tmp_path: Path) -> None:
    def step(state: str, script: str) -> dict[str, Any]:
        return {"state": state, "argv": ["/bin/sh", "-c", script]}

    (number,) = client.submit(
        [
            {
                "cwd": str(tmp_path),
                "phases": [
                    step("ACTIVE", ": >ready; sleep 1000"),
                    step("CLEANUP", "echo $PSIJ_OUTCOME >outcome"),
                ],
            }
        ]
    )
    until((tmp_path / "ready").exists)
    client.cancel([number])
    assert client.wait([number], 10)[number]["state"] == "CANCELED"
    assert (tmp_path / "outcome").read_text() == "cancel\n"


@pytest.mark.parametrize(("script", "signal"), [("sleep 1000", 15), ("trap '' TERM; read x", 9)])
def test_duration_is_enforced(client: Client, tmp_path: Path, script: str, signal: int) -> None:
    os.mkfifo(tmp_path / "fifo")
    (number,) = client.submit(
        [
            {
                "argv": ["/bin/sh", "-c", f"exec 0<>{tmp_path}/fifo; {script}"],
                "duration": 0.3,
                "grace": 0.2,
            }
        ]
    )
    result = client.wait([number], 10)[number]
    assert (result["state"], result["reason"]) == ("FAILED", "timeout")
    assert result["signal"] == signal
    assert result["message"] == "exceeded its duration of 0.3 s"


def test_duration_of_a_job_that_keeps_it_means_nothing(client: Client) -> None:
    ids = client.submit([{"argv": ["true"], "duration": 1000}] * 20)
    assert {job["state"] for job in client.wait(ids, 10).values()} == {"COMPLETED"}
