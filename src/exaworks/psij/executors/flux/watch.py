"""What becomes of the jobs of an instance, and who wants to know.

The owner of an instance gets the events of all jobs in one stream, the journal of the job
manager: first those of the jobs that have not ended, then each event as it happens. Whoever is a
guest of a system instance may only watch job by job; that takes a stream for each job, but still
no process and no polling.
"""

from __future__ import annotations

import errno as errnos
import json
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from exaworks.core.reactor import Reactor
from exaworks.psij.executors.flux.connection import ConnectionFailed
from exaworks.psij.executors.flux.events import EVENTS, JobHistory
from exaworks.psij.executors.flux.jobid import native_id
from exaworks.psij.executors.flux.jobspec import OUR_NAME
from exaworks.psij.executors.flux.messages import NO_DATA, FluxError
from exaworks.psij.executors.flux.rpc import Answer, Payload, Rpc
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import JobStatus, Reason

if TYPE_CHECKING:
    from exaworks.psij.executors.flux.link import FluxLink

__all__ = ["Watch", "lost", "our_part"]

logger = logging.getLogger(__name__)

Follower = Callable[[JobStatus], None]

_ENDED_KEPT = 10_000
_ALL_JOBS = -1  # the id in the answer that ends the backlog of the journal
_LOOK_AGAIN = 0.25
_LOOKS = 20


def our_part(jobspec: Any) -> Mapping[str, Any]:
    """What we wrote about a job into its jobspec; empty if it is not one of ours."""
    try:
        ours = jobspec["attributes"]["user"][OUR_NAME]
    except (KeyError, TypeError):
        return {}
    return ours if isinstance(ours, dict) else {}


def lost(message: str) -> JobStatus:
    """The status of a job that nobody knows."""
    return JobStatus(JobState.FAILED, message=message, metadata={"reason": Reason.LOST})


