"""The watcher of the jobs of one scheduler and one work folder, shared by executors.

It drives a :class:`~exaworks.psij.executors.batch.monitor.Monitor`: timers run in the reactor's
thread, commands of the scheduler in worker threads. The monitor is only touched by the reactor's
thread.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from exaworks.core.reactor import Reactor, Timer
from exaworks.psij.executors.batch.adapter import Answer, SchedulerAdapter, Site
from exaworks.psij.executors.batch.monitor import Actions, Monitor, Update
from exaworks.psij.executors.batch.report import Report
from exaworks.psij.executors.batch.spool import Spool
from exaworks.psij.executors.batch.verdict import Findings
from exaworks.psij.executors.batch.workers import Workers
from exaworks.psij.job import Job
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import JobStatus, Reason
from exaworks.psij.runner import Command, CommandResult, LocalRunner, Runner

__all__ = ["Service", "Tracking"]

logger = logging.getLogger(__name__)

_SLOWER_IF_QUIET = 2.5
_LOOK_AGAIN_AFTER = 5.0
_TRANSFERS_AT_A_TIME = 2
_CLOSE_PATIENCE = 5.0
_QUIET_AFTER = 120.0
_END_OF_LOG = 4096
_MOST_COMPLAINTS = 100


@dataclass(slots=True)
class Tracking:
    """How a job is to be followed.

    Attributes:
        job: the job.
        native_id: the scheduler's id.
        interval: the least seconds between two queries, as far as this job is concerned.
        delay: seconds until the first query about it.
        announce: told of each new status.
        token: what the job calls itself in its reports; ``None`` if it does not report to us.
        log: the file that its script prints to; ``None`` if only the job's record tells.
        downloads: where to put, on this machine, what the job leaves for its owner.
        moved: files of this machine that are to be gone when the job has succeeded.
    """

    job: Job
    native_id: str
    interval: float
    delay: float
    announce: Callable[[Job, JobStatus], None]
    token: str | None = None
    log: str | None = None
    downloads: Sequence[str] = ()
    moved: Sequence[str] = ()


class Service:
    """Watches jobs. Methods may be called from any thread."""

    _services: ClassVar[dict[Any, Service]] = {}
    _services_lock = threading.Lock()

    def __init__(self, adapter: SchedulerAdapter, runner: Runner, spool: Spool) -> None:
        self.adapter = adapter
        self.runner = runner
        self.spool = spool
        self._monitor = Monitor(adapter.title)
        self._tracked: dict[Job, Tracking] = {}
        self._by_report: dict[tuple[str, str], Job] = {}
        self._expected: dict[str, list[Report]] = {}
        self._temporary: dict[str, tuple[list[str], int]] = {}
        self._timer: Timer | None = None
        self._poll_timer: Timer | None = None
        self._last_news = time.monotonic()
        self._site: Site | None = None
        self._site_lock = threading.Lock()
        self.site_problem = ""
        self._prepared = False
        self._complained: set[str] = set()
        self._transfers = Workers(most=_TRANSFERS_AT_A_TIME)
        self._lock = threading.Lock()
        self._ended = threading.Condition()
        self._end_count = 0
        self._in_queue = 0

    @property
    def cwd(self) -> str:
        """Where jobs run that name no directory."""
        return os.getcwd() if self.runner.host is None else self.runner.home()

    @classmethod
    def get(cls, key: Any, make: Callable[[], Service]) -> Service:
        """The service of that key in this process; made if there is none yet."""
        with cls._services_lock:
            if key not in cls._services:
                if not cls._services:
                    atexit.register(cls._close_all)
                cls._services[key] = make()
            return cls._services[key]

    @classmethod
    def _forget_after_fork(cls) -> None:
        cls._services_lock = threading.Lock()
        cls._services = {}
        atexit.unregister(cls._close_all)

    @classmethod
    def _close_all(cls) -> None:
        for service in cls._services.values():
            if service._prepared:
                closing = threading.Thread(target=service._close, daemon=True)
                closing.start()
                closing.join(_CLOSE_PATIENCE)  # what is left is swept away some day

    def _close(self) -> None:
        with contextlib.suppress(OSError):
            self.spool.close()

    def prepare(self) -> None:
        """Make the work folder, once, and clear it of what is very old."""
        with self._lock:
            if self._prepared:
                return
            self.spool.prepare()
            self._prepared = True
        Workers.get().run(self.site)
        Workers.get().run(self._sweep)

    def _sweep(self) -> None:
        with contextlib.suppress(OSError):
            self.spool.sweep()

    def site(self) -> Site | None:
        """Facts about the installation. Blocks until it has answered once.

        Returns:
            ``None`` if it does not answer; then ``site_problem`` says why.
        """
        with self._site_lock:
            if self._site is None:
                self._site = self._ask_site()
            return self._site

    def _ask_site(self) -> Site | None:
        result = self.runner.run(self.adapter.site_command())
        site = self.adapter.parse_site(result)
        if site is None:
            rejected = self.adapter.parse_request(result)
            self.site_problem = rejected.message if rejected else result.complaint()
        elif site.requeue_codes:
            Reactor.get().call_soon(
                lambda: setattr(self._monitor, "requeue_codes", site.requeue_codes)
            )
        return site

    def remove(self, files: Sequence[str]) -> None:
        """Remove files, if that can be done now; else they are swept away some day."""
        with contextlib.suppress(OSError):
            self.runner.remove(files)

    def make_void(self, token: str) -> None:
        """See to it that a submission does not run, if the scheduler should have taken it.

        If the machine cannot be reached at present, that is done when it can be.
        """
        try:
            self.runner.write(self.spool.path("void", token), b"")
        except OSError:
            Reactor.get().call_later(
                _LOOK_AGAIN_AFTER, lambda: Workers.get().run(lambda: self.make_void(token))
            )

    # -- following jobs

    def expect(self, token: str) -> None:
        """Jobs of that submission may report before the scheduler has told their ids."""
        with self._lock:
            self._expected[token] = []
        Reactor.get().call_soon(self._start_polling)

    def early_reports(self, token: str) -> list[Report]:
        """What jobs of that submission have reported so far."""
        others: list[Report] = []
        with contextlib.suppress(OSError):
            reports = self.spool.take_reports()
            others = [report for report in reports if report.token != token]
            with self._lock:
                known = self._expected.setdefault(token, [])
                known += [report for report in reports if report.token == token]
        Reactor.get().call_soon(lambda: self._take_reports(others))
        with self._lock:
            return list(self._expected.get(token, []))

    def expect_no_more(self, token: str) -> None:
        """That submission was not accepted."""
        with self._lock:
            self._expected.pop(token, None)

    def follow(self, jobs: Sequence[Tracking], files: Sequence[str] = ()) -> None:
        """Watch jobs until they have ended.

        Args:
            jobs: the jobs; all of one submission, or none of this process's.
            files: files to remove when all of them have ended.
        """
        Reactor.get().call_soon(lambda: self._follow(jobs, files))

    def cancel_requested(self, jobs: Iterable[Job]) -> None:
        """The scheduler has taken a request of ours to cancel jobs."""
        some = list(jobs)
        self._in_reactor(lambda now: self._monitor.cancel_requested(now, some))

    def followed(self) -> list[str]:
        """The native ids of the jobs that are being watched."""
        return [tracking.native_id for tracking in list(self._tracked.values())]

    def states(self) -> dict[str, JobState]:
        """The states of the jobs that are being watched, by native id."""
        return {each.native_id: each.job.status.state for each in list(self._tracked.values())}

    def wait_for_end(self, seen: int, timeout: float) -> int:
        """Wait until more than ``seen`` jobs have ended, or for ``timeout`` seconds.

        Returns:
            how many have ended.
        """
        with self._ended:
            self._ended.wait_for(lambda: self._end_count != seen, timeout)
            return self._end_count

    def reserve(self, count: int, limit: int | None, wait: bool) -> bool:
        """Take places in the queue for jobs that are to be submitted.

        Args:
            count: how many.
            limit: how many there are; ``None``: no limit.
            wait: wait until there are enough.

        Returns:
            whether they were taken. They are given back by the jobs' ends, or with
            :meth:`give_back`.
        """
        with self._ended:
            while limit is not None and self._in_queue + count > max(limit, count):
                if not wait:
                    return False
                self._ended.wait()
            self._in_queue += count
            return True

    def give_back(self, count: int) -> None:
        """The scheduler has not taken the jobs."""
        with self._ended:
            self._in_queue -= count
            self._ended.notify_all()

    def _in_reactor(self, act: Callable[[float], None]) -> None:
        def run() -> None:
            act(time.monotonic())
            self._step()

        Reactor.get().call_soon(run)

    def _follow(self, jobs: Sequence[Tracking], files: Sequence[str]) -> None:
        now = time.monotonic()
        early: list[Report] = []
        for each in jobs:
            self._tracked[each.job] = each
            self._monitor.track(
                now, each.job, each.native_id, each.interval, each.delay, each.token
            )
            if each.token is not None:
                name = self.adapter.record_name(each.native_id)[1]
                self._by_report[each.token, name] = each.job
        tokens = {each.token for each in jobs if each.token is not None}
        for token in tokens:
            with self._lock:
                early += self._expected.pop(token, [])
            if files:
                self._temporary[token] = (list(files), len(jobs))
        for report in early:
            self._take_report(now, report)
        self._last_news = now
        self._start_polling()
        self._step()

    # -- reports of jobs

    def _start_polling(self) -> None:
        if self._poll_timer is None:
            self._poll_timer = Reactor.get().call_later(self.runner.pause, self._poll_inbox)

    def _poll_inbox(self) -> None:
        self._poll_timer = None
        Workers.get().run(self._read_inbox)

    def _read_inbox(self) -> None:
        try:
            reports = self.spool.take_reports()
        except OSError:  # told by whoever asks the scheduler
            reports = []
        Reactor.get().call_soon(lambda: self._take_reports(reports))

    def _take_reports(self, reports: list[Report]) -> None:
        now = time.monotonic()
        for report in reports:
            self._take_report(now, report)
        if reports:
            self._last_news = now
            self._step()
        if self._by_report or self._expected:
            quiet = now - self._last_news > _QUIET_AFTER
            pause = self.runner.pause * (_SLOWER_IF_QUIET if quiet else 1)
            if self._poll_timer is None:
                self._poll_timer = Reactor.get().call_later(pause, self._poll_inbox)

    def _take_report(self, now: float, report: Report) -> None:
        with self._lock:
            waiting = self._expected.get(report.token)
            if waiting is not None:
                waiting.append(report)
                return
        job = self._by_report.get((report.token, report.native_id))
        if job is not None:
            self._monitor.reported(now, job, report)

    # -- the monitor's wishes

    def _step(self) -> None:
        now = time.monotonic()
        actions = self._monitor.take_actions(now)
        for update in actions.updates:
            self._announce(update)
        for warning, message in actions.log:
            logger.log(logging.WARNING if warning else logging.INFO, "%s", message)
        self._start(actions)
        deadline = self._monitor.next_deadline()
        if self._timer is not None:
            if deadline is not None and now < self._timer.due <= deadline + 0.01:
                return
            self._timer.cancel()
            self._timer = None
        if deadline is not None:
            delay = max(0.0, deadline - time.monotonic())
            self._timer = Reactor.get().call_later(delay, self._step)

    def _start(self, actions: Actions) -> None:
        for kind, keys in (
            (self._query, actions.query),
            (self._ask_accounting, actions.accounting),
            (self._read_files, actions.records),
        ):
            if keys:
                jobs = {key: self._tracked[key].native_id for key in keys if key in self._tracked}
                Workers.get().run(lambda kind=kind, jobs=jobs: kind(jobs))  # type: ignore[misc]

    def _announce(self, update: Update) -> None:
        job: Any = update.key
        tracking = self._tracked.get(job)
        if tracking is None:
            return
        status = JobStatus(
            update.state, update.time, update.message, update.exit_code, update.metadata
        )
        if status.final and (tracking.downloads or tracking.moved):
            self._transfers.run(lambda: self._fetch(tracking, status))
        else:
            self._tell(tracking, status)

    def _fetch(self, tracking: Tracking, status: JobStatus) -> None:
        """Bring home what a job has left for its owner, before its end is announced."""
        mover = self.runner.mover
        name = self.adapter.record_name(tracking.native_id)[1]
        try:
            if mover is not None and tracking.downloads:
                mover.download(self.spool.staged_out(name), tracking.downloads)
            if status.state is JobState.COMPLETED:
                LocalRunner().remove(tracking.moved)
        except ConnectionError:  # it waits there
            Reactor.get().call_later(
                _LOOK_AGAIN_AFTER,
                lambda: self._transfers.run(lambda: self._fetch(tracking, status)),
            )
            return
        except Exception as problem:
            message = (
                f"what it has left could not be fetched: {problem}; it is still on "
                f"{self.runner.host} in {self.spool.staged_out(name)}: correct the target and "
                f"attach to the job {tracking.native_id} again"
            )
            if status.state is JobState.COMPLETED:
                metadata = {**(status.metadata or {}), "reason": Reason.STAGING}
                status = JobStatus(JobState.FAILED, status.time, message, 0, metadata)
            else:
                text = "; ".join(filter(None, (status.message, message)))
                status = JobStatus(
                    status.state, status.time, text, status.exit_code, status.metadata
                )
        told = status
        Reactor.get().call_soon(lambda: self._tell(tracking, told))

    def _tell(self, tracking: Tracking, status: JobStatus) -> None:
        job = tracking.job
        if status.final:
            self._tracked.pop(job, None)
            if tracking.token is not None:
                name = self.adapter.record_name(tracking.native_id)[1]
                self._by_report.pop((tracking.token, name), None)
                if (status.metadata or {}).get("reason") == Reason.PREEMPTED:
                    self._temporary.pop(tracking.token, None)  # it may be run again from them
                else:
                    self._remove_files(tracking.token)
            with self._ended:
                self._end_count += 1
                self._in_queue -= tracking.token is not None
                self._ended.notify_all()
        tracking.announce(job, status)

    def _remove_files(self, token: str) -> None:
        files, count = self._temporary.pop(token, ([], 0))
        if count > 1:
            self._temporary[token] = (files, count - 1)
        elif count:
            Workers.get().run(lambda: self.remove(files))

    # -- in worker threads

    def _ask(
        self,
        jobs: dict[Any, str],
        commands: Callable[[Collection[str]], Sequence[Command]],
        parse: Callable[[CommandResult], Answer],
    ) -> Answer:
        answers: list[Answer] = []
        try:
            asked = commands(set(jobs.values()))
            answers = [parse(self.runner.run(command)) for command in asked]
        except Exception as unexpected:
            logger.exception("%s cannot be asked about jobs", self.adapter.title)
            answers.append(Answer(problem=repr(unexpected)))
        if not answers:
            return Answer(problem="there is none", unavailable=True)
        for line in (line for answer in answers for line in answer.skipped):
            if line not in self._complained and len(self._complained) < _MOST_COMPLAINTS:
                self._complained.add(line)
                logger.warning("%s said what is not understood: %r", self.adapter.title, line)
        problems = [answer.problem for answer in answers if answer.problem is not None]
        told = {o.native_id: o for answer in answers for o in answer.observations}
        found = list(told.values())
        inferred = [o for answer in answers for o in answer.inferred]
        for native_id in set(jobs.values()).difference(told):
            observation, is_inferred = self.adapter.look_again(native_id, told)
            if observation is not None:
                (inferred if is_inferred else found).append(observation)
        return Answer(
            found,
            "; ".join(problems) or None,
            inferred,
            any(answer.unavailable for answer in answers),
        )

    def _query(self, jobs: dict[Any, str]) -> None:
        answer = self._ask(jobs, self.adapter.query_commands, self.adapter.parse_query)
        if answer.problem is None:
            self.site()
        self._in_reactor(lambda now: self._monitor.answered(now, jobs, answer))

    def _ask_accounting(self, jobs: dict[Any, str]) -> None:
        answer = self._ask(jobs, self.adapter.accounting_commands, self.adapter.parse_accounting)
        self._in_reactor(lambda now: self._monitor.accounting_answered(now, jobs, answer))

    def _read_files(self, jobs: dict[Any, str]) -> None:
        try:
            found = self._look_for(jobs)
        except OSError:
            Reactor.get().call_later(
                _LOOK_AGAIN_AFTER,
                lambda: self._in_reactor(lambda now: self._monitor.look_again(jobs)),
            )
            return
        except Exception:
            logger.exception("cannot look for the records of jobs")
            found = {job: Findings() for job in jobs}
        self._in_reactor(lambda now: self._monitor.files_read(now, found))

    def _look_for(self, jobs: dict[Any, str]) -> dict[Any, Findings]:
        places = {job: self.adapter.record_name(native_id) for job, native_id in jobs.items()}
        if any(site is None for site, _ in places.values()):
            here = self.site()
            name = here.name if here is not None else None
            places = {job: (site or name, native) for job, (site, native) in places.items()}
        records = self.spool.find_records(places)
        logs: dict[Any, str] = {}
        for job in jobs:
            tracking, record = self._tracked.get(job), records.get(job)
            log = tracking.log if tracking is not None else None
            log = log or (record.log if record is not None else None)
            if log is not None:
                logs[job] = log
        files = self.runner.read_many(list(logs.values()), _END_OF_LOG)
        found = {}
        for job in jobs:
            log = logs.get(job, "")
            if log not in files:
                found[job] = Findings(records.get(job))
                continue
            text = files[log].data.decode("utf-8", "replace")
            found[job] = Findings(records.get(job), log, self.adapter.read_log(text))
        return found


os.register_at_fork(after_in_child=Service._forget_after_fork)
