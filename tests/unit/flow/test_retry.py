"""When a call is run again."""

from __future__ import annotations

from typing import Any

import pytest

from exaworks.flow import Retry
from exaworks.tasks import InvalidTaskError

PROBLEM = ValueError("no")


def test_the_pause_grows_up_to_a_limit() -> None:
    policy = Retry(5, delay=1, factor=3, most=10, jitter=0)
    assert [policy.pause(PROBLEM, n) for n in range(1, 7)] == [1, 3, 9, 10, 10, None]


def test_it_varies() -> None:
    pauses = {Retry(1, delay=100, jitter=0.1).pause(PROBLEM, 1) for _ in range(50)}
    assert len(pauses) > 40
    assert all(pause is not None and 90 <= pause <= 110 for pause in pauses)


@pytest.mark.parametrize(("answer", "pause"), [(True, 2), (False, None), (7, 7), (0, 0)])
def test_a_policy_of_ones_own(answer: Any, pause: Any) -> None:
    asked: list[Any] = []

    def when(problem: BaseException, failures: int) -> Any:
        asked.append((problem, failures))
        return answer

    assert Retry(3, delay=1, jitter=0, when=when).pause(PROBLEM, 2) == pause
    assert asked == [(PROBLEM, 2)]
    assert Retry(3, when=when).pause(PROBLEM, 4) is None


def test_very_many_times() -> None:
    policy = Retry(5000, delay=1, jitter=0)
    assert policy.pause(PROBLEM, 4999) == policy.most
    assert Retry(5000).pause(PROBLEM, 4999) == 0


def test_a_number_is_a_policy() -> None:
    assert Retry.of(2) == Retry(2)
    assert Retry.of(2).pause(PROBLEM, 2) == 0
    policy = Retry(1)
    assert Retry.of(policy) is policy


@pytest.mark.parametrize("fields", [{"times": -1}, {"times": 1.5}, {"delay": -1}, {"factor": "x"}])
def test_what_makes_no_sense(fields: Any) -> None:
    with pytest.raises(InvalidTaskError, match=next(iter(fields)).replace("times", "retries")):
        Retry(**fields)
