"""What the keeper decides: which job may start, what follows a phase, how a job is ended.

A plain state machine: events and a clock value (seconds of any monotonic clock) in, wishes out.
It knows no processes, sockets, files or clocks. Whoever drives it takes :meth:`Core.startable`
jobs, starts their processes and reports :meth:`Core.spawned`, :meth:`Core.spawn_failed` or
:meth:`Core.deferred`; reports :meth:`Core.exited`; calls :meth:`Core.tick` when
:meth:`Core.next_timer` is due; and serves the four wishes: ``changed`` (tell the watchers),
``dirty`` (write these records), ``signals`` (send a signal to all processes of a job and report
:meth:`Core.tree`) and ``groups`` (kill what is left of a process group).
"""

from __future__ import annotations

import heapq
from collections import deque

from .job import ENDED, RUNNING, STARTING, WAITING, Job, decode_status, describe_end
from .protocol import ACTIVE, CANCELED, COMPLETED, FAILED, STAGE_IN

TERM = 15
KILL = 9

RETRY_DELAY = 0.1
"""Seconds until starting is tried again after the system had no room for another process."""
FIRST_RESCAN = 0.01
LAST_RESCAN = 0.25
GIVE_UP = 30.0
"""Seconds after SIGKILL until descendants that do not die (stuck in the kernel) are left behind."""
VERDICT_DELAY = 5.0
"""Seconds that the exit status of an adopted process may take to arrive."""

_JOBLESS = ("group", "retry")


class Pool:
    """The jobs that share one limit on how many of them run at once."""

    __slots__ = ("limit", "name", "queue", "running")

    def __init__(self, name: str, limit: int) -> None:
        self.name = name
        self.limit = limit
        self.running = 0
        self.queue: list[int] = []


