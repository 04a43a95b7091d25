"""Finding the Slurm that is there, and starting one of our own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from exaworks.psij import Job, JobStatus

SCRIPT = Path(__file__).parents[2] / "clusters" / "slurm.sh"
TIMEOUT = 90.0


def why_no_slurm() -> str | None:
    """Why there is no Slurm to use; ``None`` if there is one."""
    if shutil.which("sinfo") is None:
        return f"there is no Slurm here: run '{SCRIPT} install' and '{SCRIPT} start'"
    try:
        done = subprocess.run(["sinfo"], capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired:
        return "sinfo does not answer"
    if done.returncode != 0:
        return f"sinfo fails: {done.stderr.strip()} (to start a cluster: '{SCRIPT} start')"
    return None


def why_no_own_cluster() -> str | None:
    """Why we cannot start a cluster; ``None`` if we can."""
    if os.geteuid() != 0:
        return "only root can start a Slurm cluster to break"
    if shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") is None:
        return f"slurmctld is not installed: run '{SCRIPT} install'"
    return None


class Cluster:
    """A cluster of our own, in a folder of its own."""

    def __init__(self, port: int, **settings: object) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="exaworks-slurm-", dir="/tmp"))
        self.root.chmod(0o755)
        self._environment = {
            **os.environ,
            "SLURM_ROOT": str(self.root),
            "SLURM_PORT": str(port),
            **{f"SLURM_{name}": str(value) for name, value in settings.items()},
        }
        self.conf = str(self.root / "etc" / "slurm.conf")

    def __call__(self, *words: str) -> str:
        """Run the cluster script."""
        done = subprocess.run(
            [str(SCRIPT), *words],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}"
        return done.stdout

    def purge(self) -> None:
        """Stop it and remove all its files."""
        self("purge")


def end(job: Job, timeout: float = TIMEOUT) -> JobStatus:
    """The final status of a job."""
    status = job.wait(timeout)
    assert status is not None, f"{job} has not ended after {timeout} s"
    return status


def until(condition: Callable[[], object], timeout: float = TIMEOUT) -> None:
    """Wait for something that does not tell when it happens."""
    limit = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < limit, f"not within {timeout} s"
        time.sleep(0.05)


def output(*command: str) -> str:
    """What a command prints."""
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
