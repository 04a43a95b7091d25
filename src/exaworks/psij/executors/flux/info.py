"""What an instance knows about a job, in the words of the API."""

from __future__ import annotations

import pwd
import time
from datetime import datetime
from typing import Any

from exaworks.psij.exceptions import InvalidJobException
from exaworks.psij.executors.flux.query import Found
from exaworks.psij.executors.flux.watch import our_part
from exaworks.psij.job import Job
from exaworks.psij.job_executor import JobExecutor
from exaworks.psij.job_info import JobInfo
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import JobStatus
from exaworks.psij.serialize import spec_from_dict

__all__ = ["informed_job", "user_id"]


def user_id(name: str) -> int | None:
    """The number of a user; ``None`` if there is none of that name."""
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError:
        return int(name) if name.isascii() and name.isdigit() else None


def _user_name(number: int | None) -> str | None:
    if number is None:
        return None
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _local_time(when: float | None) -> datetime | None:
    return datetime.fromtimestamp(when) if when else None


def _spec(jobspec: dict[str, Any]) -> JobSpec:
    """The specification that a job was submitted with, or as much of it as can be seen."""
    written = our_part(jobspec).get("spec")
    if written is not None:
        try:
            return spec_from_dict(written)
        except InvalidJobException:  # of another version of this package
            pass
    system = jobspec.get("attributes", {}).get("system", {})
    words = jobspec["tasks"][0]["command"]
    return JobSpec(
        words[0], words[1:], name=system.get("job", {}).get("name"), directory=system.get("cwd")
    )


def informed_job(executor: JobExecutor, text: str, found: Found) -> Job:
    """A job that carries what was found out.

    Args:
        executor: its executor.
        text: its native id.
        found: what was found.
    """
    history = found.history
    job = Job(_spec(found.jobspec))
    job._native_id, job.executor = text, executor
    status = history.job_status()
    job._status = JobStatus(JobState.HELD, status.time) if history.held else status
    system = found.jobspec.get("attributes", {}).get("system", {})
    ended = history.ended if history.ended is not None else time.time()
    job.current_info = JobInfo(
        owner=_user_name(history.userid),
        submission_time=_local_time(history.submitted),
        dispatch_time=_local_time(history.started),
        wall_time=int(ended - history.started) if history.started else 0,
        resourcelist=found.nodes,
        queue_name=system.get("queue"),
        reason=status.message or ("held" if history.held else None),
        priority=history.urgency,
    )
    return job
