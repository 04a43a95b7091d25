"""The link of this process to one Flux instance, shared by all its executors.

A thread that wants something hands its requests over and waits for the answers. Everything else
belongs to the reactor's thread, which alone reads and writes the socket and never blocks; no lock
is held that a signal handler, or the reactor, could need.
"""

from __future__ import annotations

import itertools
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar

from exaworks.core.reactor import Reactor, Timer
from exaworks.psij.exceptions import SubmitException
from exaworks.psij.executors.flux.address import Address
from exaworks.psij.executors.flux.connection import Connection, ConnectionFailed
from exaworks.psij.executors.flux.messages import Response, encode_request
from exaworks.psij.executors.flux.rpc import Answer, Group, Rpc
from exaworks.psij.executors.flux.watch import Watch

__all__ = ["FluxLink"]

logger = logging.getLogger(__name__)

_RECONNECT_DELAYS = (0.05, 0.2, 1.0, 2.0, 5.0, 10.0, 30.0)
_IDLE = 30.0
# A submission can be on its way through the instance for a moment, longest if it is the first and
# the instance has to start what checks it.
_SETTLE = 3.0
_LAST_CHANCE = 0.5


class FluxLink:
    """Sends requests to a broker, and keeps the connection as long as it is needed.

    If the connection is lost, the link connects again as long as somebody follows a job or waits
    for an answer. Requests that were not answered are repeated; of a submission it is first found
    out whether it arrived, so that no job runs twice.

    Attributes:
        address: where the instance is.
        patience: how many seconds nobody may listen there before its jobs are given up.
        heard: when the broker last answered, by the monotonic clock.
        watch: what becomes of the jobs.
        uid: the numeric id of the user that the broker knows us as.
        replaced: whether the broker is another process than it was before the connection was
            lost: the instance was started anew, with its jobs or without.
    """

    # By address and way of watching; dict.setdefault() decides between threads, without a lock.
    _links: ClassVar[dict[tuple[Address, bool], FluxLink]] = {}

    def __init__(self, address: Address, guest: bool) -> None:
        self.address = address
        self.patience = 0.0
        self.heard = 0.0
        # What follows is of the reactor's thread alone.
        self.watch = Watch(self, guest)
        self.uid = os.getuid()
        self.replaced = False
        self._instance: str | None = None
        self._connection: Connection | None = None
        self._ready = False
        self._numbers = itertools.count(1)
        self._open: dict[int, Rpc] = {}
        self._waiting: deque[Rpc] = deque()
        self._uncertain: list[Rpc] = []
        self._attempts = 0
        self._gone_since: float | None = None
        self._retry: Timer | None = None
        self._settling: Timer | None = None
        self._idle: Timer | None = None
        self._used_at = 0.0

    @classmethod
    def get(cls, address: Address, guest: bool, patience: float) -> FluxLink:
        """The link of this process to the instance at an address.

        Args:
            address: where it is.
            guest: watch jobs one by one, as those must who are not the owner of the instance.
            patience: how many seconds nobody may listen at the address before the jobs there are
                given up; the greatest that was asked for holds.
        """
        key = (address, guest)
        link = cls._links.get(key) or cls._links.setdefault(key, FluxLink(address, guest))
        link.patience = max(link.patience, patience)
        return link

    @classmethod
    def _forget_after_fork(cls) -> None:
        parents, cls._links = cls._links, {}
        for link in parents.values():
            if link._connection is not None:
                link._connection.abandon()

    # -- in any thread but the reactor's ------------------------------------------------------

    def call(
        self, rpcs: Sequence[Rpc], timeout: float, begin: Callable[[], None] | None = None
    ) -> list[Answer]:
        """Send requests, all at once, and wait for the answers.

        Args:
            rpcs: the requests.
            timeout: how many seconds the broker may be silent.
            begin: done in the reactor's thread instead of sending the requests; it sees to it
                that they are answered.

        Returns:
            the answers; for those that did not come in time, a :class:`SubmitException`.
        """
        group = Group(rpcs)
        start = time.monotonic()
        self.in_reactor(begin or (lambda: self._send_all(rpcs)))
        remaining = timeout
        try:
            while not group.wait(max(0.0, remaining)):
                remaining = max(start, self.heard) + timeout - time.monotonic()
                if remaining <= 0 and not group.wait(_LAST_CHANCE):
                    group.give_up(self._silence(timeout))
                    break
        except BaseException:  # such as KeyboardInterrupt
            group.give_up(self._silence(timeout))
            raise
        return group.answers

    def _silence(self, timeout: float) -> SubmitException:
        return SubmitException(
            f"the Flux instance at {self.address.uri} has not answered for {timeout:g} s; is its "
            "broker stopped, or the network down?",
            transient=True,
        )

    def in_reactor(self, what: Callable[[], None]) -> None:
        """Do something in the reactor's thread.

        Raises:
            SubmitException: there is no thread to be had.
        """
        try:
            Reactor.get().call_soon(what)
        except RuntimeError as problem:
            raise SubmitException(f"Flux needs a thread: {problem}", problem, True) from None

    # -- in the reactor's thread: requests ----------------------------------------------------

    def _send_all(self, rpcs: Sequence[Rpc]) -> None:
        for rpc in rpcs:
            self.send(rpc)

    def send(self, rpc: Rpc) -> None:
        """Send a request; connect if need be."""
        self._used_at = time.monotonic()
        if self._ready:
            self._transmit(rpc)
        else:
            self._waiting.append(rpc)
            self.connect()

    def _transmit(self, rpc: Rpc) -> None:
        assert self._connection is not None
        rpc.matchtag = next(self._numbers)
        rpc.sent = True
        try:
            data = encode_request(rpc.topic, rpc.make(self.uid), rpc.matchtag, rpc.streaming)
        except (TypeError, ValueError, RecursionError) as problem:
            rpc.answer(SubmitException(f"cannot be sent to Flux: {problem}", problem))
            return
        self._open[rpc.matchtag] = rpc
        self._connection.send(data)

    def stop(self, rpc: Rpc) -> None:
        """Want no more answers of a stream (RFC 6, "Streaming Remote Procedure Call")."""
        rpc.then, rpc.wanted = None, False
        if self._ready and self._connection is not None and rpc.matchtag in self._open:
            payload = {"matchtag": rpc.matchtag}
            self._connection.send(
                encode_request(f"{rpc.topic}-cancel", payload, 0, no_response=True)
            )

    def _answered(self, response: Response) -> None:
        self.heard = time.monotonic()
        rpc = self._open.get(response.matchtag)
        if rpc is None:
            return
        if not rpc.streaming or response.error is not None:
            del self._open[response.matchtag]
        answer: Answer = response.error if response.error is not None else response.payload or {}
        try:
            rpc.answer(answer)
        except Exception:
            logger.exception("an answer of Flux to %s could not be handled", rpc.topic)
        self._check_idle()

    # -- in the reactor's thread: the connection ----------------------------------------------

    def connect(self) -> None:
        """Connect, unless that is done or under way."""
        if self._connection is not None:
            return
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        try:
            self._connection = Connection(self.address, self._welcomed, self._answered, self._ended)
        except ConnectionFailed as problem:
            self._failed(problem)

    def _welcomed(self) -> None:
        """Ask who is there; the connection is ready when that is known."""
        facts: dict[str, str | None] = {}

        def learn(name: str) -> Rpc:
            def take(answer: Answer) -> None:
                facts[name] = str(answer["value"]) if isinstance(answer, dict) else None
                if len(facts) == 2:
                    self._known(facts["broker.uuid"], facts["security.owner"])

            return Rpc("attr.get", {"name": name}, take)

        for name in ("broker.uuid", "security.owner"):
            self._transmit(learn(name))

    def _known(self, instance: str | None, owner: str | None) -> None:
        self._gone_since, self._ready = None, True
        self.replaced = self._instance is not None and instance != self._instance
        self._instance = instance
        if self.address.remote and owner is not None and owner.isdigit():
            self.uid = int(owner)  # we are somebody else here than there
        self.watch.connected()
        waiting, self._waiting = self._waiting, deque()
        for rpc in waiting:
            if rpc.wanted:
                self._transmit(rpc)
        self._check_idle()

    def synced(self) -> None:
        """The jobs that the instance has are known again."""
        if self._attempts:
            logger.info("the Flux instance at %s answers again", self.address.uri)
        self._attempts = 0
        if self._uncertain:
            self._settling = Reactor.get().call_later(_SETTLE, self._settled)

    def arrived(self, key: str, number: int) -> None:
        """A submission of which that was uncertain has arrived."""
        for rpc in [each for each in self._uncertain if each.key == key]:
            self._uncertain.remove(rpc)
            rpc.answer({"id": number})

    def _settled(self) -> None:
        """What has not arrived by now was lost on the way."""
        uncertain, self._uncertain = self._uncertain, []
        for rpc in uncertain:
            if rpc.wanted:
                self.send(rpc)

    @property
    def is_uncertain(self) -> bool:
        """Whether there are requests of which it is not known whether they arrived."""
        return bool(self._uncertain)

    def _ended(self, failure: ConnectionFailed) -> None:
        was_ready, self._ready, self._connection = self._ready, False, None
        self.watch.broken()
        if self._settling is not None:
            self._settling.cancel()
        unanswered = list(self._open.values())
        self._open.clear()
        if not was_ready:
            self._failed(failure)
            return
        for rpc in reversed(unanswered):
            if rpc.streaming:
                rpc.answer(failure)
            elif rpc.key is not None:
                self._uncertain.append(rpc)
            elif rpc.wanted:
                self._waiting.appendleft(rpc)
        if self._needed():
            self._try_again(failure, None)

    def _failed(self, failure: ConnectionFailed) -> None:
        """A try to connect has failed."""
        problem = SubmitException(
            f"{failure}. Is a Flux instance running there? Set FLUX_URI or the executor's url",
            failure,
            transient=not failure.refused,
        )
        waiting = self._waiting
        self._waiting = deque(rpc for rpc in waiting if rpc.sent and rpc.wanted)
        for rpc in waiting:
            if not rpc.sent:
                rpc.answer(problem)
        now = time.monotonic()
        if failure.gone:
            self._gone_since = self._gone_since or now
            if now - self._gone_since >= self.patience:
                self._give_up(failure)
        else:
            self._gone_since = None
        if not self._needed():
            self._attempts, self._gone_since = 0, None
            return
        left = None if self._gone_since is None else self._gone_since + self.patience - now
        self._try_again(failure, left)

    def _try_again(self, failure: ConnectionFailed, left: float | None) -> None:
        if not self._attempts:
            logger.warning("%s. Trying again until it answers", failure)
        delay = _RECONNECT_DELAYS[min(self._attempts, len(_RECONNECT_DELAYS) - 1)]
        self._attempts += 1
        delay = delay if left is None else min(delay, max(0.01, left))
        self._retry = Reactor.get().call_later(delay, self.connect)

    def _give_up(self, failure: ConnectionFailed) -> None:
        problem = SubmitException(f"{failure}, for {self.patience:g} s", failure)
        lost, self._uncertain = [*self._waiting, *self._uncertain], []
        self._waiting.clear()
        for rpc in lost:
            rpc.answer(problem)
        self.watch.give_up(
            f"{failure}, for {self.patience:g} s: the Flux instance is gone, and what became of "
            "the job cannot be known"
        )

    def lose(self, why: str) -> None:
        """End the connection because it is of no use any more, and connect again."""
        if self._connection is not None:
            self._connection.close()
            self._ended(ConnectionFailed(why))

    def _needed(self) -> bool:
        return bool(self._waiting or self._uncertain or self.watch.busy)

    def _check_idle(self) -> None:
        """Close the connection some time after it was last needed."""
        if self._idle is None and not self._needed():
            self._idle = Reactor.get().call_later(_IDLE, self._close_if_idle)

    def _close_if_idle(self) -> None:
        self._idle = None
        asked = any(rpc.wanted and not rpc.streaming for rpc in self._open.values())
        if not self._ready or self._connection is None or asked or self._needed():
            return
        if time.monotonic() - self._used_at < _IDLE:
            self._check_idle()
            return
        self._connection.close()
        self._connection, self._ready = None, False
        self._open.clear()
        self.watch.disconnected()


os.register_at_fork(after_in_child=FluxLink._forget_after_fork)
