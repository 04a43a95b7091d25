"""The connection of this process to the keeper, shared by all its executors."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from exaworks.core.keeper.protocol import Decoder, KeeperError, encode
from exaworks.core.keeper.start import connect
from exaworks.core.reactor import Reactor
from exaworks.psij.exceptions import SubmitException

if TYPE_CHECKING:
    from exaworks.psij.executors.local.request import Context

__all__ = ["KeeperLink"]

logger = logging.getLogger(__name__)

Reply = dict[str, Any]
Follower = Callable[[str, float, dict[str, Any]], bool]
"""Told of a state, when, and its details; returns whether it wants to hear more."""

_RECONNECT_DELAYS = (0.05, 0.2, 1.0, 2.0, 5.0, 10.0)


class _Pending:
    """A request that waits for its reply."""

    def __init__(self, message: dict[str, Any], then: Callable[[Reply], None] | None) -> None:
        self.message = message
        self.then = then
        self.reply: Reply | None = None
        self.failure: Exception | None = None
        self.done = threading.Event()


class KeeperLink:
    """Sends requests to the keeper and hands its events to those who follow jobs.

    If the keeper goes away (it was killed; its supervisor starts another one), the link connects
    again, repeats the requests that were not answered (jobs carry a key, so that the keeper takes
    each only once) and asks what has become of the jobs that are followed.
    """

    _links: ClassVar[dict[Path, KeeperLink]] = {}
    _links_lock = threading.Lock()

    def __init__(self, home: Path, timeout: float) -> None:
        self._home = home
        self._timeout = timeout
        self._lock = threading.RLock()  # guards all that follows
        self._socket: socket.socket | None = None
        self._connecting = False
        self._decoder = Decoder()
        self._contexts: set[str] = set()
        self._pending: dict[int, _Pending] = {}
        self._last_number = 0
        self._followers: dict[int, list[Follower]] = {}

    @classmethod
    def get(cls, home: Path, timeout: float) -> KeeperLink:
        """The link of this process to the keeper below ``home``."""
        with cls._links_lock:
            if home not in cls._links:
                cls._links[home] = KeeperLink(home, timeout)
            return cls._links[home]

    @classmethod
    def _forget_after_fork(cls) -> None:
        parents, cls._links = cls._links, {}
        cls._links_lock = threading.Lock()
        for link in parents.values():
            if link._socket is not None:
                link._socket.close()  # the child's copy only

    def request(
        self,
        message: dict[str, Any],
        context: Iterable[Context] = (),
        then: Callable[[Reply], None] | None = None,
    ) -> Reply:
        """Send a request and wait for the reply. Not from the reactor's thread.

        Args:
            message: the request.
            context: contexts that it refers to; each is sent before it, once a connection.
            then: called with the reply in the reactor's thread before any later event is handled.

        Raises:
            SubmitException: the keeper refused, or cannot be reached.
        """
        pending = _Pending(message, then)
        contexts = tuple(context)
        with self._lock:
            self._ensure_connected()
            for each in contexts:
                if each.id not in self._contexts:
                    self._send(_Pending({"op": "env", **each.message}, None))
                    self._contexts.add(each.id)
            self._send(pending)
        pending.done.wait()
        if pending.failure is not None:
            raise _as_submit_exception(pending.failure)
        assert pending.reply is not None
        error = pending.reply.get("error")
        if error and error.get("code") == "unknown_env":
            with self._lock:  # a new keeper that does not have it any more
                self._contexts.clear()
            return self.request(message, contexts, then)
        if error:
            raise SubmitException(
                f"the keeper of local jobs: {error['message']}",
                transient=error.get("code") in ("busy", "unavailable"),
            )
        return pending.reply

    def follow(self, number: int, follower: Follower) -> None:
        """Hand the further events of a job to ``follower``, until it has had enough."""
        with self._lock:
            self._followers.setdefault(number, []).append(follower)

    def followed(self) -> list[int]:
        """The numbers of the jobs that are followed."""
        with self._lock:
            return list(self._followers)

    def _send(self, pending: _Pending) -> None:
        self._last_number += 1
        number = self._last_number
        self._pending[number] = pending
        assert self._socket is not None
        # an error here is seen by the reader as well, which repeats the request elsewhere
        with contextlib.suppress(OSError):
            self._socket.sendall(encode({**pending.message, "n": number}))

    def _ensure_connected(self) -> None:
        """Connect if need be. The caller holds the lock."""
        if self._socket is not None:
            return
        try:
            connection = connect(self._home, self._timeout)
        except KeeperError as problem:
            raise _as_submit_exception(problem) from problem
        self._socket, self._decoder, self._contexts = connection, Decoder(), set()
        reactor = Reactor.get()
        reactor.call_soon(lambda: reactor.add_reader(connection.fileno(), self._read))
        unanswered, self._pending = list(self._pending.values()), {}
        for pending in unanswered:
            self._send(pending)
        if self._followers:
            followed = list(self._followers)
            self._send(
                _Pending(
                    {"op": "watch", "ids": followed},
                    lambda reply: self.catch_up(followed, reply["snapshots"]),
                )
            )

    def _read(self) -> None:
        """Take what has arrived. In the reactor's thread."""
        connection = self._socket
        if connection is None:
            return
        try:
            data = connection.recv(1 << 18, socket.MSG_DONTWAIT)
            messages = self._decoder.feed(data)
        except BlockingIOError:
            return
        except (OSError, KeeperError) as problem:
            logger.debug("the connection to the keeper failed: %s", problem)
            data, messages = b"", []
        for message in messages:
            self._handle(message)
        if not data:
            self._disconnected(connection)

    def _handle(self, message: dict[str, Any]) -> None:
        if "n" not in message:
            for number, state, time, detail in message["events"]:
                self._event(number, state, time, detail or {})
            return
        with self._lock:
            pending = self._pending.pop(message["n"], None)
        if pending is None:
            return
        pending.reply = message
        if pending.then is not None and not message.get("error"):
            try:
                pending.then(message)
            except Exception as problem:
                logger.exception("a reply of the keeper could not be handled")
                pending.failure = problem
        pending.done.set()

    def _event(self, number: int, state: str, time: float, detail: dict[str, Any]) -> None:
        with self._lock:
            followers = self._followers.pop(number, ())
        staying = [each for each in followers if each(state, time, detail)]
        if staying:
            with self._lock:
                self._followers.setdefault(number, []).extend(staying)

    def catch_up(self, numbers: Iterable[int], snapshots: Iterable[Reply | None]) -> None:
        """Hand the state that snapshots show to the followers. In the reactor's thread."""
        for number, snapshot in zip(numbers, snapshots, strict=True):
            if snapshot is None:
                self._event(number, "FAILED", 0.0, {"reason": "lost", "message": LOST})
            else:
                self._event(number, snapshot["state"], snapshot_time(snapshot), snapshot)

    def _disconnected(self, connection: socket.socket) -> None:
        Reactor.get().remove_reader(connection.fileno())
        with self._lock:
            connection.close()
            self._socket = None
            if not self._pending and not self._followers:
                return
            if self._connecting:
                return
            self._connecting = True
        logger.info("the connection to the keeper of local jobs was lost; connecting again")
        threading.Thread(target=self._reconnect, name="exaworks-keeper", daemon=True).start()

    def _reconnect(self) -> None:
        """Connect again and again; in a thread that ends when that is done."""
        pause = threading.Event()
        for delay in _RECONNECT_DELAYS:
            try:
                with self._lock:
                    self._ensure_connected()
                    self._connecting = False
                return
            except SubmitException as problem:
                logger.warning("%s", problem)
                failure = problem
            pause.wait(delay)
        with self._lock:
            self._connecting = False
            unanswered, self._pending = list(self._pending.values()), {}
            followed = list(self._followers)
        for pending in unanswered:
            pending.failure = failure
            pending.done.set()
        message = f"{LOST} {failure.message}"
        for number in followed:
            self._event(number, "FAILED", 0.0, {"reason": "lost", "message": message})


LOST = (
    "The keeper of local jobs does not know this job: the id is wrong, the job ended more than "
    "30 days ago, or the keeper's records were removed."
)


def snapshot_time(snapshot: dict[str, Any]) -> float:
    """When a job entered the state that a snapshot of the keeper shows."""
    for key in ("ended", "active", "started", "submitted"):
        if snapshot.get(key):
            return float(snapshot[key])
    return 0.0


def _as_submit_exception(problem: Exception) -> SubmitException:
    if isinstance(problem, SubmitException):
        return problem
    return SubmitException(str(problem), problem, transient=True)


os.register_at_fork(after_in_child=KeeperLink._forget_after_fork)
