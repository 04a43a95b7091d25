"""What the tests of jobs on another machine share."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable

from exaworks.psij import Job, JobState

TIMEOUT = 60.0


def elsewhere(text: str) -> str:
    """Run a command as the other user, who has another home and tcsh as the login shell."""
    words = ["runuser", "-u", "exacsh", "--", "/bin/sh", "-c", text]
    return subprocess.run(words, check=True, capture_output=True, text=True, cwd="/").stdout


def end(job: Job) -> JobState:
    """The final state of a job."""
    status = job.wait(TIMEOUT)
    assert status is not None, f"{job} has not ended"
    return status.state


def until(condition: Callable[[], object]) -> None:
    """Wait for something."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
