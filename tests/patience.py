"""Waiting for jobs, and for things that do not tell when they happen."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

from exaworks.psij import Job, JobStatus

__all__ = ["TIMEOUT", "end", "output", "until"]

T = TypeVar("T")

TIMEOUT = 120.0


def end(job: Job, timeout: float = TIMEOUT) -> JobStatus:
    """The final status of a job."""
    status = job.wait(timeout)
    assert status is not None, f"{job} has not ended after {timeout} s"
    return status


def until(condition: Callable[[], T], timeout: float = TIMEOUT) -> T:
    """Wait until a condition holds, and return its value; fails the test if it never does."""
    limit = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < limit, f"waited {timeout} s in vain for {condition}"
        time.sleep(0.01)
    return value


def output(*command: str) -> str:
    """What a command prints."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout
