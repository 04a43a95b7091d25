"""The executor ``flux``: jobs in an instance of Flux, by its own protocol."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from exaworks.psij.dependencies import Resolved, resolve
from exaworks.psij.exceptions import (
    InvalidJobException,
    InvalidStateException,
    PSIJException,
    SubmitException,
)
from exaworks.psij.executors.flux.address import SYSTEM_INSTANCE, find_address
from exaworks.psij.executors.flux.config import FluxExecutorConfig
from exaworks.psij.executors.flux.far import read_environment
from exaworks.psij.executors.flux.info import informed_job, user_id
from exaworks.psij.executors.flux.jobid import job_number, native_id
from exaworks.psij.executors.flux.jobspec import (
    DEFAULT_URGENCY,
    HELD_URGENCY,
    build_jobspec,
    urgency,
)
from exaworks.psij.executors.flux.link import FluxLink
from exaworks.psij.executors.flux.messages import FluxError
from exaworks.psij.executors.flux.query import find_keys, list_active, look_up
from exaworks.psij.executors.flux.rpc import Answer, Payload, Rpc
from exaworks.psij.executors.flux.submit import (
    Order,
    refused,
    submit_by_command,
    to_json,
    wants_signature,
)
from exaworks.psij.executors.flux.task import Surroundings, make_task, utf8_only
from exaworks.psij.executors.flux.watch import lost
from exaworks.psij.executors.managed import ManagedExecutor, list_of
from exaworks.psij.job import Job
from exaworks.psij.job_executor import Rendered
from exaworks.psij.job_executor_config import JobExecutorConfig
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import JobStatus
from exaworks.psij.serialize import spec_to_dict
from exaworks.psij.validate import check_spec, resources

__all__ = ["FluxJobExecutor"]


_SCHEMES = {
    "after": "afterstart",
    "afterok": "afterok",
    "afternotok": "afternotok",
    "afterany": "afterany",
}
"""Our kinds of dependencies in Flux's words (Flux RFC 26)."""


class _Encoded(NamedTuple):
    """A job, ready to be handed over."""

    job: Job
    order: Order
    log: str | None
    waits_for: Resolved


