"""A remembered job."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from exaworks.psij import JobSpec

__all__ = [
    "FINAL",
    "SUBMITTING",
    "UNKNOWN",
    "Record",
    "display",
    "stream_path",
    "this_place",
    "this_process",
]

SUBMITTING: Final = "SUBMITTING"
"""The job is being handed over by a process that still runs."""
UNKNOWN: Final = "UNKNOWN"
"""The process that was handing the job over ended before it learned of the answer."""
FINAL: Final = ("COMPLETED", "FAILED", "CANCELED")


def this_place() -> str:
    """This machine; inside a batch job, that as well, as in ``node1/4711``.

    Jobs of the executor ``local`` belong to such a place: a batch job has a keeper of its own,
    which counts its jobs from 1 and ends with the batch job.
    """
    from exaworks.core.keeper.scope import batch_job

    job = batch_job(os.environ)
    return f"{socket.gethostname()}/{job}" if job else socket.gethostname()


def _start_time(pid: int) -> str:
    """When a process was started, in the kernel's own unit; empty if that cannot be known.

    Source: proc(5), /proc/pid/stat, field 22. The name in field 2 may contain anything.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return ""
    return stat.rpartition(b")")[2].split()[19].decode()


def this_process() -> str:
    """What tells this process from others of this machine, also of the same pid."""
    return f"{os.getpid()}:{_start_time(os.getpid())}"


def _runs(process: str) -> bool:
    pid, _, start = process.partition(":")
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return _start_time(int(pid)) == start


def display(text: str) -> str:
    """Text that can be stored and printed: bytes that are no UTF-8 are written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def stream_path(spec: JobSpec, which: str) -> Path | None:
    """The file that ``"stdout"`` or ``"stderr"`` of a job goes to, if that can be known."""
    path: Path | None = getattr(spec, f"{which}_path")
    if path is None:
        return None
    for item in spec.stage_out:
        if item.source == path and item.target.is_local:
            return Path(item.target.path)
    path = path.expanduser()
    if not path.is_absolute() and spec.directory is None:
        return None
    return (spec.directory or Path()).expanduser() / path


@dataclass(frozen=True)
class Record:
    """What is remembered of a job.

    Attributes:
        id: a short number, for people.
        uuid: the :attr:`exaworks.psij.Job.id` under which it was submitted.
        native_id: the executor's id; ``None`` until the job was accepted.
        executor: the name of the executor.
        url: the executor's location, if it has one.
        work_directory: the executor's folder for its own records.
        place: where it was submitted from, see :func:`this_place`.
        submitter: the process that submitted it.
        name: to show; the specification has the exact one.
        spec: the specification as JSON.
        submitted: when, in seconds since the epoch; so are the other times.
        state: the last known state.
        changed: when it entered that state.
        started: when it began to run.
        ended: when it ended.
        exit_code: as in :class:`exaworks.psij.JobStatus`.
        reason: a value of :class:`exaworks.psij.Reason`.
        message: the explanation that came with the state.
        metadata: further facts that came with the state.
    """

    id: int
    uuid: str
    native_id: str | None
    executor: str
    url: str | None
    work_directory: str | None
    place: str
    submitter: str
    name: str
    spec: str
    submitted: float
    state: str
    changed: float
    started: float | None = None
    ended: float | None = None
    exit_code: int | None = None
    reason: str | None = None
    message: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def final(self) -> bool:
        """Whether the job has ended, as far as is known."""
        return self.state in FINAL

    @cached_property
    def shown_state(self) -> str:
        """The state to show: the last known one, or ``UNKNOWN``."""
        if self.state == SUBMITTING and self.host == socket.gethostname():
            return self.state if _runs(self.submitter) else UNKNOWN
        return self.state

    @property
    def host(self) -> str:
        """The machine it was submitted from."""
        return self.place.partition("/")[0]

    @property
    def signal(self) -> int | None:
        """The number of the signal that ended the job, or ``None``."""
        value = self.metadata.get("signal")
        return value if isinstance(value, int) else None

    @property
    def job_spec(self) -> JobSpec:
        """The specification."""
        from exaworks.psij import JSONSerializer

        return JSONSerializer().loads(self.spec)

    def stream(self, which: str) -> Path | None:
        """The file that ``"stdout"`` or ``"stderr"`` of the job goes to, if it is kept."""
        return stream_path(self.job_spec, which)

    @property
    def run_time(self) -> float | None:
        """Seconds it has run, or ran; ``None`` if that is not known."""
        if self.started is None:
            return None
        return max(0.0, (time.time() if self.ended is None else self.ended) - self.started)

    @property
    def title(self) -> str:
        """How to name it in a message: number, and the executor's id."""
        native = f" ({self.executor} {self.native_id})" if self.native_id else ""
        return f"job {self.id}{native}"
