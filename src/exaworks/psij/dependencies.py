"""Jobs that wait for other jobs.

A dependency is kept by the scheduler where it can be: between jobs of one executor, if the
scheduler knows that kind. Otherwise the job is submitted in a held state, and this process
releases it when its time has come.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from exaworks.psij import delivery
from exaworks.psij.exceptions import InvalidJobException, InvalidJobTypeException, PSIJException
from exaworks.psij.job import Job
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import JobStatus

if TYPE_CHECKING:
    from exaworks.psij.executors.managed import ManagedExecutor

__all__ = ["KINDS", "Gate", "Resolved", "parse", "resolve"]

logger = logging.getLogger(__name__)

KINDS: Final = ("after", "afterok", "afternotok", "afterany")
"""When a job may start: as soon as the other one has begun, has succeeded, has not succeeded, or
has ended in whatever way."""

_RETRY_AFTER = 5.0


def parse(text: str) -> dict[str, list[Job | str]]:
    """Read dependencies as Slurm and PBS write them: ``"afterok:12:13,afterany:14"``.

    Raises:
        ValueError: it is something else.
    """
    found: dict[str, list[Job | str]] = {}
    for part in text.split(","):
        kind, *ids = (word.strip() for word in part.split(":"))
        if kind not in KINDS or not ids or not all(ids):
            raise ValueError(
                f"{part!r} is no dependency; write KIND:ID or KIND:ID:ID, with one of the kinds "
                f"{', '.join(KINDS)}"
            )
        found.setdefault(kind, []).extend(ids)
    return found


def check(dependencies: Any) -> None:
    """Check what :attr:`JobAttributes.dependencies` holds.

    Raises:
        InvalidJobException: it cannot be understood.
    """
    if dependencies is None:
        return
    if not isinstance(dependencies, Mapping):
        raise InvalidJobTypeException(
            f"attributes.dependencies must be a dict such as {{'afterok': [job]}}, "
            f"not {dependencies!r}"
        )
    for kind, jobs in dependencies.items():
        if kind not in KINDS:
            raise InvalidJobException(
                f"attributes.dependencies has the kind {kind!r}; there are: {', '.join(KINDS)}"
            )
        if isinstance(jobs, (str, Job)) or not isinstance(jobs, Iterable):
            raise InvalidJobTypeException(
                f"attributes.dependencies[{kind!r}] must be a list of jobs, not {jobs!r}"
            )
        for job in jobs:
            if not isinstance(job, Job) and not (isinstance(job, str) and job):
                raise InvalidJobTypeException(
                    f"attributes.dependencies[{kind!r}] must hold jobs or native ids, not {job!r}"
                )
            if isinstance(job, Job) and job.native_id is None:
                raise InvalidJobException(
                    f"attributes.dependencies[{kind!r}] contains {job}, which was not submitted: "
                    "submit it first"
                )


def _verdict(kind: str, status: JobStatus) -> bool | None:
    """Whether a job may start because of another one; ``None``: that is not known yet."""
    state = status.state
    if kind == "after":
        return True if state.is_greater_than(JobState.QUEUED) and state.name != "HELD" else None
    if not state.final:
        return None
    if kind == "afterok":
        return state is JobState.COMPLETED
    if kind == "afternotok":
        return state is not JobState.COMPLETED
    return True


def _never(kind: str, job: Job, status: JobStatus) -> str:
    return f"it was to start {kind} job {job.native_id}, which is {status.state.name}"


@dataclass
class Resolved:
    """What a job waits for.

    Attributes:
        native: native ids by kind, for the scheduler to keep.
        ours: the others, for a :class:`Gate`.
    """

    native: dict[str, list[str]] = field(default_factory=dict)
    ours: list[tuple[str, Job]] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.native or self.ours)


def resolve(
    job: Job, executor: ManagedExecutor, kinds: Collection[str], attach: bool = True
) -> Resolved:
    """Find out what a checked job still waits for, and who keeps that.

    Args:
        job: the job.
        executor: the executor that it is submitted to.
        kinds: the kinds of dependencies that its scheduler keeps.
        attach: find out about jobs that are given by their ids.

    Raises:
        InvalidJobException: the job can never start.
    """
    found = Resolved()
    assert job.spec is not None
    for kind, others in (job.spec.attributes.dependencies or {}).items():
        for other in others:
            if isinstance(other, str):
                if kind in kinds:
                    found.native.setdefault(kind, []).append(other)
                    continue
                attached = Job()
                if attach:
                    executor.attach(attached, other)
                found.ours.append((kind, attached))
                continue
            status = other.status
            verdict = _verdict(kind, status)
            if verdict is False:
                raise InvalidJobException(f"{job} can never start: {_never(kind, other, status)}")
            if verdict:
                continue
            if kind in kinds and _same_place(other.executor, executor):
                found.native.setdefault(kind, []).append(str(other.native_id))
            else:
                found.ours.append((kind, other))
    return found


def _same_place(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one.url == other.url


class Gate(delivery.Watcher):
    """Lets a held job start, or ends it, as soon as it is clear which."""

    def __init__(
        self,
        job: Job,
        conditions: Iterable[tuple[str, Job]],
        executor: ManagedExecutor,
        run: Callable[[Callable[[], None]], None],
        later: Callable[[float, Callable[[], None]], object],
    ) -> None:
        """Begin to watch; the job was submitted and is held.

        Args:
            job: the job.
            conditions: what it waits for.
            executor: its executor.
            run: runs something in a thread that may block.
            later: calls something after so many seconds.
        """
        super().__init__()
        self._job = job
        self._executor = executor
        self._run, self._later = run, later
        self._kinds: dict[Job, set[str]] = {}
        for kind, other in conditions:
            self._kinds.setdefault(other, set()).add(kind)
        self._lock = threading.Lock()
        self._done = False
        if not self._kinds:
            self._decide(None)
        for other in list(self._kinds):
            delivery.watch(other, self)

    def see(self, job: Job, status: JobStatus) -> bool:
        """See :meth:`Watcher.see`."""
        with self._lock:
            if self._done:
                return True
            kinds = self._kinds.get(job, set())
            verdicts = {kind: _verdict(kind, status) for kind in kinds}
            impossible = [kind for kind, verdict in verdicts.items() if verdict is False]
            kinds.difference_update(kind for kind, verdict in verdicts.items() if verdict)
            if impossible:
                self._decide(_never(impossible[0], job, status))
            elif not kinds:
                self._kinds.pop(job, None)
                if not self._kinds:
                    self._decide(None)
            return not kinds or self._done

    def _decide(self, reason: str | None) -> None:
        self._done = True
        self._run(lambda: self._act(reason))

    def _act(self, reason: str | None) -> None:
        if self._job.status.final:
            return
        try:
            if reason is None:
                self._executor.release(self._job)
            else:
                self._executor._cancel_because(self._job, reason)
        except PSIJException as problem:
            logger.warning(
                "%s cannot be %s: %s. It will be tried again.",
                self._job,
                "released" if reason is None else "cancelled",
                problem.message,
            )
            self._later(_RETRY_AFTER, lambda: self._run(lambda: self._act(reason)))
