"""The OAR that is there, and jobs for it."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

from exaworks.psij import Job, JobAttributes, JobExecutor, JobSpec, JobState, JobStatus
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig
from exaworks.psij.executors.oar import OarJobExecutor

SCRIPT = Path(__file__).parents[2] / "clusters" / "oar.sh"


def why_no_oar() -> str | None:
    """Why there is no OAR to use; ``None`` if there is one."""
    problem = OarJobExecutor.unusable()
    if problem is not None:
        return f"{problem} (to start one: '{SCRIPT} install', '{SCRIPT} start')"
    if os.geteuid() == 0:
        return (
            "OAR takes no jobs of root: run these tests as another user, for instance with "
            "'tests/as_user.sh exauser tests/integration/oar'"
        )
    return None


def quick(work: Path) -> JobExecutor:
    """An executor that asks often."""
    config = BatchSchedulerExecutorConfig(
        work_directory=work, queue_polling_interval=1, initial_queue_polling_delay=0.5
    )
    return JobExecutor.get_instance("oar", config=config)


def shell(text: str, **fields: Any) -> Job:
    """A job that runs a piece of shell."""
    return Job(JobSpec("/bin/sh", ["-c", text], **fields))


def custom(duration: timedelta | None = None, **attributes: object) -> JobAttributes:
    """Attributes ``oar.X``, and no time limit if none is given."""
    named = {f"oar.{name}": value for name, value in attributes.items()}
    return JobAttributes(duration, custom_attributes=named)


def essence(status: JobStatus) -> tuple[JobState, str | None, int | None]:
    """State, reason, exit code."""
    return status.state, status.reason, status.exit_code


def told(job: Job) -> dict[str, Any]:
    """What OAR says about a job."""
    words = ["oarstat", "-J", "-f", "-j", str(job.native_id)]
    answer = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(answer)[str(job.native_id)]
    return found
