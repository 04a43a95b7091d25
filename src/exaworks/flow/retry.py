"""When a task that has failed is run again."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from exaworks.tasks.errors import InvalidTaskError

__all__ = ["NEVER", "Retry"]


@dataclass(frozen=True)
class Retry:
    """How often, after how long, and after which failures.

    Attributes:
        times: how often at most.
        delay: seconds before the first time.
        factor: how many times as long before each further time.
        most: seconds before any of them at most.
        jitter: by which fraction of itself the time varies, at random, so that not all tasks that
            a file server has failed come back to it together.
        when: asked with the exception and the number of the failure, from 1: false to give up,
            true to go on, a number for seconds to wait this time. ``None``: always.
    """

    times: int = 1
    delay: float = 0.0
    factor: float = 2.0
    most: float = 300.0
    jitter: float = 0.1
    when: Callable[[BaseException, int], bool | float] | None = None

    @classmethod
    def of(cls, given: Any) -> Retry:
        """A policy from a number of times, or itself.

        Raises:
            InvalidTaskError: it is neither.
        """
        if isinstance(given, Retry):
            return given
        return cls(given)

    def __post_init__(self) -> None:
        """Check.

        Raises:
            InvalidTaskError: a value makes no sense.
        """
        if type(self.times) is not int or self.times < 0:
            raise InvalidTaskError(
                f"retries must be a whole number of at least 0, or a Retry, not {self.times!r}"
            )
        for name in ("delay", "factor", "most", "jitter"):
            value = getattr(self, name)
            if (
                isinstance(value, bool)
                or not isinstance(value, (int, float))
                or not 0 <= value < 1e10
            ):
                raise InvalidTaskError(f"{name} must be at least 0, not {value!r}")

    def pause(self, problem: BaseException, failures: int) -> float | None:
        """Seconds to wait before a task is run again; ``None``: it is not.

        Args:
            problem: its last failure.
            failures: how often it has failed.
        """
        if failures > self.times:
            return None
        try:
            seconds = (
                min(self.delay * self.factor ** (failures - 1), self.most) if self.delay else 0.0
            )
        except OverflowError:
            seconds = self.most
        if self.when is not None:
            answer = self.when(problem, failures)
            if (
                answer is None
                or isinstance(answer, bool)
                or type(answer).__name__.startswith("bool")
            ):
                if not answer:
                    return None
            else:
                return max(0.0, float(answer))
        return seconds * (1 + random.uniform(-self.jitter, self.jitter)) if seconds else 0.0


NEVER = Retry(0)
