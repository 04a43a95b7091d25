"""The executor ``local``: jobs as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import time as clock
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from exaworks.core import config as settings
from exaworks.core.keeper.protocol import MAX_FRAME
from exaworks.psij.dependencies import Resolved, resolve
from exaworks.psij.exceptions import (
    InvalidJobException,
    InvalidStateException,
    PSIJException,
    SubmitException,
)
from exaworks.psij.executors.local import request as words
from exaworks.psij.executors.local.config import LocalExecutorConfig
from exaworks.psij.executors.local.link import LOST, KeeperLink, snapshot_time
from exaworks.psij.executors.local.pending import Refused, Reply
from exaworks.psij.executors.managed import ManagedExecutor, list_of
from exaworks.psij.job import Job
from exaworks.psij.job_executor import Rendered
from exaworks.psij.job_executor_config import JobExecutorConfig
from exaworks.psij.job_info import JobInfo
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import JobStatus, Reason
from exaworks.psij.serialize import spec_from_dict
from exaworks.psij.validate import check_spec, directory

__all__ = ["LocalJobExecutor"]

_AT_ONCE = 1000
"""Jobs in one request to the keeper."""

_BYTES_AT_ONCE = 4 * 1024 * 1024
"""Length beyond which a request takes no more jobs."""

_MAX_DIGITS = 18
"""Digits that an id of the keeper has at most (it is a signed number of 64 bits)."""


class LocalJobExecutor(ManagedExecutor):
    """Runs jobs as processes of this machine, directly and without a queue of resources.

    The processes belong to the keeper, a small process of the user's own, and outlive the program
    that submitted them. Native ids are numbers that the keeper gives. ``duration`` is enforced if
    it was given; nodes, memory and GPUs are not limited.
    """

    _NAME_ = "local"
    _VERSION_ = "0.3.0"

    def __init__(self, url: str | None = None, config: JobExecutorConfig | None = None) -> None:
        """Make an executor.

        Args:
            url: not used.
            config: settings; a :class:`LocalExecutorConfig` has more of them.
        """
        super().__init__(url, config or LocalExecutorConfig())
        own = config if isinstance(config, LocalExecutorConfig) else LocalExecutorConfig()
        self._limit = own.max_running_jobs
        self._grace = own.cancel_grace
        self._timeout = own.start_timeout
        self._home = str(settings.home())
        self._pool = os.urandom(8).hex() if self._limit is not None else None

    @property
    def _link(self) -> KeeperLink:
        return KeeperLink.get(self._home)

    def _ask(
        self,
        message: dict[str, Any] | str,
        contexts: Sequence[words.Context] = (),
        then: Callable[[Reply], None] | None = None,
    ) -> Reply:
        return self._link.request(message, self._timeout, contexts, then)

    def _submit_jobs(self, jobs: Sequence[Job]) -> Mapping[Job, PSIJException]:
        failed: dict[Job, PSIJException] = {}
        surroundings = words.Surroundings()
        part: list_of[_Encoded] = []
        size = 0
        for job in jobs:
            try:
                encoded = self._encode(job, surroundings)
            except PSIJException as problem:
                failed[job] = problem
                continue
            if part and (len(part) == _AT_ONCE or size + len(encoded.text) > _BYTES_AT_ONCE):
                failed.update(self._submit_part(part))
                part, size = [], 0
            part.append(encoded)
            size += len(encoded.text)
        if part:
            failed.update(self._submit_part(part))
        return failed

    def _encode(self, job: Job, surroundings: words.Surroundings) -> _Encoded:
        assert job.spec is not None
        try:
            context = surroundings.context(job.spec.inherit_environment)
            launcher = self._get_launcher(job.spec.launcher)
            request = words.job_request(job, launcher, context, self.config)
            request["grace"] = self._grace
            waits_for = resolve(job, self, ()) if job.spec.attributes.dependencies else None
            if waits_for:
                request["held"] = True
            if self._pool is not None:
                request["pool"], request["limit"] = self._pool, self._limit
            text = words.json_text(request)
        except PSIJException:
            raise
        except OSError as problem:
            raise SubmitException(f"{job} cannot be submitted: {problem}", problem) from problem
        except Exception as problem:  # of whatever kind: it is the matter of this job alone
            raise InvalidJobException(
                f"{job} cannot be submitted: {type(problem).__name__}: {problem}", problem
            ) from problem
        if len(text) > MAX_FRAME - 1000:
            raise InvalidJobException(
                f"{job} cannot be submitted: its description of {len(text)} bytes is too long"
            )
        return _Encoded(job, context, text, waits_for)

    def _submit_part(self, part: Sequence[_Encoded]) -> Mapping[Job, PSIJException]:
        def accepted(reply: Reply) -> None:
            now = clock.time()
            for (job, *_), number in zip(part, reply["ids"], strict=True):
                self._accepted(job, str(number), now)
                self._follow(job, number)
            known = {snapshot["id"]: snapshot for snapshot in reply["known"]}
            if known:
                self._link.catch_up(known, known.values())

        contexts = {encoded.context.id: encoded.context for encoded in part}
        texts = ",".join([encoded.text for encoded in part])
        try:
            self._ask(f'{{"op":"submit","jobs":[{texts}]}}', tuple(contexts.values()), accepted)
            for job, _, _, waits_for in part:
                if waits_for:
                    self._watch_dependencies(job, waits_for.ours)
        except PSIJException as problem:
            if not isinstance(problem, Refused) or problem.code != "invalid":
                return {job: problem for job, *_ in part if job.native_id is None}
            if len(part) == 1:
                return {part[0].job: InvalidJobException(problem.message, problem)}
            # It takes all or none; the halves show which ones it does not take.
            half = len(part) // 2
            return {**self._submit_part(part[:half]), **self._submit_part(part[half:])}
        return {}

    def _follow(self, job: Job, number: int) -> None:
        def changed(state: str, time: float, detail: dict[str, Any]) -> bool:
            status = _status(JobState[state], time, detail)
            if status.final and job.spec is not None and job.spec.launcher is not None:
                with contextlib.suppress(OSError):
                    words.nodefile(job, self.config.work_directory).unlink()
            self._set_job_status(job, status)
            return not status.final

        self._link.follow(number, changed)

    def _attach_jobs(self, jobs: Sequence[tuple[Job, str]]) -> None:
        known: list[tuple[Job, int]] = []
        for job, native_id in jobs:
            number = _number(native_id)
            if number is not None:
                known.append((job, number))
            else:
                self._set_job_status(job, _lost(_no_number(native_id)))
        for start in range(0, len(known), _AT_ONCE):
            self._attach_part(known[start : start + _AT_ONCE])

    def _attach_part(self, known: Sequence[tuple[Job, int]]) -> None:
        def found(reply: Reply) -> None:
            for (job, number), snapshot in zip(known, reply["snapshots"], strict=True):
                if snapshot is None:
                    self._set_job_status(job, _lost(LOST))
                    continue
                state = JobState[snapshot["state"]]
                status = _status(state, snapshot_time(snapshot), snapshot)
                self._set_job_status(job, status)
                if not state.final:
                    self._follow(job, number)

        numbers = [number for _, number in known]
        self._ask({"op": "watch", "ids": numbers, "meta": False}, then=found)

    def _cancel_jobs(self, jobs: Sequence[Job]) -> None:
        self._ask({"op": "cancel", "ids": _numbers(jobs), "grace": self._grace})

    def list(self) -> list_of[str]:
        """The ids of all jobs of this user on this machine that have not ended."""
        return [str(s["id"]) for s in self._snapshots({"live": True}, meta=False)]

    def hold(self, job: Job) -> None:
        """Keep a queued job from starting until it is released.

        Raises:
            InvalidStateException: it has started or ended already.
        """
        self._each("hold", job)

    def release(self, job: Job) -> None:
        """Let a held job start again.

        Raises:
            InvalidStateException: it is not held.
        """
        self._each("release", job)

    def _each(self, operation: str, job: Job) -> None:
        reply = self._ask({"op": operation, "ids": _numbers([job])})
        problem = reply["results"][0]
        if problem is not None:
            raise InvalidStateException(f"cannot {operation} job {job.native_id}: {problem}")

    def find(self, job_ids: Iterable[str]) -> dict[str, str]:
        """See :meth:`JobExecutor.find`."""
        return {s["key"]: str(s["id"]) for s in self._snapshots({"keys": list(job_ids)}, False)}

    def info(self, jobs: Sequence[Job] | None = None, owner: str | None = None) -> list_of[Job]:
        """See :meth:`JobExecutor.info`; without ``jobs``, those that have not ended."""
        if jobs is not None:
            snapshots = self._snapshots({"ids": _numbers(jobs)})
        elif owner is not None and owner != _user():
            return []
        else:
            snapshots = self._snapshots({"live": True})
        return [self._informed(snapshot) for snapshot in snapshots]

    def _snapshots(self, query: dict[str, Any], meta: bool = True) -> list_of[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            reply = self._ask({"op": "list", "meta": meta, **query})
            part = reply["snapshots"]
            found += part
            if "live" in query:
                if not part:
                    return found
                query = {**query, "before": part[-1]["id"]}
            elif reply["rest"]:
                query = {"ids": reply["rest"]}
            else:
                return found

    def _informed(self, snapshot: dict[str, Any]) -> Job:
        job = Job(spec_from_dict(snapshot["meta"]) if snapshot.get("meta") else None)
        job._native_id, job.executor = snapshot["id"], self
        held = snapshot.get("held") and snapshot["state"] == "QUEUED"
        state = JobState.HELD if held else JobState[snapshot["state"]]
        job._status = _status(state, snapshot_time(snapshot), snapshot)
        began = snapshot.get("active") or snapshot.get("started")
        ended = snapshot.get("ended") or clock.time()
        job.current_info = JobInfo(
            owner=_user(),
            submit_host=socket.gethostname(),
            submission_time=_local_time(snapshot.get("submitted")),
            dispatch_time=_local_time(began),
            wall_time=int(ended - began) if began else 0,
            cpu_time=round(snapshot["cpu"]) if snapshot.get("cpu") is not None else None,
            resourcelist="localhost" if began else None,
            max_memory=snapshot.get("maxrss") or None,
            reason=snapshot.get("message"),
        )
        return job

    def render(self, job: Job) -> Rendered:
        """The command that would be started, with its script if it needs one."""
        spec = check_spec(job.spec)
        launcher = self._get_launcher(spec.launcher)
        context = words.Surroundings().context(spec.inherit_environment)
        variables = {**context.variables, **words.environment(spec, context.variables)}
        cwd = str(directory(spec) or os.getcwd())
        return Rendered(*words.shown(words.phases(job, launcher, cwd, variables)))


class _Encoded(NamedTuple):
    """A job as text for the keeper."""

    job: Job
    context: words.Context
    text: str
    waits_for: Resolved | None


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # as in a container
        return str(os.getuid())


def _number(native_id: str) -> int | None:
    """The keeper's number of a job; None if ``native_id`` is none that it can have given."""
    if native_id.isascii() and native_id.isdigit() and len(native_id) <= _MAX_DIGITS:
        return int(native_id)
    return None