class FluxJobExecutor(ManagedExecutor):
    """Submits jobs to an instance of Flux: that of a cluster, of a batch job, or of a user.

    It speaks to the broker's socket itself and needs nothing of Flux in this environment. Native
    ids are F58 text such as ``fKTQ4Ty``; all forms that Flux knows can be attached to.
    """

    _NAME_ = "flux"
    _VERSION_ = "0.3.0"

    def __init__(self, url: str | None = None, config: JobExecutorConfig | None = None) -> None:
        """Make an executor. Does not connect yet.

        Args:
            url: ``local:///path/of/socket`` or ``ssh://host/path/of/socket``; ``None``: the
                instance that ``FLUX_URI`` names, and without it the system instance.
            config: settings; a :class:`FluxExecutorConfig` has more of them.

        Raises:
            ValueError: ``url`` or ``FLUX_URI`` is no address of an instance.
        """
        own = config if isinstance(config, FluxExecutorConfig) else FluxExecutorConfig()
        super().__init__(url, config or own)
        self._settings = own
        self._address = find_address(url, os.environ)
        self._far_environment: dict[str, str] | None = None

    @property
    def _link(self) -> FluxLink:
        by_command = self._settings.submit_with == "command"
        return FluxLink.get(self._address, by_command, self._settings.patience)

    def _call(self, rpcs: Sequence[Rpc]) -> list_of[Answer]:
        return self._link.call(rpcs, self._settings.timeout)

    # -- submitting -----------------------------------------------------------------------------

    def _surroundings(self) -> Surroundings:
        if not self._address.remote:
            logs = str(self.config.work_directory.absolute() / "flux" / "log")
            return Surroundings(utf8_only(os.environ), os.getcwd(), logs, self._site_setup)
        if self._far_environment is None:
            self._far_environment = read_environment(self._address, self._settings.timeout)
        home = self._far_environment.get("HOME", "/")
        logs = f"{home}/.exaworks/work/flux/log"
        return Surroundings(self._far_environment, home, logs, self._site_setup)

    def _describe(
        self, job: Job, around: Surroundings, waits_for: Resolved
    ) -> tuple[dict[str, Any], int]:
        spec = check_spec(job.spec)
        task = make_task(job, self._get_launcher(spec.launcher), around)
        ours = {"id": job.id, "stage_in": bool(spec.stage_in), **_written(spec)}
        dependencies = [
            {"scheme": _SCHEMES[kind], "value": other}
            for kind, others in waits_for.native.items()
            for other in others
        ]
        jobspec = build_jobspec(spec, resources(job), task, ours, dependencies)
        return jobspec, HELD_URGENCY if waits_for.ours else urgency(spec.attributes)

    def _encode(self, job: Job, around: Surroundings) -> _Encoded:
        waits_for = resolve(job, self, _SCHEMES)
        jobspec, priority = self._describe(job, around, waits_for)
        try:
            order = Order(to_json(jobspec), priority)
        except ValueError as problem:
            raise InvalidJobException(
                f"{job} cannot be described to Flux, which takes UTF-8 only: {problem}", problem
            ) from problem
        log = None if self._address.remote else around.log(job)
        return _Encoded(job, order, log, waits_for)

    def _submit_jobs(self, jobs: Sequence[Job]) -> Mapping[Job, PSIJException]:
        failed: dict[Job, PSIJException] = {}
        around = self._surroundings()
        ready: list[_Encoded] = []
        for job in jobs:
            try:
                ready.append(self._encode(job, around))
            except PSIJException as problem:
                failed[job] = problem
            except Exception as problem:  # of whatever kind: it is the matter of this job alone
                failed[job] = InvalidJobException(
                    f"{job} cannot be submitted: {type(problem).__name__}: {problem}", problem
                )
        if self._settings.submit_with == "command":
            return {**failed, **self._submit_by_command(ready)}
        answers = self._call([self._submission(each) for each in ready])
        unsigned: list[_Encoded] = []
        for each, answer in zip(ready, answers, strict=True):
            if isinstance(answer, dict):
                continue
            if wants_signature(answer) and self._settings.submit_with == "auto":
                unsigned.append(each)
            elif each.job.native_id is None:
                failed[each.job] = refused(answer)
        return {**failed, **self._submit_by_command(unsigned)}

    def _submission(self, each: _Encoded) -> Rpc:
        def take(answer: Answer) -> None:
            if isinstance(answer, dict):
                self._take_on(each, answer["id"])

        def late(payload: Payload) -> None:
            # The caller was told that it failed, and may have submitted it again.
            link.send(_cancellation(payload["id"], "it was accepted too late"))

        link = self._link
        return Rpc("job-ingest.submit", each.order.request, take, key=each.job.id, late=late)

    def _submit_by_command(self, ready: Sequence[_Encoded]) -> Mapping[Job, PSIJException]:
        failed: dict[Job, PSIJException] = {}
        outcomes = submit_by_command(
            self._settings.flux,
            self._address.uri,
            [each.order for each in ready],
            self._settings.timeout,
        )
        link = self._link
        for each, outcome in zip(ready, outcomes, strict=True):
            if isinstance(outcome, SubmitException):
                failed[each.job] = outcome
                continue
            done = Rpc("", {})

            def begin(each: _Encoded = each, number: int = outcome, done: Rpc = done) -> None:
                self._take_on(each, number)
                done.answer({})

            link.call([done], self._settings.timeout, begin)
        return failed

    def _take_on(self, each: _Encoded, number: int) -> None:
        """Take note of an accepted job, in the reactor's thread."""
        watch = self._link.watch
        history = watch.histories.get(number)
        self._accepted(each.job, native_id(number), history.submitted if history else None)
        spec = each.job.spec
        watch.follow(
            number, self._follower(each.job, each.log), bool(spec is not None and spec.stage_in)
        )
        if each.waits_for.ours:
            self._watch_dependencies(each.job, each.waits_for.ours)

    def _follower(self, job: Job, log: str | None = None) -> Callable[[JobStatus], None]:
        def changed(status: JobStatus) -> None:
            if status.state is JobState.FAILED and log is not None and os.path.exists(log):
                status = JobStatus(
                    status.state,
                    status.time,
                    status.message,
                    status.exit_code,
                    {**(status.metadata or {}), "log": log},
                )
            self._set_job_status(job, status)

        return changed

    # -- jobs that are there --------------------------------------------------------------------

    def _attach_jobs(self, jobs: Sequence[tuple[Job, str]]) -> None:
        numbers = {job: job_number(text) for job, text in jobs}
        for job, text in jobs:
            if numbers[job] is None:
                self._set_job_status(job, lost(_no_id(text)))

        def attach() -> None:
            for job, number in numbers.items():
                if number is not None:
                    self._link.watch.attach(number, self._follower(job))

        self._link.in_reactor(attach)

    def _cancel_jobs(self, jobs: Sequence[Job]) -> None:
        answers = self._call([_cancellation(_number(job)) for job in jobs])
        for job, answer in zip(jobs, answers, strict=True):
            # Not found: it has ended meanwhile, or nobody knows it; both are no news of ours.
            if isinstance(answer, FluxError) and "inactive" in answer.message:
                continue
            if isinstance(answer, Exception):
                raise _trouble(f"cannot cancel job {job.native_id}", answer)

    def hold(self, job: Job) -> None:
        """Keep a queued job from starting until it is released.

        Raises:
            InvalidStateException: it has started or ended already.
            SubmitException: the instance does not answer.
        """
        self._set_urgency(job, HELD_URGENCY, "hold")

    def release(self, job: Job) -> None:
        """Let a held job start again.

        Raises:
            InvalidStateException: it is not held.
            SubmitException: the instance does not answer.
        """
        found = look_up(self._link, [_number(job)], self._settings.timeout)
        if not found or not found[0].history.held:
            raise InvalidStateException(f"cannot release job {job.native_id}: it is not held")
        wanted = urgency(job.spec.attributes) if job.spec is not None else DEFAULT_URGENCY
        self._set_urgency(job, wanted or DEFAULT_URGENCY, "release")

    def _set_urgency(self, job: Job, value: int, what: str) -> None:
        link, number = self._link, _number(job)

        def take(answer: Answer) -> None:
            history = link.watch.histories.get(number)
            if isinstance(answer, dict) and history is not None:
                history.urgency = value  # guests see the event a little later

        rpc = Rpc("job-manager.urgency", {"id": number, "urgency": value}, take)
        (answer,) = self._call([rpc])
        if isinstance(answer, FluxError):
            raise InvalidStateException(f"cannot {what} job {job.native_id}: {answer}")
        if isinstance(answer, Exception):
            raise _trouble(f"cannot {what} job {job.native_id}", answer)

    def list(self) -> list_of[str]:
        """The ids of this user's jobs in the instance that have not ended."""
        active = list_active(self._link, self._settings.timeout)
        return [native_id(number) for number, owner in active if owner in (None, self._link.uid)]

    def find(self, job_ids: Iterable[str]) -> dict[str, str]:
        """See :meth:`JobExecutor.find`. Asks for all jobs that the instance has not purged."""
        found = find_keys(self._link, set(job_ids), self._settings.timeout)
        return {key: native_id(number) for key, number in found.items()}

    def info(self, jobs: Sequence[Job] | None = None, owner: str | None = None) -> list_of[Job]:
        """See :meth:`JobExecutor.info`; without ``jobs``, those that have not ended."""
        if jobs is not None:
            texts = {_number(job): str(job.native_id) for job in jobs}
        else:
            wanted = user_id(owner) if owner is not None else None
            if owner is not None and wanted is None:
                return []
            texts = {
                number: native_id(number)
                for number, userid in list_active(self._link, self._settings.timeout)
                if wanted is None or userid == wanted
            }
        found = look_up(self._link, list(texts), self._settings.timeout)
        return [informed_job(self, texts[each.number], each) for each in found]

    def render(self, job: Job) -> Rendered:
        """The jobspec that would be submitted."""
        jobspec, priority = self._describe(job, self._surroundings(), Resolved())
        words = ["flux", "job", "submit"]
        if priority != DEFAULT_URGENCY:
            words.append(f"--urgency={priority}")
        return Rendered(words, json.dumps(jobspec, indent=2, ensure_ascii=False))

    @classmethod
    def unusable(cls) -> str | None:
        """See :meth:`JobExecutor.unusable`. Tries to connect, unless that needs ``ssh``."""
        try:
            address = find_address(None, os.environ)
        except ValueError as problem:
            return str(problem)
        if address.remote:
            return None
        if address.uri == SYSTEM_INSTANCE and not os.path.exists(address.path):
            return "FLUX_URI is not set, and there is no system instance of Flux on this machine"
        with socket.socket(socket.AF_UNIX) as trial:
            trial.settimeout(5.0)
            try:
                trial.connect(address.path)
                answer = trial.recv(1)
            except OSError as problem:
                return f"the Flux broker at {address.uri} does not answer: {problem}"
        return None if answer == b"\0" else f"the Flux broker at {address.uri} does not let us in"


def _written(spec: JobSpec) -> dict[str, Any]:
    """The specification for those who ask for information later, if it can be written."""
    try:
        data = spec_to_dict(spec)
        to_json(data)
    except (PSIJException, ValueError, TypeError, RecursionError):
        return {}
    return {"spec": data}


def _cancellation(number: int, note: str = "") -> Rpc:
    payload = {"id": number, "severity": 0, "type": "cancel", "note": note}
    return Rpc("job-manager.raise", payload)


def _no_id(text: str | None) -> str:
    short = text if text is None or len(text) <= 50 else f"{text[:50]}..."
    return f"{short!r} is no id of a Flux job; they look like fKTQ4Ty, or are numbers"


def _number(job: Job) -> int:
    number = None if job.native_id is None else job_number(job.native_id)
    if number is None:
        raise SubmitException(_no_id(job.native_id))
    return number


def _trouble(what: str, problem: Exception) -> SubmitException:
    if isinstance(problem, SubmitException):
        return SubmitException(f"{what}: {problem.message}", problem, problem.transient)
    return SubmitException(f"{what}: {problem}", problem)
