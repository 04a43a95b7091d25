"""What is known about jobs, and what to find out next: decisions without any I/O.

The monitor is told what happened (a job was submitted, the scheduler answered, a job script wrote
a report) and the present time; it says how the states of jobs change and what to do (ask the
scheduler, ask its accounting, look for a record). Times are seconds of a monotonic clock.

States move one way only. Three sources speak about a job, and this is whom the monitor believes:

- A script that ran to its end without being sent SIGTERM knows the exit code, and that is final.
- If SIGTERM or a signal ended the script, the scheduler knows why: its verdict is awaited.
- A job that the scheduler does not list any more is looked for in the records that scripts leave
  and in the accounting, for a while; only then is it given up as lost.

A scheduler that does not answer changes no job.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field

from exaworks.psij.executors.batch import verdict
from exaworks.psij.executors.batch.adapter import Answer, Observation
from exaworks.psij.executors.batch.pace import Pace
from exaworks.psij.executors.batch.report import Report
from exaworks.psij.executors.batch.verdict import Findings, Tracked, Update
from exaworks.psij.job_state import JobState

__all__ = ["Actions", "Monitor", "Update"]

Key = Hashable

VERDICT_PATIENCE = 60.0
"""Seconds that the scheduler may take to say why a script was ended by a signal."""

LOST_PATIENCE = 60.0
"""Seconds for which a job that the scheduler does not list is looked for elsewhere."""

INFERENCE_PATIENCE = 5.0
"""The same if it is clear what must have become of it, for the accounting to contradict."""

LOST_PATIENCE_ATTACHED = 2.0
"""The same for a job that was attached and never seen: its end is not so recent."""

LOST_PATIENCE_WITHOUT_ACCOUNTING = 15.0
"""The same if there is no accounting: then only a record can turn up, late on a slow network."""

LOST_PATIENCE_ACCOUNTING_DOWN = 900.0
"""The same if the accounting should answer, and does not, or contradicts."""

_WATCH_RECORDS_EVERY = 1.0
_ACCOUNTING_EVERY = 2.0
_ACCOUNTING_AT_MOST_EVERY = 15.0


@dataclass
class Actions:
    """What is to be done now.

    Attributes:
        updates: changes of the status of jobs.
        query: jobs to ask the scheduler about, if it is time for that.
        accounting: jobs to ask the accounting about.
        records: jobs to look for a record of.
        log: messages, each with whether it is a warning.
    """

    updates: list[Update] = field(default_factory=list)
    query: list[Key] = field(default_factory=list)
    accounting: list[Key] = field(default_factory=list)
    records: list[Key] = field(default_factory=list)
    log: list[tuple[bool, str]] = field(default_factory=list)


class Monitor:
    """The state machine. Not safe for several threads at once."""

    def __init__(self, title: str) -> None:
        """Begin with no jobs.

        Args:
            title: the scheduler's name for people.
        """
        self._title = title
        self._jobs: dict[Key, Tracked] = {}
        self._by_id: dict[str, list[Key]] = {}
        self._pace = Pace()
        self._actions = Actions()
        self._want_records: dict[Key, None] = {}
        self._reading_records: set[Key] = set()
        self._missing: dict[Key, None] = {}
        self._attached: dict[Key, None] = {}
        self._watch_at = 0.0
        self._accounting_at = 0.0
        self._accounting_gap = _ACCOUNTING_EVERY
        self._asking_accounting = False
        self._no_accounting = False
        self.requeue_codes: frozenset[int] = frozenset()

    def __len__(self) -> int:
        return len(self._jobs)

    def __contains__(self, key: Key) -> bool:
        return key in self._jobs

    # -- what happened

    def track(
        self,
        now: float,
        key: Key,
        native_id: str,
        interval: float,
        delay: float,
        token: str | None = None,
    ) -> None:
        """Follow a job from now on.

        Args:
            now: the time.
            key: what to call the job in updates.
            native_id: the scheduler's id.
            interval: the least seconds between two queries, as far as this job is concerned.
            delay: seconds until the first query about it.
            token: the name of its submission; ``None``: the job was not submitted by this
                process and does not report to it.
        """
        job = Tracked(key, native_id, token, interval)
        self._jobs[key] = job
        self._by_id.setdefault(native_id, []).append(key)
        self._pace.add(interval)
        if token is None:
            self._attached[key] = None
            self._want_records[key] = None
            self._pace.demand(now)
        else:
            self._pace.want(now + delay)

    def forget(self, key: Key) -> None:
        """Follow a job no longer."""
        job = self._jobs.pop(key, None)
        if job is None:
            return
        keys = self._by_id[job.native_id]
        keys.remove(key)
        if not keys:
            del self._by_id[job.native_id]
        self._pace.discard(job.interval)
        for waiting in (self._want_records, self._missing, self._attached):
            waiting.pop(key, None)

    def demand(self, now: float) -> None:
        """Somebody waits for news: ask the scheduler soon, whatever the polling interval."""
        if self._jobs:
            self._pace.demand(now)

    def cancel_requested(self, now: float, keys: Iterable[Key]) -> None:
        """The scheduler has taken a request of ours to cancel jobs."""
        ids = {self._jobs[key].native_id for key in keys if key in self._jobs}
        for native_id in ids:  # a job may be followed more than once
            for same in self._by_id[native_id][:]:
                job = self._jobs[same]
                job.canceled = True
                if job.end is not None:
                    self._judge_end(now, job)
        self.demand(now)

    def reported(self, now: float, key: Key, report: Report) -> None:
        """A job script has written a report."""
        job = self._jobs.get(key)
        if job is None or report.restarts < job.restarts:
            return
        job.take_restarts(report.restarts)
        if report.state is not None:
            self._enter(job, report.state, report, report.time)
            return
        job.end, job.end_at, job.log = report, now, report.log
        self._judge_end(now, job)

    def files_read(self, now: float, found: Mapping[Key, Findings]) -> None:
        """The records and logs of these jobs were looked for."""
        for key, findings in found.items():
            self._reading_records.discard(key)
            job = self._jobs.get(key)
            if job is None:
                continue
            job.record_looked = job.log_looked = True
            job.log, job.hint = findings.log, findings.hint
            if findings.record is not None and job.accepts(findings.record):
                job.take_restarts(findings.record.restarts)
                job.end, job.end_at = findings.record, now
            if job.final is not None:
                self._finish(job, verdict.of_observation(job, job.final, self._title))
            elif job.end is not None and (job.alive or job.missing_at is not None):
                self._judge_end(now, job)
            if key in self._jobs and job.missing_at is not None:
                self._missing[key] = None

    def look_again(self, keys: Iterable[Key]) -> None:
        """The records and logs of these jobs could not be looked for."""
        for key in keys:
            self._reading_records.discard(key)
            if key in self._jobs:
                self._want_records[key] = None

    def answered(self, now: float, asked: Iterable[Key], answer: Answer) -> None:
        """The scheduler has answered a query about jobs.

        Args:
            now: the time.
            asked: the jobs that it was asked about.
            answer: what it said; an answer with a problem is only taken for what is in it.
        """
        if answer.problem is not None:
            first = self._pace.failed(now)
            if first:
                self._say(
                    True,
                    f"{self._title} does not answer: {answer.problem}. "
                    "Jobs are not affected; it will be asked again.",
                )
        elif self._pace.succeeded(now):
            self._say(False, f"{self._title} answers again.")
        changes = len(self._actions.updates)
        seen: set[Key] = set()
        for observation in answer.observations:
            for key in self._by_id.get(observation.native_id, ())[:]:
                seen.add(key)
                self._observe(now, self._jobs[key], observation)
        if answer.problem is None:
            self._infer(answer)
            for key in asked:
                if key in self._jobs and key not in seen:
                    self._miss(now, self._jobs[key])
        if len(self._actions.updates) > changes:
            self._pace.quicken(now)

    def accounting_answered(self, now: float, asked: Iterable[Key], answer: Answer) -> None:
        """The accounting has answered, or failed to."""
        self._asking_accounting = False
        self._accounting_at = now + self._accounting_gap
        self._accounting_gap = min(self._accounting_gap * 1.5, _ACCOUNTING_AT_MOST_EVERY)
        if answer.unavailable and not self._no_accounting:
            self._no_accounting = True
            self._say(False, f"{self._title} has no accounting: {answer.problem}")
        self._infer(answer)
        told = {observation.native_id: observation for observation in answer.observations}
        for key in asked:
            job = self._jobs.get(key)
            if job is None or job.missing_at is None:
                continue
            job.accounting = answer.problem or "knows nothing of it"
            observation = told.get(job.native_id)
            unsure = answer.problem is not None and not answer.unavailable
            if observation is not None:
                job.accounting = f"says {observation.word}"
                if observation.state is not None and observation.state.final:
                    job.take_restarts(observation.restarts)
                    self._finish(job, verdict.of_observation(job, observation, self._title))
                    continue
                if observation.state is not None:  # the scheduler's list may lack it by mistake
                    job.inferred, unsure = None, True
            self._give_up_if_late(now, job, unsure)

    # -- what to do

    def take_actions(self, now: float) -> Actions:
        """What is to be done now. Each thing is named once."""
        if self._attached and now >= self._watch_at:
            self._watch_at = now + max(_WATCH_RECORDS_EVERY, len(self._attached) / 200)
            for key in self._attached:
                job = self._jobs[key]
                if job.alive and job.end is None and job.state is not JobState.QUEUED:
                    self._want_records[key] = None
        actions, self._actions = self._actions, Actions()
        actions.records = [k for k in self._want_records if k not in self._reading_records]
        self._want_records.clear()
        self._reading_records.update(actions.records)
        if self._pace.start(now):
            actions.query = list(self._jobs)
        if self._missing and not self._asking_accounting and now >= self._accounting_at:
            actions.accounting = list(self._missing)
            self._asking_accounting = True
        return actions

    def next_deadline(self) -> float | None:
        """When :meth:`take_actions` should be called again at the latest; ``None``: never."""
        if self._actions.updates or self._actions.log or self._want_records:
            return float("-inf")
        if not self._jobs:
            return None
        deadlines = [self._pace.due]
        if self._attached:
            deadlines.append(self._watch_at)
        if self._missing and not self._asking_accounting:
            deadlines.append(self._accounting_at)
        known = [deadline for deadline in deadlines if deadline is not None]
        return min(known) if known else None

    # -- decisions

    def _say(self, warning: bool, message: str) -> None:
        self._actions.log.append((warning, message))

    def _infer(self, answer: Answer) -> None:
        for observation in answer.inferred:
            for key in self._by_id.get(observation.native_id, ()):
                self._jobs[key].inferred = observation

    def _enter(
        self, job: Tracked, state: JobState, source: Report | Observation, time: float | None
    ) -> None:
        job.nodes = source.nodes or job.nodes
        if state.is_greater_than(job.state) is True:
            job.state = state
            observation = source if isinstance(source, Observation) else None
            self._actions.updates.append(verdict.progress(job, time, observation))

    def _finish(self, job: Tracked, update: Update) -> None:
        if job.end is not None and job.end.step:  # an earlier report may have been overtaken
            self._enter(job, JobState[job.end.step], job.end, job.end.begun)
        self._actions.updates.append(update)
        self.forget(job.key)

    def _observe(self, now: float, job: Tracked, observation: Observation) -> None:
        job.observation = observation
        job.nodes = observation.nodes or job.nodes
        if job.missing_at is not None:
            job.missing_at = None
            self._missing.pop(job.key, None)
        job.take_restarts(observation.restarts)
        if observation.state is None:
            return
        if observation.state.final:
            job.final = observation
            if (job.end is not None or job.record_looked) and not job.needs_log(observation):
                self._finish(job, verdict.of_observation(job, observation, self._title))
            else:
                self._want_records[job.key] = None
            return
        if not job.alive and job.token is None and job.end is not None:
            job.stale, job.end = job.end, None  # of an earlier job with the same id
        job.alive, job.final = True, None
        job.record_looked = job.log_looked = False
        if observation.state is JobState.QUEUED:
            if job.end is not None and job.end.restarts >= job.restarts:
                job.take_restarts(job.end.restarts + 1)
            self._enter(job, JobState.QUEUED, observation, None)
            return
        self._enter(job, observation.state, observation, None)
        if job.end is None:
            return
        if now >= job.end_at + VERDICT_PATIENCE:
            self._finish(job, verdict.of_signal(job, job.end, observation, self._title))
        else:
            self._pace.want(now)

    def _judge_end(self, now: float, job: Tracked) -> None:
        """The script has ended: say so, unless only the scheduler knows what that means."""
        assert job.end is not None
        if verdict.trusted(job.end) and job.end.code not in self.requeue_codes:
            self._finish(job, verdict.of_report(job, job.end))
        elif job.canceled and verdict.looks_canceled(job.end):
            self._finish(job, verdict.canceled(job, job.end, "was cancelled"))
        elif job.final is not None:
            self._finish(job, verdict.of_observation(job, job.final, self._title))
        else:
            self._pace.want(now)

    def _miss(self, now: float, job: Tracked) -> None:
        if job.missing_at is not None:
            return
        job.missing_at = now
        self._accounting_at = min(self._accounting_at, now)
        self._accounting_gap = _ACCOUNTING_EVERY
        if job.end is None:
            self._want_records[job.key] = None
            return
        self._missing[job.key] = None
        self._judge_end(now, job)

    def _give_up_if_late(self, now: float, job: Tracked, unsure: bool) -> None:
        """Nobody has told yet what became of a job that is not listed any more.

        Args:
            now: the time.
            job: the job.
            unsure: the accounting has failed, or says that the job has not ended.
        """
        assert job.missing_at is not None
        waited = now - job.missing_at
        began = job.state.is_greater_than(JobState.QUEUED) is True
        if job.end is None and not began and job.canceled:
            self._finish(job, verdict.canceled(job, None, "was cancelled while it waited"))
        elif job.end is None and not began and job.inferred and waited >= INFERENCE_PATIENCE:
            self._finish(job, verdict.of_observation(job, job.inferred, self._title))
        elif waited < self._patience(job, unsure):
            self._want_records[job.key] = None
        elif job.end is not None:
            self._finish(job, verdict.of_signal(job, job.end, None, self._title))
        elif job.canceled:
            self._finish(job, verdict.canceled(job, None, "was cancelled and is gone"))
        else:
            self._finish(job, verdict.lost(job, self._title))

    def _patience(self, job: Tracked, unsure: bool) -> float:
        if unsure:
            return LOST_PATIENCE_ACCOUNTING_DOWN
        if job.token is None and not job.alive:
            return INFERENCE_PATIENCE if job.inferred else LOST_PATIENCE_ATTACHED
        return LOST_PATIENCE_WITHOUT_ACCOUNTING if self._no_accounting else LOST_PATIENCE