class Core:
    """The live jobs of a keeper."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.pools: dict[str, Pool] = {}
        self.changed: list[tuple[Job, str]] = []
        self.dirty: dict[int, Job] = {}
        self.signals: list[tuple[Job, int]] = []
        self.groups: list[tuple[int, str]] = []
        self.pending_groups = 0
        self._ready: dict[str, None] = {}
        self._next: deque[int] = deque()
        self._blocked_until = 0.0
        self._timers: list[tuple[float, int, str, int, str]] = []
        self._sequence = 0
        self._compact_at = 1024

    # -- requests ---------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Accept a new job, whose ``id`` is higher than that of any job before."""
        self.jobs[job.id] = job
        self.dirty[job.id] = job
        if not job.held:
            pool = self._pool(job)
            pool.limit = job.limit
            self._enqueue(pool, job)

    def cancel(self, now: float, job: Job, grace: float | None = None) -> None:
        """End ``job`` as CANCELED: at once if it waits, else when its processes have ended.

        ``grace`` (seconds between SIGTERM and SIGKILL) overrides the job's own. Canceling again
        with a shorter grace hastens the end; after the main phase it ends the current phase.
        """
        job.canceled = True
        self.dirty[job.id] = job
        if grace is None:
            grace = job.grace
        if job.stage == WAITING and job.index == 0:
            self._finish(job)
        elif job.stage == RUNNING:
            if not job.kill:
                self._begin_kill(now, job, grace)
            elif job.kill == TERM and now + grace < job.kill_at:
                job.kill_at = now + grace
                self._wake(job, job.kill_at)

    def hold(self, job: Job) -> bool:
        """Keep a queued job from starting. Return False if it has started already."""
        if job.stage != WAITING or job.index:
            return False
        job.held = True
        self.dirty[job.id] = job
        return True

    def release(self, job: Job) -> bool:
        """Let a held job start. Return False if it is not held."""
        if not job.held:
            return False
        job.held = False
        self.dirty[job.id] = job
        self._enqueue(self._pool(job), job)
        return True

    # -- starting ---------------------------------------------------------------------------

    def startable(self, now: float, budget: int) -> list[Job]:
        """Return up to ``budget`` jobs whose next process is to be started now, in order.

        They count as starting from here on. Jobs with a phase behind them go first (they hold a
        place already), then pools take turns, each in the order of submission.
        """
        chosen: list[Job] = []
        if now < self._blocked_until:
            return chosen
        while self._next and len(chosen) < budget:
            job = self.jobs[self._next.popleft()]
            if self._skip_phases(job):
                chosen.append(job)
            else:
                self._finish(job)
        for name in list(self._ready):
            if len(chosen) >= budget:
                break
            del self._ready[name]
            pool = self.pools[name]
            while pool.queue and pool.running < pool.limit and len(chosen) < budget:
                waiting = self.jobs.get(heapq.heappop(pool.queue))
                # A queue may name jobs that are over, held, or named twice and started.
                if waiting and waiting.stage == WAITING and not (waiting.index or waiting.held):
                    waiting.stage = STARTING
                    pool.running += 1
                    chosen.append(waiting)
            self._settle(pool)
        for job in chosen:
            job.stage = STARTING
            job.pid = None
            self.dirty[job.id] = job
        return chosen

    def can_start(self, now: float) -> bool:
        """Whether :meth:`startable` may return something now."""
        return bool(self._ready or self._next) and now >= self._blocked_until

    def spawned(self, now: float, job: Job, pid: int, pid_start: int = 0) -> None:
        """Report that the process of a starting job runs."""
        job.stage = RUNNING
        job.pid = pid
        job.pid_start = pid_start
        self.dirty[job.id] = job
        state = job.states[job.index]
        if state == ACTIVE and job.duration is not None and job.state != ACTIVE:
            self._timer(now + job.duration, "limit", job.id)
        self._set_state(job, state)
        if job.canceled and not job.kill and state in (STAGE_IN, ACTIVE):
            self._begin_kill(now, job, job.grace)  # canceled while it was being started

    def spawn_failed(self, job: Job, exit_code: int | None, message: str) -> None:
        """Report that the process of a starting job can never be started."""
        main = job.states[job.index] == ACTIVE
        self._fail(job, "launch" if main else "staging", message, exit_code, None)
        self._advance(job)

    def deferred(self, now: float, job: Job) -> None:
        """Report that the system had no room for the process of a starting job."""
        self._blocked_until = now + RETRY_DELAY
        self._timer(self._blocked_until, "retry", 0)
        job.stage = WAITING
        self.dirty[job.id] = job
        if job.index:
            self._next.appendleft(job.id)
            return
        pool = self.pools[job.pool]
        pool.running -= 1
        if job.canceled:
            self._finish(job)
        else:
            self._enqueue(pool, job)

    # -- ending -----------------------------------------------------------------------------

    def exited(
        self, now: float, job: Job, status: int, message: str | None = None, left: bool = False
    ) -> None:
        """Report the wait status of the process of a running job.

        ``message`` is what the process has written to the job's log; ``left`` tells that other
        members of its process group were alive and have been sent SIGTERM.
        """
        if left and job.pid is not None:
            self.pending_groups += 1
            self._timer(now + job.grace, "group", job.pid, job.key)
        if job.kill:
            job.root_gone = True
            job.root_status = status
            job.delay = FIRST_RESCAN
            self.signals.append((job, job.kill))
        else:
            self._phase_over(job, status, message)

    def lost(self, now: float, job: Job, message: str) -> None:
        """Report that the process of a job is gone and its exit status cannot be known."""
        self._fail(job, "lost", message, None, None)
        if job.kill:
            job.root_gone = True
            job.root_status = None
            self.signals.append((job, job.kill))
        else:
            self._advance(job)

    def tree(self, now: float, job: Job, alive: bool) -> None:
        """Report whether, after a wish in ``signals``, descendants of the job's process live."""
        if not job.kill:
            return
        if job.root_gone and (not alive or (job.kill == KILL and now >= job.give_up)):
            self._phase_over(job, job.root_status, None)
        elif job.root_gone or job.kill == KILL:
            at = now + job.delay
            job.delay = min(2 * job.delay, LAST_RESCAN)
            self._wake(job, min(at, job.kill_at) if job.kill == TERM else at)

    def tick(self, now: float) -> None:
        """Serve the timers that are due."""
        timers = self._timers
        while timers and timers[0][0] <= now:
            when, _, kind, number, key = heapq.heappop(timers)
            if kind == "group":
                self.pending_groups -= 1
                self.groups.append((number, key))
                continue
            job = self.jobs.get(number)
            if job is None:
                continue
            if kind == "limit":
                self._timed_out(now, job)
            elif kind == "kill" and job.kill and job.wake == when:
                if job.kill == TERM and now >= job.kill_at:
                    self._escalate(now, job)
                self.signals.append((job, job.kill))
            elif kind == "verdict" and job.stage == RUNNING and str(job.pid) == key:
                self.lost(now, job, "its exit status was lost")

    def next_timer(self) -> float | None:
        """Return when :meth:`tick` has something to do, None for never."""
        return self._timers[0][0] if self._timers else None

    # -- after a restart --------------------------------------------------------------------

    def restore(self, now: float, job: Job, elapsed: float = 0.0) -> None:
        """Take back a job as it was recorded; ``elapsed`` seconds of its duration are over."""
        self.jobs[job.id] = job
        pool = self._pool(job)
        pool.limit = job.limit
        if job.stage == WAITING and job.index == 0:
            if not job.held:
                self._enqueue(pool, job)
            return
        pool.running += 1
        if job.stage == WAITING:
            self._next.append(job.id)
        if job.stage == RUNNING:
            self._set_state(job, job.states[job.index])
        if job.duration is not None and job.state == ACTIVE:
            self._timer(now + max(0.0, job.duration - elapsed), "limit", job.id)
        if job.stage == RUNNING and job.kill:
            self._begin_kill(now, job, job.grace)

    def await_verdict(self, now: float, job: Job) -> None:
        """Give up on the exit status of a process that is gone if it does not arrive soon."""
        self._timer(now + VERDICT_DELAY, "verdict", job.id, str(job.pid))

    # -- inside -----------------------------------------------------------------------------

    def _pool(self, job: Job) -> Pool:
        pool = self.pools.get(job.pool)
        if pool is None:
            pool = self.pools[job.pool] = Pool(job.pool, job.limit)
        return pool

    def _enqueue(self, pool: Pool, job: Job) -> None:
        heapq.heappush(pool.queue, job.id)
        self._settle(pool)

    def _settle(self, pool: Pool) -> None:
        if pool.queue and pool.running < pool.limit:
            self._ready[pool.name] = None
        elif not pool.queue and not pool.running:
            self.pools.pop(pool.name, None)

    def _set_state(self, job: Job, state: str) -> None:
        if job.state != state:
            job.state = state
            self.changed.append((job, state))

    def _timer(self, when: float, kind: str, number: int, key: str = "") -> None:
        self._sequence += 1
        heapq.heappush(self._timers, (when, self._sequence, kind, number, key))
        if len(self._timers) > self._compact_at:
            jobs = self.jobs
            self._timers[:] = [t for t in self._timers if t[3] in jobs or t[2] in _JOBLESS]
            heapq.heapify(self._timers)
            self._compact_at = 2 * len(self._timers) + 1024

    def _wake(self, job: Job, when: float) -> None:
        job.wake = when
        self._timer(when, "kill", job.id)

    def _begin_kill(self, now: float, job: Job, grace: float) -> None:
        job.kill = TERM
        job.root_gone = False
        job.root_status = None
        job.kill_at = now + grace
        job.delay = FIRST_RESCAN
        self.dirty[job.id] = job
        if grace <= 0:
            self._escalate(now, job)
        else:
            self._wake(job, job.kill_at)
        self.signals.append((job, job.kill))

    def _escalate(self, now: float, job: Job) -> None:
        job.kill = KILL
        job.give_up = now + GIVE_UP
        job.delay = FIRST_RESCAN

    def _timed_out(self, now: float, job: Job) -> None:
        if job.states[job.index] != ACTIVE or job.state != ACTIVE or job.kill or job.failed:
            return
        self._fail(job, "timeout", f"exceeded its duration of {job.duration:g} s", None, None)
        if job.stage == RUNNING:
            self._begin_kill(now, job, job.grace)

    def _fail(
        self, job: Job, reason: str, message: str, code: int | None, signal: int | None
    ) -> None:
        self.dirty[job.id] = job
        if not job.failed and not job.canceled:
            job.reason = reason
            job.message = message
            job.exit_code = code
            job.signal = signal

    def _phase_over(self, job: Job, status: int | None, message: str | None) -> None:
        job.kill = 0
        self.dirty[job.id] = job
        if status is not None:
            code, signal = decode_status(status)
            main = job.states[job.index] == ACTIVE
            if main and (not job.failed or (job.reason == "timeout" and status)):
                job.exit_code, job.signal = code, signal
            if status and main:
                self._fail(
                    job,
                    "exit" if signal is None else "signal",
                    describe_end(code, signal) + (f"\n{message}" if message else ""),
                    code,
                    signal,
                )
            elif status:
                text = f"{job.states[job.index]}: {describe_end(code, signal)}"
                self._fail(job, "staging", f"{text}\n{message}" if message else text, code, signal)
        self._advance(job)

    def _skip_phases(self, job: Job) -> bool:
        """Move past the phases that do not run any more; return False if none is left."""
        while job.index < len(job.states):
            if job.states[job.index] not in (STAGE_IN, ACTIVE) or not (job.canceled or job.failed):
                return True
            job.index += 1
        return False

    def _advance(self, job: Job) -> None:
        job.stage = WAITING
        job.index += 1
        if self._skip_phases(job):
            self._next.append(job.id)
        else:
            self._finish(job)

    def _finish(self, job: Job) -> None:
        if job.index:
            pool = self.pools[job.pool]
            pool.running -= 1
            self._settle(pool)
        del self.jobs[job.id]
        job.stage = ENDED
        if job.canceled:
            job.reason, job.message = "cancel", "canceled on request"
        self._set_state(job, CANCELED if job.canceled else FAILED if job.failed else COMPLETED)
        self.dirty[job.id] = job
