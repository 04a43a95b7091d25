"""A request to the keeper that waits for its reply."""

from __future__ import annotations

import _thread
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from exaworks.psij.exceptions import SubmitException

if TYPE_CHECKING:
    from exaworks.psij.executors.local.request import Context

__all__ = ["Pending", "Refused", "Reply"]

Reply = dict[str, Any]


class Refused(SubmitException):
    """The keeper answered a request with an error; ``code`` is the protocol's name for it."""

    def __init__(self, error: dict[str, Any]) -> None:
        self.code = error["code"]
        transient = self.code in ("busy", "unavailable")
        super().__init__(f"the keeper of local jobs: {error['message']}", transient=transient)


class Pending:
    """A request that waits for its reply."""

    __slots__ = (
        "_open", "_undone", "again", "contexts", "failure", "frame", "n", "reply", "sent", "then",
        "timeout",
    )  # fmt: skip

    def __init__(
        self,
        n: int,
        data: bytes,
        timeout: float,
        contexts: Sequence[Context],
        then: Callable[[Reply], None] | None,
    ) -> None:
        self.n = n
        self.frame = data
        self.contexts = contexts
        self.then = then
        self.timeout = timeout
        self.sent = False
        self.again = False  # sent twice, because the keeper did not have a context any more
        self.reply: Reply | None = None
        self.failure: SubmitException | None = None
        self._open = [None]
        # A bare lock as a latch: unlike an Event, it has no lock of its own that a thread would
        # hold when a signal handler interrupts it.
        self._undone = _thread.allocate_lock()
        self._undone.acquire()

    @property
    def open(self) -> bool:
        """Whether somebody still waits for the reply."""
        return bool(self._open)

    def claim(self) -> bool:
        """Whether the caller is the one to decide what becomes of it: the first that asks."""
        try:
            self._open.pop()
        except IndexError:
            return False
        return True

    def done(self) -> None:
        """Let the thread that waits go on."""
        self._undone.release()

    def wait(self, timeout: float) -> bool:
        """Wait until it is done, for ever if ``timeout`` is -1."""
        return self._undone.acquire(True, timeout)

    def fail(self, failure: SubmitException) -> None:
        """Let the request fail, unless somebody has claimed it."""
        if self.claim():
            self.failure = failure
            self.done()
