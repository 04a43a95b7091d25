"""The connection of this process to the keeper, shared by all its executors.

A thread that wants something encodes its request, puts it into a queue and waits for the reply.
Everything else belongs to the reactor's thread, which alone reads and writes the socket and
never blocks. So no lock is ever held that a signal handler, or the reactor, could need; and a
thread that is interrupted leaves no half of a frame behind.
"""

from __future__ import annotations

import itertools
import logging
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from exaworks.core.keeper import scope
from exaworks.core.keeper.protocol import Decoder, KeeperError, encode, frame
from exaworks.core.keeper.start import connect
from exaworks.core.reactor import Reactor, Timer
from exaworks.psij.exceptions import InvalidJobException, SubmitException
from exaworks.psij.executors.local.pending import Pending, Refused, Reply

if TYPE_CHECKING:
    from exaworks.psij.executors.local.request import Context

__all__ = ["LOST", "KeeperLink", "snapshot_time"]

logger = logging.getLogger(__name__)

Follower = Callable[[str, float, dict[str, Any]], bool]
"""Told of a state, when, and its details; returns whether it wants to hear more."""

LOST = (
    "The keeper of local jobs does not know this job: the id is wrong, the job ended more than "
    "30 days ago, or the keeper's records were removed."
)

_RECONNECT_DELAYS = (0.05, 0.2, 1.0, 2.0, 5.0, 10.0)
_WATCHED_AT_ONCE = 1000
_CONNECT_TIMEOUT = 10.0  # when no request waits that has its own
_LAST_CHANCE = 0.5  # for the reactor to take a reply that came while this program was stopped


