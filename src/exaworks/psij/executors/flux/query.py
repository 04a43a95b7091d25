"""Questions to an instance about its jobs."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from exaworks.psij.exceptions import SubmitException
from exaworks.psij.executors.flux.connection import ConnectionFailed
from exaworks.psij.executors.flux.events import JobHistory
from exaworks.psij.executors.flux.link import FluxLink
from exaworks.psij.executors.flux.messages import FluxError
from exaworks.psij.executors.flux.rpc import Answer, Rpc
from exaworks.psij.executors.flux.watch import our_part, read_history

__all__ = ["Found", "find_keys", "list_active", "look_up"]

_ALL_JOBS = -1


@dataclass(frozen=True)
class Found:
    """What an instance knows about a job.

    Attributes:
        number: the job.
        history: its events.
        jobspec: its description.
        nodes: the nodes it has, or had.
    """

    number: int
    history: JobHistory
    jobspec: dict[str, Any]
    nodes: str | None


def _raise(problem: Exception) -> None:
    if isinstance(problem, SubmitException):
        raise problem
    transient = isinstance(problem, ConnectionFailed)
    raise SubmitException(f"Flux: {problem}", problem, transient) from problem


def list_active(link: FluxLink, timeout: float) -> list[tuple[int, int | None]]:
    """The numbers of the jobs that have not ended, each with the id of its owner.

    Raises:
        SubmitException: the instance does not answer.
    """
    done = Rpc("", {})

    def there(answer: Answer) -> None:
        if isinstance(answer, Exception):
            done.answer(answer)
        else:
            link.watch.when_synced(tell)

    def tell() -> None:
        jobs = [(number, each.userid) for number, each in link.watch.histories.items()]
        done.answer({"jobs": jobs, "complete": not link.watch.guest})

    ping = Rpc("attr.get", {"name": "rank"}, there)
    (answer,) = link.call([done], timeout, lambda: link.send(ping))
    if isinstance(answer, Exception):
        _raise(answer)
    assert isinstance(answer, dict)
    jobs: list[tuple[int, int | None]] = answer["jobs"]
    if answer["complete"]:
        return jobs
    return [*jobs, *((n, u) for n, u in _list_as_guest(link, timeout, True) if (n, u) not in jobs)]


def _list_as_guest(link: FluxLink, timeout: float, active: bool) -> list[tuple[int, int]]:
    states = ["pending", "running"] if active else ["pending", "running", "inactive"]
    payload = {
        "max_entries": 0,
        "attrs": ["userid"],
        "constraint": {"states": states},
    }
    (answer,) = link.call([Rpc("job-list.list", payload)], timeout)
    if isinstance(answer, Exception):
        _raise(answer)
    assert isinstance(answer, dict)
    return [(job["id"], job["userid"]) for job in answer["jobs"]]


def look_up(link: FluxLink, numbers: Sequence[int], timeout: float) -> list[Found]:
    """What the instance knows about jobs; those that it does not know are left out.

    Raises:
        SubmitException: the instance does not answer.
    """

    def lookup(number: int, *keys: str) -> Rpc:
        payload = {"id": number, "keys": list(keys), "flags": 0}
        return Rpc("job-info.lookup", payload)

    rpcs = [rpc for n in numbers for rpc in (lookup(n, "eventlog", "jobspec"), lookup(n, "R"))]
    answers = link.call(rpcs, timeout)
    found = []
    for number, facts, resources in zip(numbers, answers[::2], answers[1::2], strict=True):
        if isinstance(facts, FluxError):
            continue
        if isinstance(facts, Exception):
            _raise(facts)
        assert isinstance(facts, dict)
        history, present = read_history(facts), link.watch.histories.get(number)
        if present is not None:  # the store may be a moment behind what we have seen or done
            if present.submitted is None:
                history.urgency = history.urgency if present.urgency is None else present.urgency
            elif not history.state.is_greater_than(present.state):
                history = present
        found.append(Found(number, history, json.loads(facts["jobspec"]), _nodes(resources)))
    return found


def _nodes(answer: Answer) -> str | None:
    if not isinstance(answer, dict) or not answer.get("R"):
        return None
    try:
        return ",".join(json.loads(answer["R"])["execution"]["nodelist"])
    except (ValueError, KeyError, TypeError):
        return None


def find_keys(link: FluxLink, keys: Collection[str], timeout: float) -> dict[str, int]:
    """The numbers of jobs by the keys that we gave them.

    Raises:
        SubmitException: the instance does not answer.
    """
    found: dict[str, int] = {}
    done = Rpc("", {})

    def take(answer: Answer) -> None:
        if isinstance(answer, Exception):
            done.answer(answer)
        elif answer["id"] == _ALL_JOBS:
            link.stop(journal)
            done.answer({})
        else:
            key = str(our_part(answer.get("jobspec")).get("id"))
            if key in keys:
                found[key] = answer["id"]

    payload = {"full": True, "allow": {"submit": 1}}
    journal = Rpc("job-manager.events-journal", payload, streaming=True)
    journal.then = take
    (answer,) = link.call([done], timeout, lambda: link.send(journal))
    if isinstance(answer, FluxError):  # the journal is for the owner
        for each in look_up(link, [n for n, _ in _list_as_guest(link, timeout, False)], timeout):
            key = str(our_part(each.jobspec).get("id"))
            if key in keys:
                found[key] = each.number
    elif isinstance(answer, Exception):
        _raise(answer)
    return found
