"""What the tests of the keeper share."""

from __future__ import annotations

import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

from keeper_client import Client

from patience import until

TESTS = str(Path(__file__).parent)
"""The folder that other programs import the client from."""


def sh(script: str, *arguments: str, **fields: Any) -> dict[str, Any]:
    """Return a job that runs ``script`` with the shell."""
    return {"argv": ["/bin/sh", "-c", script, "sh", *arguments], **fields}


def run(client: Client, job: dict[str, Any], timeout: float = 10.0) -> dict[str, Any]:
    """Run one job and return its result."""
    (number,) = client.submit([job])
    return client.wait([number], timeout)[number]


def processes_with(text: str) -> list[int]:
    """Return the living processes that have ``text`` in their command line or environment."""
    wanted = text.encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            data = Path("/proc", name, "cmdline").read_bytes()
            data += Path("/proc", name, "environ").read_bytes()
        except OSError:
            continue
        if wanted in data:
            found.append(int(name))
    return found


def alive(pid: int) -> bool:
    """Whether ``pid`` exists and is not a zombie."""
    try:
        text = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return False
    return text.rsplit(")", 1)[1].split()[0] not in "ZX"


def kill(pid: int) -> None:
    """Kill a process and wait until it is gone."""
    os.kill(pid, signal.SIGKILL)
    until(lambda: not alive(pid))


def kill_both(client: Client) -> None:
    """Kill supervisor and keeper such that neither can do anything about it."""
    status = client.request("ping")
    for pid in (status["supervisor"], status["pid"]):
        os.kill(pid, signal.SIGSTOP)
    for pid in (status["supervisor"], status["pid"]):
        kill(pid)
    client.close()


def edit_database(home: Path, *statements: str) -> None:
    """Change the records of a keeper that does not run."""
    (path,) = home.glob("local/*/keeper.db")
    database = sqlite3.connect(path)
    with database:
        for statement in statements:
            database.execute(statement)
    database.close()
