"""The sources of an engine, and what has become of each."""

from __future__ import annotations

from exaworks.tasks.cluster.source import Source

__all__ = ["Member", "Members"]

_LAST_REASONS = 3


class Member:
    """A source, and what has become of it.

    Attributes:
        source: the source.
        number: its number in the engine.
        came: how many of its agents have come.
        over: why it brings no more; ``None``: it may.
    """

    def __init__(self, source: Source, number: int) -> None:
        self.source = source
        self.number = number
        self.came = 0
        self.over: str | None = None

    @property
    def to_come(self) -> int:
        """How many of its agents are still to come."""
        return 0 if self.over is not None else max(0, self.source.expected - self.came)


class Members:
    """All of them, by number. Not thread-safe."""

    def __init__(self) -> None:
        self._all: list[Member] = []

    def __len__(self) -> int:
        return len(self._all)

    def __getitem__(self, number: int) -> Member:
        return self._all[number]

    def add(self, source: Source) -> Member:
        """One more."""
        member = Member(source, len(self._all))
        self._all.append(member)
        return member

    def live(self) -> list[Member]:
        """Those that have not ended."""
        return [member for member in self._all if member.over is None]

    @property
    def to_come(self) -> int:
        """How many agents are still to come."""
        return sum(member.to_come for member in self._all)

    def reasons(self) -> str:
        """Why the last of those that have ended did so, for people; empty: none has."""
        ended = [each for each in self._all if each.over]
        return "; ".join(f"{each.source.title}: {each.over}" for each in ended[-_LAST_REASONS:])
