"""The executor ``local``: jobs as processes of this machine."""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
import time as clock
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from exaworks.core import config as settings
from exaworks.psij.exceptions import InvalidStateException, PSIJException, SubmitException
from exaworks.psij.executors.local import request as words
from exaworks.psij.executors.local.config import LocalExecutorConfig
from exaworks.psij.executors.local.link import LOST, KeeperLink, Reply, snapshot_time
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

_AT_ONCE = 1000  # jobs in one request to the keeper


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
        self._home = settings.home()
        self._pool = os.urandom(8).hex() if self._limit is not None else None
        self._surroundings = words.Surroundings()

    @property
    def _link(self) -> KeeperLink:
        return KeeperLink.get(self._home, self._timeout)

    def _submit_jobs(self, jobs: Sequence[Job]) -> Mapping[Job, PSIJException]:
        failed: dict[Job, PSIJException] = {}
        for start in range(0, len(jobs), _AT_ONCE):
            part = jobs[start : start + _AT_ONCE]
            try:
                self._submit_part(part)
            except PSIJException as problem:
                failed.update((job, problem) for job in part if job.native_id is None)
        return failed

    def _submit_part(self, jobs: Sequence[Job]) -> None:
        contexts: dict[str, words.Context] = {}
        requests = []
        for job in jobs:
            assert job.spec is not None
            context = self._surroundings.context(job.spec.inherit_environment)
            contexts[context.id] = context
            requests.append(self._request(job, context))

        def accepted(reply: Reply) -> None:
            now = clock.time()
            for job, number in zip(jobs, reply["ids"], strict=True):
                self._accepted(job, str(number), now)
                self._follow(job, number)
            known = {snapshot["id"]: snapshot for snapshot in reply["known"]}
            self._link.catch_up(known, known.values())

        self._link.request({"op": "submit", "jobs": requests}, contexts.values(), accepted)

    def _request(self, job: Job, context: words.Context) -> dict[str, Any]:
        assert job.spec is not None
        launcher = self._get_launcher(job.spec.launcher)
        request = words.job_request(job, launcher, context, self.config)
        request["grace"] = self._grace
        if self._pool is not None:
            request["pool"], request["limit"] = self._pool, self._limit
        return request

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
            if native_id.isascii() and native_id.isdigit():
                known.append((job, int(native_id)))
            else:
                message = f"{native_id!r} is no id of a local job; they are numbers"
                self._set_job_status(job, _lost(message))
        if not known:
            return

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

        self._link.request({"op": "watch", "ids": [number for _, number in known]}, then=found)

    def _cancel_jobs(self, jobs: Sequence[Job]) -> None:
        self._link.request({"op": "cancel", "ids": _numbers(jobs), "grace": self._grace})

    def list(self) -> list_of[str]:
        """The ids of all jobs of this user on this machine that have not ended."""
        return [str(s["id"]) for s in self._snapshots({"live": True})]

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
        reply = self._link.request({"op": operation, "ids": _numbers([job])})
        problem = reply["results"][0]
        if problem is not None:
            raise InvalidStateException(f"cannot {operation} job {job.native_id}: {problem}")

    def find(self, job_ids: Iterable[str]) -> dict[str, str]:
        """See :meth:`JobExecutor.find`."""
        return {s["key"]: str(s["id"]) for s in self._snapshots({"keys": list(job_ids)})}

    def info(self, jobs: Sequence[Job] | None = None, owner: str | None = None) -> list_of[Job]:
        """See :meth:`JobExecutor.info`; without ``jobs``, those that have not ended."""
        if jobs is not None:
            snapshots = self._snapshots({"ids": _numbers(jobs)})
        elif owner is not None and owner != _user():
            return []
        else:
            snapshots = self._snapshots({"live": True})
        return [self._informed(snapshot) for snapshot in snapshots]

    def _snapshots(self, query: dict[str, Any]) -> list_of[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while True:
            part = self._link.request({"op": "list", **query})["snapshots"]
            found += part
            if not part or "ids" in query or "keys" in query:
                return found
            query = {**query, "before": part[-1]["id"]}

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
        context = self._surroundings.context(spec.inherit_environment)
        variables = {**context.variables, **words.environment(spec, context.variables)}
        cwd = str(directory(spec) or os.getcwd())
        steps = words.phases(job, launcher, cwd, variables)
        if len(steps) == 1 and steps[0]["stdio"]:
            return Rendered(steps[0]["argv"])
        scripts = [f"# {step['state']}\n{step['argv'][-1]}" for step in steps]
        return Rendered(["/bin/sh", "-c"], "\n".join(scripts))


def _user() -> str:
    return getpass.getuser()


def _numbers(jobs: Sequence[Job]) -> list[int]:
    numbers = []
    for job in jobs:
        native_id = job.native_id
        if native_id is None or not (native_id.isascii() and native_id.isdigit()):
            raise SubmitException(f"{native_id!r} is no id of a local job; they are numbers")
        numbers.append(int(native_id))
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
