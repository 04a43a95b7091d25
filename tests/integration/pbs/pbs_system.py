"""Finding the PBS that is there."""

from __future__ import annotations

import functools
import shutil
import subprocess
from pathlib import Path

from exaworks.psij import Job, JobExecutor, JobSpec
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig


@functools.cache
def why_no_pbs() -> str | None:
    """Why there is no PBS to use; ``None`` if there is one."""
    missing = [name for name in ("qstat", "pbsnodes", "qsub") if shutil.which(name) is None]
    if missing:
        return f"there is no PBS here ({', '.join(missing)} not in PATH)"
    try:
        done = subprocess.run(["qstat", "-B", "-f"], capture_output=True, text=True, timeout=30)
    except subprocess.TimeoutExpired:
        return "qstat does not answer"
    if "Server:" not in done.stdout:
        return f"qstat is not that of PBS, or fails: {(done.stderr or done.stdout).strip()[:200]}"
    return None


@functools.cache
def which() -> str:
    """The name of the executor for the PBS that is there."""
    done = subprocess.run(["qstat", "--version"], capture_output=True, text=True, timeout=30)
    return "pbspro" if "pbs_version" in done.stdout + done.stderr else "pbs_classic"


def is_pro() -> bool:
    """Whether it is PBS Pro or OpenPBS."""
    return why_no_pbs() is None and which() == "pbspro"


def make_executor(work: Path, **settings: object) -> JobExecutor:
    """An executor that asks often."""
    settings = {"queue_polling_interval": 2, "initial_queue_polling_delay": 1, **settings}
    config = BatchSchedulerExecutorConfig(work_directory=work, **settings)  # type: ignore[arg-type]
    return JobExecutor.get_instance(which(), config=config)


def shell(text: str, **fields: object) -> Job:
    """A job that runs a piece of shell."""
    return Job(JobSpec("/bin/sh", ["-c", text], **fields))  # type: ignore[arg-type]
