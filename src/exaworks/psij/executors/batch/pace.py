"""When to ask the scheduler."""

from __future__ import annotations

from collections import Counter

__all__ = ["Pace"]

SLOWEST = 60.0
"""Seconds between queries while nothing happens."""

_COALESCE = 0.05
_SLOWER = 1.5
_FIRST_BACKOFF = 10.0


class Pace:
    """Decides on the time of the next query.

    Queries are at least one polling interval apart, further while nothing changes, and further
    still while the scheduler does not answer. What a user waits for (a *demand*) is asked sooner;
    demands that follow each other closely are answered together.
    """

    def __init__(self) -> None:
        self._intervals: Counter[float] = Counter()
        self._started: float | None = None
        self._running = False
        self._gap = 0.0
        self._demand_gap = _COALESCE
        self._wanted: float | None = None
        self._demanded: float | None = None
        self._failures = 0
        self._blocked_until = float("-inf")

    def add(self, interval: float) -> None:
        """There is a further job; its owner wants queries at least ``interval`` seconds apart."""
        self._intervals[interval] += 1
        self._gap = self._interval()

    def discard(self, interval: float) -> None:
        """There is a job less."""
        self._intervals[interval] -= 1
        if not self._intervals[interval]:
            del self._intervals[interval]
        if not self._intervals:
            self._wanted = self._demanded = None

    def _interval(self) -> float:
        return min(self._intervals, default=SLOWEST)

    def want(self, when: float) -> None:
        """A query at that time, or as soon after it as the interval allows."""
        self._gap = self._interval()
        self._wanted = when if self._wanted is None else min(self._wanted, when)

    def demand(self, now: float) -> None:
        """A query very soon, whatever the interval."""
        if self._demanded is None:
            earliest = now + _COALESCE
            if self._started is not None:
                quiet = now - self._started > max(1.0, 4 * self._demand_gap)
                self._demand_gap = _COALESCE if quiet else self._demand_gap
                earliest = max(earliest, self._started + self._demand_gap)
            self._demanded = earliest

    def quicken(self, now: float) -> None:
        """Something has changed."""
        self._gap = self._interval()

    @property
    def due(self) -> float | None:
        """When the next query should start; ``None`` while one runs, or if there are no jobs."""
        if self._running or not self._intervals:
            return None
        if self._started is None:
            due = self._wanted
        else:
            due = self._started + self._gap
            if self._wanted is not None:
                due = min(due, max(self._wanted, self._started + self._interval()))
        if self._demanded is not None:
            due = self._demanded if due is None else min(due, self._demanded)
        return None if due is None else max(due, self._blocked_until)

    def start(self, now: float) -> bool:
        """Whether it is time for a query; if so, it has begun."""
        due = self.due
        if due is None or now < due:
            return False
        if self._demanded is not None:
            self._demand_gap = min(self._demand_gap * 2, self._interval())
        self._started, self._running = now, True
        self._wanted = self._demanded = None
        return True

    def succeeded(self, now: float) -> bool:
        """The query was answered. Returns whether the one before was not."""
        self._running = False
        self._gap = min(max(self._gap * _SLOWER, self._interval()), max(SLOWEST, self._interval()))
        recovered, self._failures = self._failures > 0, 0
        return recovered

    def failed(self, now: float) -> bool:
        """The query was not answered. Returns whether the one before was."""
        self._running = False
        self._failures += 1
        self._gap = self._interval()
        pause = min(_FIRST_BACKOFF * _SLOWER ** (self._failures - 1), SLOWEST)
        self._blocked_until = now + pause
        return self._failures == 1