class KeeperLink:
    """Sends requests to the keeper and hands its events to those who follow jobs.

    If the keeper goes away (it was killed; its supervisor starts another one), the link connects
    again, for as long as a job is followed, repeats the requests that were not answered (jobs
    carry a key, so that the keeper takes each only once) and asks what has become of the jobs
    that are followed.
    """

    # By the path of the home; dict.setdefault() decides between threads, without a lock.
    _links: ClassVar[dict[str, KeeperLink]] = {}

    def __init__(self, home: str) -> None:
        self._home = home
        self._numbers = itertools.count(1)
        self._asked: deque[Pending] = deque()  # filled by all threads, emptied by the reactor
        self._heard = 0.0
        # What follows is of the reactor's thread alone.
        self._socket: socket.socket | None = None
        self._decoder = Decoder()
        self._contexts: set[str] = set()
        self._pending: dict[int, Pending] = {}
        self._out: deque[Pending | bytes] = deque()
        self._watches: dict[int, list[int]] = {}
        self._part = memoryview(b"")
        self._blocked = False
        self._followers: dict[int, list[Follower]] = {}
        self._connecting = False
        self._attempts = 0
        self._retry: Timer | None = None

    @classmethod
    def get(cls, home: str) -> KeeperLink:
        """The link of this process to the keeper below ``home``."""
        return cls._links.get(home) or cls._links.setdefault(home, KeeperLink(home))

    @classmethod
    def _forget_after_fork(cls) -> None:
        parents, cls._links = cls._links, {}
        for link in parents.values():
            if link._socket is not None:
                link._socket.close()  # the child's copy only

    # -- in any thread but the reactor's ------------------------------------------------------

    def request(
        self,
        message: dict[str, Any] | str,
        timeout: float,
        contexts: Sequence[Context] = (),
        then: Callable[[Reply], None] | None = None,
    ) -> Reply:
        """Send a request and wait for the reply. Not from the reactor's thread.

        Args:
            message: the request, or the JSON of an object with at least one member.
            timeout: how many seconds the keeper may be silent.
            contexts: contexts that it refers to; each is sent before it, once a connection.
            then: called with the reply in the reactor's thread before any later event is handled.

        Raises:
            InvalidJobException: the request cannot be sent: it is too long, or no JSON.
            SubmitException: the keeper refused (:class:`Refused`), cannot be reached, or does
                not answer.
        """
        number = next(self._numbers)
        try:
            if isinstance(message, str):
                data = frame(f'{message[:-1]},"n":{number}}}')
            else:
                data = encode({**message, "n": number})
        except (KeeperError, TypeError, ValueError, RecursionError) as problem:
            raise InvalidJobException(f"cannot be sent to the keeper: {problem}", problem) from None
        pending = Pending(number, data, timeout, contexts, then)
        start = time.monotonic()
        try:
            reactor = Reactor.get()
        except RuntimeError as problem:
            raise SubmitException(f"local jobs need a thread: {problem}", problem, True) from None
        self._asked.append(pending)
        reactor.call_soon(self._take)
        remaining = timeout
        while not pending.wait(remaining):
            remaining = max(start, self._heard) + timeout - time.monotonic()
            if remaining > 0:
                continue
            if pending.wait(_LAST_CHANCE):
                break
            if pending.claim():
                reactor.call_soon(lambda: self._give_up(number))
                raise SubmitException(self._silence(timeout), transient=True)
            remaining = -1  # the reactor has the reply and is about to be done with it
        if pending.failure is not None:
            raise pending.failure
        assert pending.reply is not None
        if pending.reply.get("error"):
            raise Refused(pending.reply["error"])
        return pending.reply

    def _silence(self, timeout: float) -> str:
        folder = scope.scope_folder(self._home, os.environ)
        return (
            f"the keeper of local jobs in {folder} has not answered for {timeout:g} s. It may be "
            f"stopped, or its disk may be slow; its log is {os.path.join(folder, scope.LOG)}. "
            "Trying again is safe: no job runs twice"
        )

    # -- in the reactor's thread: requests ----------------------------------------------------

    def follow(self, number: int, follower: Follower) -> None:
        """Hand the further events of a job to ``follower``. Only in the reactor's thread."""
        self._followers.setdefault(number, []).append(follower)

    def _take(self) -> None:
        while self._asked:
            pending = self._asked.popleft()
            self._pending[pending.n] = pending
            self._queue(pending)
        if self._socket is None:
            self._connect()
        elif not self._blocked:
            self._write()

    def _give_up(self, number: int) -> None:
        self._pending.pop(number, None)

    def _queue(self, pending: Pending) -> None:
        if self._socket is None:
            return
        for context in pending.contexts:
            if context.id not in self._contexts:
                self._contexts.add(context.id)
                self._out.append(context.frame)
        self._out.append(pending)

    def _write(self) -> None:
        """Send what the keeper takes without blocking."""
        connection = self._socket
        assert connection is not None
        while self._part or self._out:
            if not self._part:
                item = self._out.popleft()
                if isinstance(item, Pending):
                    if not item.open:
                        continue
                    item.sent, item = True, item.frame
                self._part = memoryview(item)
            try:
                sent = connection.send(self._part)
            except BlockingIOError:
                if not self._blocked:
                    Reactor.get().add_writer(connection.fileno(), self._write)
                    self._blocked = True
                return
            except OSError:  # the reader sees it too, and what the keeper said before
                self._out.clear()
                self._part = memoryview(b"")
                break
            self._part = self._part[sent:]
        if self._blocked:
            Reactor.get().remove_writer(connection.fileno())
            self._blocked = False

    # -- in the reactor's thread: replies and events ------------------------------------------

    def _read(self) -> None:
        connection = self._socket
        assert connection is not None
        try:
            data = connection.recv(1 << 18)
            messages = self._decoder.feed(data)
        except BlockingIOError:
            return
        except (OSError, KeeperError) as problem:
            logger.debug("the connection to the keeper failed: %s", problem)
            data, messages = b"", []
        self._heard = time.monotonic()
        for message in messages:
            try:
                self._handle(message)
            except Exception:
                logger.exception("a message of the keeper could not be handled")
        if not data:
            self._disconnected(connection)

    def _handle(self, message: dict[str, Any]) -> None:
        if "n" not in message:
            for number, state, when, detail in message["events"]:
                self._event(number, state, when, detail or {})
            return
        error = message.get("error")
        watched = self._watches.pop(message["n"], None)
        if watched is not None:
            if error:
                logger.warning("the keeper of local jobs: %s", error["message"])
                Reactor.get().call_later(1.0, lambda: self._watch(watched))
            else:
                self.catch_up(watched, message["snapshots"])
            return
        pending = self._pending.pop(message["n"], None)
        if pending is None:
            return
        if error and error["code"] == "unknown_env" and not pending.again:
            pending.again = True
            # It was too long ago that the context was sent; the keeper has dropped it.
            self._contexts.difference_update(context.id for context in pending.contexts)
            self._asked.append(pending)
            self._take()
            return
        if not pending.claim():
            return
        pending.reply = message
        if pending.then is not None and not error:
            try:
                pending.then(message)
            except Exception as problem:
                logger.exception("a reply of the keeper could not be handled")
                pending.failure = SubmitException(f"internal error: {problem!r}", problem)
        pending.done()

    def _event(self, number: int, state: str, when: float, detail: dict[str, Any]) -> None:
        staying = []
        for follower in self._followers.pop(number, ()):
            try:
                if follower(state, when, detail):
                    staying.append(follower)
            except Exception:
                logger.exception("the state %s of local job %d could not be handled", state, number)
        if staying:
            self._followers.setdefault(number, []).extend(staying)

    def catch_up(self, numbers: Iterable[int], snapshots: Iterable[Reply | None]) -> None:
        """Hand the state that snapshots show to the followers. In the reactor's thread."""
        for number, snapshot in zip(numbers, snapshots, strict=True):
            if snapshot is None:
                self._event(number, "FAILED", time.time(), {"reason": "lost", "message": LOST})
            else:
                self._event(number, snapshot["state"], snapshot_time(snapshot), snapshot)

    # -- in the reactor's thread: the connection ----------------------------------------------

    def _connect(self) -> None:
        if self._connecting:
            return
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        timeout = max((p.timeout for p in self._pending.values()), default=_CONNECT_TIMEOUT)
        # Connecting may take long, and starts the keeper if need be.
        thread = threading.Thread(
            target=self._try, args=(timeout,), name="exaworks-keeper", daemon=True
        )
        self._connecting = True
        try:
            thread.start()
        except RuntimeError as problem:
            self._failed(KeeperError(f"cannot connect to the keeper of local jobs: {problem}"))

    def _try(self, timeout: float) -> None:
        """Try once to connect; in a thread of its own."""
        try:
            connection = connect(Path(self._home), timeout)
        except BaseException as problem:
            failure = problem
            if not isinstance(problem, KeeperError):
                logger.exception("connecting to the keeper of local jobs failed")
            Reactor.get().call_soon(lambda: self._failed(failure))
        else:
            Reactor.get().call_soon(lambda: self._connected(connection))

    def _connected(self, connection: socket.socket) -> None:
        if self._attempts:
            logger.info("the keeper of local jobs answers again")
        self._connecting, self._attempts = False, 0
        self._heard = time.monotonic()
        connection.setblocking(False)
        self._socket, self._decoder, self._contexts = connection, Decoder(), set()
        Reactor.get().add_reader(connection.fileno(), self._read)
        for pending in list(self._pending.values()):
            if pending.open:
                self._queue(pending)
            else:
                del self._pending[pending.n]
        followed = list(self._followers)
        for start in range(0, len(followed), _WATCHED_AT_ONCE):
            self._watch(followed[start : start + _WATCHED_AT_ONCE])
        self._take()

    def _watch(self, numbers: list[int]) -> None:
        if self._socket is None:  # the next connection watches all that are followed
            return
        n = next(self._numbers)
        self._watches[n] = numbers
        self._out.append(encode({"op": "watch", "ids": numbers, "meta": False, "n": n}))
        if not self._blocked:
            self._write()

    def _failed(self, problem: BaseException) -> None:
        self._connecting = False
        failure = SubmitException(str(problem), transient=True)
        for pending in list(self._pending.values()):
            if not pending.sent:  # what the last keeper may have taken is worth another try
                pending.fail(failure)
            if not pending.open:
                del self._pending[pending.n]
        if not self._pending and not self._followers:
            self._attempts = 0
            return
        if not self._attempts:
            logger.warning("%s. Trying again until the keeper answers", problem)
        delay = _RECONNECT_DELAYS[min(self._attempts, len(_RECONNECT_DELAYS) - 1)]
        self._attempts += 1
        self._retry = Reactor.get().call_later(delay, self._connect)

    def _disconnected(self, connection: socket.socket) -> None:
        reactor = Reactor.get()
        reactor.remove_reader(connection.fileno())
        reactor.remove_writer(connection.fileno())
        connection.close()
        self._socket, self._blocked, self._part = None, False, memoryview(b"")
        self._out.clear()
        self._watches.clear()
        if self._pending or self._followers:
            logger.info("the connection to the keeper of local jobs was lost; connecting again")
            self._connect()


def snapshot_time(snapshot: dict[str, Any]) -> float:
    """When a job entered the state that a snapshot of the keeper shows."""
    for key in ("ended", "active", "started", "submitted"):
        if snapshot.get(key):
            return float(snapshot[key])
    return time.time()


os.register_at_fork(after_in_child=KeeperLink._forget_after_fork)
