"""Requests to a broker, and threads that wait for their answers."""

from __future__ import annotations

import _thread
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Answer", "Group", "Payload", "Rpc"]

Payload = dict[str, Any]
Answer = Payload | Exception
"""What came back: the payload (empty if there was none), or why there is none: a
:class:`~exaworks.psij.executors.flux.messages.FluxError` is the broker's answer."""


class Rpc:
    """A request.

    Attributes:
        topic: service and method.
        make: makes the payload from the numeric id of the user that the broker knows us as.
        then: called with the answer in the reactor's thread; with each, if there are several.
        streaming: whether several answers are expected.
        key: if the request must not be carried out twice: what it leaves, as a job's
            ``attributes.user`` names it.
        late: called with the payload if the answer comes when nobody waits for it any more.
        wanted: whether somebody waits for the answer.
        sent: whether it was sent, on this connection or an earlier one.
        matchtag: its number on the connection.
    """

    __slots__ = ("key", "late", "make", "matchtag", "sent", "streaming", "then", "topic", "wanted")

    def __init__(
        self,
        topic: str,
        payload: Payload | Callable[[int], Payload],
        then: Callable[[Answer], None] | None = None,
        *,
        streaming: bool = False,
        key: str | None = None,
        late: Callable[[Payload], None] | None = None,
    ) -> None:
        self.topic = topic
        self.make = payload if callable(payload) else lambda uid: payload
        self.then = then
        self.streaming = streaming
        self.key = key
        self.late = late
        self.wanted = True
        self.sent = False
        self.matchtag = 0

    def answer(self, answer: Answer) -> None:
        """Hand on an answer."""
        if self.then is not None:
            self.then(answer)


class Group:
    """Requests whose answers one thread waits for."""

    def __init__(self, rpcs: Sequence[Rpc]) -> None:
        self._rpcs = rpcs
        self._answers: list[Answer | None] = [None] * len(rpcs)
        # Whoever takes the one item decides what becomes of a request: the reactor with an answer,
        # or the thread that gives up. A list needs no lock for that.
        self._claims: list[list[None]] = [[None] for _ in rpcs]
        self._left = len(rpcs)
        # A bare lock as a latch: unlike an Event, it has no lock of its own that a thread would
        # hold when a signal handler interrupts it.
        self._undone = _thread.allocate_lock()
        self._undone.acquire()
        for index, rpc in enumerate(rpcs):
            rpc.then = self._taker(index, rpc, rpc.then)
        if not rpcs:
            self._undone.release()

    def _claim(self, index: int) -> bool:
        try:
            self._claims[index].pop()
        except IndexError:
            return False
        return True

    def _taker(
        self, index: int, rpc: Rpc, then: Callable[[Answer], None] | None
    ) -> Callable[[Answer], None]:
        def take(answer: Answer) -> None:
            if not self._claim(index):
                if not rpc.wanted and rpc.late is not None and isinstance(answer, dict):
                    rpc.late(answer)
                return
            try:
                if then is not None:
                    then(answer)
            except Exception as problem:
                answer = problem
                raise
            finally:
                self._answers[index] = answer
                self._left -= 1
                if not self._left:
                    self._undone.release()

        return take

    def wait(self, timeout: float) -> bool:
        """Wait until all are answered; for ever if ``timeout`` is -1."""
        return self._undone.acquire(True, timeout)

    def give_up(self, problem: Exception) -> None:
        """Want no more answers, and take ``problem`` for those that have not come."""
        taken = False
        for index, rpc in enumerate(self._rpcs):
            if self._claim(index):
                rpc.wanted = False
                self._answers[index] = problem
            elif self._answers[index] is None:
                taken = True
        if taken:  # the reactor has an answer in its hands; it is done in a moment
            while any(answer is None for answer in self._answers):
                self._undone.acquire(True, 0.01)

    @property
    def answers(self) -> list[Answer]:
        """The answers, after all have come or were given up."""
        return [answer for answer in self._answers if answer is not None]