class Watch:
    """Follows jobs of one instance. All methods are for the reactor's thread."""

    def __init__(self, link: FluxLink, guest: bool) -> None:
        """Make one.

        Args:
            link: the link to the instance.
            guest: do not try the journal.
        """
        self._link = link
        self.guest = guest
        self.histories: dict[int, JobHistory] = {}
        self._followers: dict[int, list[Follower]] = {}
        self._ended: OrderedDict[int, JobStatus] = OrderedDict()
        self._synced = False
        self._connected_before = False
        self._when_synced: list[Callable[[], None]] = []
        self._expected: set[int] = set()
        self._streams: set[int] = set()

    @property
    def busy(self) -> bool:
        """Whether somebody waits for news."""
        return bool(self._followers or self._when_synced)

    # -- for executors --------------------------------------------------------------------------

    def when_synced(self, what: Callable[[], None]) -> None:
        """Do something as soon as the jobs that have not ended are known."""
        if self._synced:
            what()
        else:
            self._when_synced.append(what)
            self._link.connect()

    def follow(self, number: int, follower: Follower, reports_stage_in: bool = False) -> None:
        """Tell ``follower`` of the states of a job that was just accepted, from the present on."""
        status = self._ended.get(number)
        if status is not None:
            follower(status)
            return
        history = self.histories.get(number)
        if history is None:
            history = self.histories[number] = JobHistory(reports_stage_in)
        self._followers.setdefault(number, []).append(follower)
        follower(history.job_status())
        if self.guest:
            self._watch_one(number)

    def attach(self, number: int, follower: Follower) -> None:
        """Tell ``follower`` of a job, if there is one of that number."""
        self.when_synced(lambda: self._attach(number, follower, _LOOKS))

    def _attach(self, number: int, follower: Follower, looks: int) -> None:
        status = self._ended.get(number)
        if status is not None:
            follower(status)
        elif number in self.histories:
            self.follow(number, follower)
        else:
            self._look_up(number, follower, looks)

    def _look_up(self, number: int, follower: Follower, looks: int) -> None:
        """Read the events of a job that has ended, or that we may not see in the journal."""

        def take(answer: Answer) -> None:
            if isinstance(answer, FluxError):
                follower(lost(self._unknown(number, answer)))
            elif isinstance(answer, Exception):
                follower(lost(f"cannot ask for the job: {answer}"))
            else:
                history = read_history(answer)
                if history.state.final:
                    follower(history.job_status())
                elif self.guest:
                    self.histories[number] = history
                    self.follow(number, follower)
                elif looks:  # its last events are on their way into the store
                    Reactor.get().call_later(
                        _LOOK_AGAIN, lambda: self._attach(number, follower, looks - 1)
                    )
                else:
                    follower(lost(f"{native_id(number)} is in the store, but is no active job"))

        payload = {"id": number, "keys": ["eventlog", "jobspec"], "flags": 0}
        self._link.send(Rpc("job-info.lookup", payload, take))

    def _unknown(self, number: int, problem: FluxError) -> str:
        if problem.errno == errnos.ENOENT:
            return (
                f"the Flux instance at {self._link.address.uri} does not know a job "
                f"{native_id(number)}: the id is wrong, or the job ended long ago and was purged"
            )
        return f"the Flux instance does not tell of job {native_id(number)}: {problem}"

    # -- for the link ---------------------------------------------------------------------------

    def connected(self) -> None:
        """There is a connection; find out what has happened."""
        self._expected = set(self._followers)
        # The others come again, if they have not ended meanwhile.
        self.histories = {n: h for n, h in self.histories.items() if n in self._expected}
        self._streams.clear()
        if self.guest:
            for number in self._expected:
                self._watch_one(number)
            self._is_synced()
            return
        # After a break, jobs that have ended meanwhile are wanted too.
        again, self._connected_before = self._connected_before, True
        payload = {
            "full": again and bool(self._expected or self._link.is_uncertain),
            "allow": dict.fromkeys(EVENTS, 1),
        }
        rpc = Rpc("job-manager.events-journal", payload, streaming=True)
        rpc.then = self._journal
        self._link.send(rpc)

    def broken(self) -> None:
        """The connection was lost, so that what is known may be out of date."""
        self._synced = False

    def disconnected(self) -> None:
        """The connection was closed because nobody needed it."""
        self._synced = self._connected_before = False
        self.histories.clear()
        self._ended.clear()
        self._streams.clear()

    def give_up(self, message: str) -> None:
        """The instance is gone: so are its jobs."""
        followed, self._followers = self._followers, {}
        self.histories.clear()
        for followers in followed.values():
            for follower in followers:
                _tell(follower, lost(message))
        waiting, self._when_synced = self._when_synced, []
        for what in waiting:
            what()

    # -- the journal ----------------------------------------------------------------------------

    def _journal(self, answer: Answer) -> None:
        if isinstance(answer, dict):
            if answer.get("id") == _ALL_JOBS:
                self._is_synced()
            else:
                self._take(answer)
        elif isinstance(answer, ConnectionFailed):
            return  # the link connects again
        elif isinstance(answer, FluxError) and answer.errno in (errnos.EPERM, errnos.EACCES):
            self.guest = True
            self.connected()
        elif isinstance(answer, FluxError) and answer.errno == NO_DATA:
            self._link.lose(f"the job manager of {self._link.address.uri} has stopped")
        else:
            self._link.lose(f"the job manager of {self._link.address.uri}: {answer}")

    def _take(self, message: Payload) -> None:
        number, events, jobspec = message["id"], message["events"], message.get("jobspec")
        if jobspec is not None and self._link.is_uncertain:
            self._link.arrived(str(our_part(jobspec).get("id")), number)
        history = self.histories.get(number)
        if history is None:
            over = events and events[-1].get("name") == "clean"
            if number in self._ended or (over and number not in self._followers):
                return
            history = self.histories[number] = JobHistory()
        if not self._synced:
            if _another(history, events):
                return
            self._expected.discard(number)
        if jobspec is not None:
            history.reports_stage_in = bool(our_part(jobspec).get("stage_in"))
        self._feed(number, history, events)

    def _feed(self, number: int, history: JobHistory, events: Iterable[Mapping[str, Any]]) -> None:
        for event in events:
            if history.take(event):
                self._changed(number, history)

    def _changed(self, number: int, history: JobHistory) -> None:
        status = history.job_status()
        for follower in self._followers.get(number, ()):
            _tell(follower, status)
        if history.state.final:
            self._followers.pop(number, None)
            self.histories.pop(number, None)
            self._ended[number] = status
            if len(self._ended) > _ENDED_KEPT:
                self._ended.popitem(last=False)

    def _is_synced(self) -> None:
        self._synced = True
        if not self.guest:
            why = (
                "it was started anew, without its jobs, or is another instance"
                if self._link.replaced
                else "the job ended meanwhile and was purged"
            )
            for number in self._expected:
                self._lose(
                    number,
                    f"the Flux instance at {self._link.address.uri}, to which the connection was "
                    f"lost for a while, does not know job {native_id(number)} any more: {why}",
                )
        self._expected.clear()
        self._link.synced()
        waiting, self._when_synced = self._when_synced, []
        for what in waiting:
            what()

    def _lose(self, number: int, message: str) -> None:
        self.histories.pop(number, None)
        for follower in self._followers.pop(number, ()):
            _tell(follower, lost(message))

    # -- job by job -----------------------------------------------------------------------------

    def _watch_one(self, number: int) -> None:
        if number in self._streams:
            return
        self._streams.add(number)

        def take(answer: Answer) -> None:
            history = self.histories.get(number)
            if isinstance(answer, dict):
                if history is not None:
                    self._feed(number, history, [json.loads(answer["event"])])
                return
            self._streams.discard(number)
            if isinstance(answer, ConnectionFailed) or number not in self._followers:
                return
            if isinstance(answer, FluxError) and answer.errno == errnos.ENOENT:
                self._lose(number, self._unknown(number, answer))
            else:
                logger.warning("watching job %s of Flux: %s", native_id(number), answer)
                Reactor.get().call_later(1.0, lambda: self._watch_one(number))

        payload = {"id": number, "path": "eventlog", "flags": 0}
        rpc = Rpc("job-info.eventlog-watch", payload, streaming=True)
        rpc.then = take
        self._link.send(rpc)


def read_history(found: Mapping[str, Any]) -> JobHistory:
    """The history in an answer of ``job-info.lookup`` with ``eventlog`` and ``jobspec``."""
    jobspec = json.loads(found["jobspec"]) if isinstance(found.get("jobspec"), str) else None
    history = JobHistory(bool(our_part(jobspec).get("stage_in")))
    for line in str(found.get("eventlog") or "").splitlines():
        history.take(json.loads(line))
    return history


def _another(history: JobHistory, events: Iterable[Mapping[str, Any]]) -> bool:
    """Whether events are of another job of that number (of an instance that was started anew)."""
    submitted = next((e.get("timestamp") for e in events if e.get("name") == "submit"), None)
    return (
        submitted is not None and history.submitted is not None and submitted != history.submitted
    )


def _tell(follower: Follower, status: JobStatus) -> None:
    try:
        follower(status)
    except Exception:
        logger.exception("the state %s of a Flux job could not be handled", status)
