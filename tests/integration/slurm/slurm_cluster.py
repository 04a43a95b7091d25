"""Finding the Slurm that is there, and starting one of our own."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "clusters" / "slurm.sh"


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
            timeout=280,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}"
        return done.stdout

    def purge(self) -> None:
        """Stop it and remove all its files."""
        self("purge")
