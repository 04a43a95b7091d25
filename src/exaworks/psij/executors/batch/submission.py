"""Handing jobs to a scheduler: alike ones as arrays, several submissions at a time."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

from exaworks.psij.exceptions import PSIJException, SubmitException
from exaworks.psij.executors.batch.adapter import Accepted, Rejected
from exaworks.psij.executors.batch.config import BatchSchedulerExecutorConfig
from exaworks.psij.executors.batch.jobscript import Entry, Plan, Submission, plan, render
from exaworks.psij.executors.batch.service import Service
from exaworks.psij.job import Job

__all__ = ["Submitter"]

_RETRY_AT_LEAST_EVERY = 15.0
_FIRST_PAUSE = 0.5

Accept = Callable[[Sequence[Entry], Sequence[str], Submission], None]


class Submitter:
    """Submits jobs of one executor."""

    def __init__(
        self,
        service: Callable[[], Service],
        settings: BatchSchedulerExecutorConfig,
        prepare: Callable[[Job], Entry],
        accepted: Accept,
        site_setup: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        """Make a submitter.

        Args:
            service: gives the watcher of the jobs, which also knows the scheduler.
            settings: the executor's settings.
            prepare: says how a job is to be described to the scheduler.
            accepted: told of jobs that the scheduler has taken, of their ids and of what was
                submitted.
            site_setup: gives lines of shell to run first in every job.
        """
        self._site_setup = site_setup
        self._get_service = service
        self._settings = settings
        self._prepare = prepare
        self._accepted = accepted

    def submit(self, jobs: Sequence[Job]) -> dict[Job, PSIJException]:
        """Submit jobs.

        Returns:
            the jobs that were not taken, each with the reason.
        """
        service = self._get_service()
        entries, failed = self._entries(jobs)
        groups = self._group(service, entries)
        service.prepare()
        bulk = _Bulk(service, self._settings, self._accepted, groups, self._site_setup())
        bulk.failed.update(failed)
        helpers = min(self._settings.max_concurrent_submissions, len(groups)) - 1
        done = threading.Semaphore(0)

        def help_out() -> None:
            try:
                bulk.work()
            finally:
                done.release()

        # Threads of their own: they may wait for jobs to end, which workers have to find out.
        for _ in range(helpers):
            threading.Thread(target=help_out, name="exaworks-submit", daemon=True).start()
        bulk.work()
        for _ in range(helpers):
            done.acquire()
        return bulk.failed

    def _entries(self, jobs: Sequence[Job]) -> tuple[list[Entry], dict[Job, PSIJException]]:
        """The jobs as they are to be described, and those that cannot be, with the reason."""
        entries: list[Entry] = []
        failed: dict[Job, PSIJException] = {}
        for job in jobs:
            try:
                entries.append(self._prepare(job))
            except PSIJException as problem:
                failed[job] = problem
        return entries, failed

    def _group(self, service: Service, entries: list[Entry]) -> list[list[Entry]]:
        """Put like jobs together, in groups that fit into an array.

        The files that are sent along belong to the whole array, so they must be the same.
        """
        if len(entries) <= 1:
            return [entries] if entries else []
        alike: dict[tuple[Plan, tuple[str, ...]], list[Entry]] = {}
        for entry in entries:
            uploads = tuple(entry.transfers.uploads) if entry.transfers is not None else ()
            alike.setdefault((plan(entry, service.adapter), uploads), []).append(entry)
        if len(alike) == len(entries):
            return list(alike.values())
        site = service.site()
        if site is None:
            raise SubmitException(
                f"{service.adapter.title} does not answer: {service.site_problem}", transient=True
            )
        size = max(1, min(site.array_limit, self._settings.max_queued_jobs or site.array_limit))
        return [
            group[at : at + size] for group in alike.values() for at in range(0, len(group), size)
        ]


class _Bulk:
    """A number of groups of jobs on their way to the scheduler; several threads work on it."""

    def __init__(
        self,
        service: Service,
        settings: BatchSchedulerExecutorConfig,
        accepted: Accept,
        groups: Sequence[list[Entry]],
        site_setup: Sequence[str],
    ) -> None:
        self._site_setup = site_setup
        self.failed: dict[Job, PSIJException] = {}
        self._service = service
        self._adapter = service.adapter
        self._settings = settings
        self._accepted = accepted
        self._groups = deque(groups)
        self._unreachable: PSIJException | None = None
        self._lock = threading.Lock()

    def work(self) -> None:
        """Submit groups until there are no more."""
        while True:
            with self._lock:
                if not self._groups:
                    return
                group = self._groups.popleft()
            waiting = deque([group])
            problem: PSIJException | None
            try:
                problem = self._unreachable or self._submit_parts(waiting)
            except PSIJException as known:
                problem = known
            except Exception as unknown:
                problem = SubmitException(f"{self._adapter.title}: {unknown}", unknown)
            if problem is not None:
                with self._lock:
                    self.failed.update((each.owner, problem) for part in waiting for each in part)

    def _submit_parts(self, waiting: deque[list[Entry]]) -> PSIJException | None:
        """Submit a group; in smaller parts, and later, if the scheduler takes no more for now.

        Args:
            waiting: parts that are still to be submitted.

        Returns:
            why the parts that are left in ``waiting`` cannot be submitted.
        """
        patience = time.monotonic() + self._settings.submit_patience
        pause = _FIRST_PAUSE
        wait = self._settings.on_queue_limit == "wait"
        while waiting:
            entries = waiting[0]
            seen = self._service.wait_for_end(-1, 0)
            if not self._service.reserve(len(entries), self._settings.max_queued_jobs, wait):
                return SubmitException(
                    f"{self._settings.max_queued_jobs} jobs are in the queue, which is the limit "
                    "(max_queued_jobs); with on_queue_limit='wait' submissions wait",
                    transient=True,
                )
            rejected: Rejected | None = None
            try:
                rejected = self._submit_once(entries)
            except OSError as failure:
                again = getattr(failure, "transient", isinstance(failure, ConnectionError))
                rejected = Rejected(str(failure), transient=again)
            finally:
                if rejected is not None or waiting[0][0].owner.native_id is None:
                    self._service.give_back(len(entries))
            if rejected is None:
                waiting.popleft()
                patience = time.monotonic() + self._settings.submit_patience
                pause = _FIRST_PAUSE
                continue
            problem = SubmitException(
                f"{self._adapter.title} did not accept the job: {rejected.message}",
                transient=rejected.transient,
            )
            if rejected.queue_limit and not wait:
                return problem
            if not rejected.queue_limit:
                if not rejected.transient or rejected.uncertain:
                    return problem
                if self._unreachable or time.monotonic() + pause > patience:
                    self._unreachable = problem
                    return problem
                time.sleep(pause)
                pause *= 2
            elif len(entries) > 1:
                waiting.popleft()
                half = len(entries) // 2
                waiting.extendleft((entries[half:], entries[:half]))
            else:
                self._service.wait_for_end(seen, _RETRY_AT_LEAST_EVERY)
        return None

    def _submit_once(self, entries: Sequence[Entry]) -> Rejected | None:
        spool, runner = self._service.spool, self._service.runner
        token = spool.new_token(entries[0].owner.id if len(entries) == 1 else None)
        submission = render(
            entries,
            self._adapter,
            spool,
            token,
            self._settings.keep_files,
            self._service.cwd,
            self._site_setup,
        )
        if submission.elements is not None and submission.elements_path is not None:
            runner.write(submission.elements_path, submission.elements)
            ids = "".join(f"{each.owner.id}\n" for each in entries)
            runner.write(spool.path("arrays", token), ids.encode())
        if self._settings.keep_files or self._adapter.script_file:
            runner.write(submission.path, submission.script, executable=True)
        mover, transfers = runner.mover, entries[0].transfers
        if mover is not None and transfers is not None and transfers.uploads:
            mover.upload(spool.staged_in(token), transfers.uploads)
        command = self._adapter.submit_command(
            submission.options, submission.outside, submission.script, submission.path
        )
        command = replace(command, once=spool.path("submits", token))
        self._service.expect(token)
        count = len(entries) if len(entries) > 1 else None
        try:
            result = runner.run(command)
            outcome = self._adapter.parse_submit(result, count)
            if result.hopeless:
                outcome = Rejected(result.complaint())
            elif isinstance(outcome, Rejected) and outcome.uncertain:
                outcome = self._find_out(outcome, token, len(entries))
        except BaseException:  # such as KeyboardInterrupt: nobody will know of the job
            self._service.expect_no_more(token)
            self._service.make_void(token)
            raise
        if isinstance(outcome, Accepted):
            self._accepted(entries, outcome.native_ids, submission)
            return None
        self._service.expect_no_more(token)
        useless = [submission.path] if self._adapter.script_file else []
        if submission.elements_path is not None:
            useless += [submission.elements_path, spool.path("arrays", token)]
        if useless:
            self._service.remove(useless)
        return outcome

    def _find_out(self, rejected: Rejected, token: str, count: int) -> Accepted | Rejected:
        """Whether the scheduler has taken a submission, although it has not said so.

        If nobody knows, the submission is made void, so that it does not begin later on.

        Returns:
            how it is; uncertain, if the job may already have begun.
        """
        adapter = self._adapter
        result = self._service.runner.run(adapter.logs_command())
        found: dict[int, str] = {}
        if result.ok:
            for native_id, log in adapter.parse_logs(result).items():
                name, _, number = os.path.basename(log).partition(".")[0].partition("_")
                if name == token:
                    found[int(number) - adapter.array_base if number.isdigit() else 0] = native_id
        for report in self._service.early_reports(token):
            found.setdefault(report.index, report.native_id)
        if set(found) == set(range(count)):
            return Accepted([found[index] for index in range(count)])
        self._service.make_void(token)
        for command in adapter.cancel_commands(list(found.values())) if found else ():
            self._service.runner.run(command)
        if result.ok:
            return replace(rejected, uncertain=False)
        message = f"{rejected.message} (nor whether it has begun; if not, it will not)"
        return replace(rejected, message=message)
