"""Job states and their partial order (PSI/J specification, "JobState")."""

from __future__ import annotations

from enum import Enum

__all__ = ["JobState", "JobStateOrder"]


class JobState(Enum):
    """A state of a job.

    The states without data movement are those of the specification; ``STAGE_IN``, ``STAGE_OUT``
    and ``CLEANUP`` are those of psij-python's main branch, with its values. They are announced
    for jobs that stage or clean up, and for all jobs if asked for
    (``JobExecutorConfig.announce_all_states``).

    ``HELD`` lies between ``NEW`` and ``QUEUED`` in no order: it is how :meth:`JobExecutor.info`
    shows a queued job that its user or an administrator holds; a job's own status never becomes
    ``HELD`` (it stays ``QUEUED``), because the specification's order has no place for a state
    that can be left backwards.
    """

    NEW = 0
    QUEUED = 1
    STAGE_IN = 2
    ACTIVE = 3
    STAGE_OUT = 4
    CLEANUP = 5
    COMPLETED = 6
    FAILED = 7
    CANCELED = 8
    HELD = 9

    @property
    def final(self) -> bool:
        """Whether nothing comes after this state."""
        return self in _FINAL

    def is_final(self) -> bool:
        """Same as :attr:`final` (the specification's name)."""
        return self in _FINAL

    def is_greater_than(self, other: JobState) -> bool | None:
        """Compare in the partial order.

        Returns:
            ``True`` if this state can come after ``other``; ``False`` if it cannot; ``None`` if
            the two are not comparable (two different final states).
        """
        mine, theirs = _RANK[self], _RANK[other]
        if mine == theirs and self is not other:
            return None
        return mine > theirs

    @classmethod
    def from_name(cls, name: str) -> JobState:
        """The state of that name.

        Raises:
            KeyError: there is none.
        """
        return cls[name]

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return self.name

    def __hash__(self) -> int:
        return hash(self.name)


_FINAL = frozenset({JobState.COMPLETED, JobState.FAILED, JobState.CANCELED})
_RANK = {
    JobState.NEW: 0,
    JobState.HELD: 1,
    JobState.QUEUED: 1,
    JobState.STAGE_IN: 2,
    JobState.ACTIVE: 3,
    JobState.STAGE_OUT: 4,
    JobState.CLEANUP: 5,
    JobState.COMPLETED: 6,
    JobState.FAILED: 6,
    JobState.CANCELED: 6,
}
_PATH = (
    JobState.NEW,
    JobState.QUEUED,
    JobState.STAGE_IN,
    JobState.ACTIVE,
    JobState.STAGE_OUT,
    JobState.CLEANUP,
    JobState.COMPLETED,
)
_BASIC = frozenset({JobState.NEW, JobState.QUEUED, JobState.ACTIVE, JobState.COMPLETED})


class JobStateOrder:
    """Which states lie on the way to a state."""

    @staticmethod
    def prev(state: JobState) -> JobState | None:
        """The state that must come immediately before, in the order with all states.

        Returns:
            ``None`` for ``NEW``, and for ``FAILED`` and ``CANCELED``, which have no single
            predecessor.
        """
        index = _PATH.index(state) if state in _PATH else 0
        return _PATH[index - 1] if index else None

    @staticmethod
    def path(
        current: JobState, target: JobState, all_states: bool, ran: bool = False
    ) -> list[JobState]:
        """The states to announce, in order, so that a job gets from ``current`` to ``target``.

        States in between are filled in. ``FAILED`` and ``CANCELED`` are reached directly, except
        that a job always passes ``QUEUED`` first (it was accepted).

        Args:
            current: the job's present state.
            target: the state it has reached.
            all_states: fill in ``STAGE_IN``, ``STAGE_OUT`` and ``CLEANUP`` too.
            ran: the job is known to have run to an end of its own, so that on the way to
                ``FAILED`` the same states are filled in as on the way to ``COMPLETED``.

        Returns:
            The states to announce; empty if ``target`` cannot come after ``current``.
        """
        if current.final or target.is_greater_than(current) is not True:
            return []
        if target in _PATH:
            end = _PATH.index(target)
        elif target is JobState.FAILED and ran:
            end = _PATH.index(JobState.COMPLETED)
        elif target.final:
            end = _PATH.index(JobState.QUEUED) + 1
        else:
            return []
        between = _PATH[_PATH.index(current) + 1 : end]
        return [s for s in between if all_states or s in _BASIC] + [target]