def _no_number(native_id: str | None) -> str:
    short = native_id if native_id is None or len(native_id) <= 50 else f"{native_id[:50]}..."
    return f"{short!r} is no id of a local job; they are numbers of up to {_MAX_DIGITS} digits"


def _numbers(jobs: Sequence[Job]) -> list[int]:
    numbers = []
    for job in jobs:
        number = None if job.native_id is None else _number(job.native_id)
        if number is None:
            raise SubmitException(_no_number(job.native_id))
        numbers.append(number)
    return numbers


def _local_time(time: float | None) -> datetime | None:
    return datetime.fromtimestamp(time) if time else None


def _lost(message: str) -> JobStatus:
    return JobStatus(JobState.FAILED, message=message, metadata={"reason": Reason.LOST})


_REASONS = {
    "cancel": Reason.CANCELED,
    "exit": Reason.EXIT_CODE,
    "launch": Reason.LAUNCH,
    "lost": Reason.LOST,
    "signal": Reason.SIGNAL,
    "staging": Reason.STAGING,
    "timeout": Reason.TIMEOUT,
}


def _status(state: JobState, time: float, detail: Mapping[str, Any]) -> JobStatus:
    """The status that an event or a snapshot of the keeper tells of."""
    if not state.final:
        return JobStatus(state, time)
    metadata: dict[str, Any] = {}
    if detail.get("reason"):
        metadata["reason"] = _REASONS[detail["reason"]]
    if detail.get("signal"):
        metadata["signal"] = detail["signal"]
    if detail.get("active"):
        metadata["started"] = detail["active"]
    return JobStatus(state, time, detail.get("message"), detail.get("exit_code"), metadata or None)
