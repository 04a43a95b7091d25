"""What PBS says about its queues and nodes.

Sources: qstat(1B), pbsnodes(8B), pbs_queue_attributes(7B) and pbs_node_attributes(7B) of OpenPBS
23.06, "Queue attributes" and "pbsnodes" in the Torque 6.1 Administrator Guide, and what these
programs print. Text is read rather than JSON, which only PBS Pro has and in which a queue's limits
stand under one key several times (issue 2677 of github.com/openpbs/openpbs).
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import ClassVar, Final

from exaworks.psij.runner import Command, CommandResult
from exaworks.psij.survey import NodeGroup, QueueFacts, Survey, SurveyFailed, group_name

__all__ = ["PbsClassicSurveyor", "PbsProSurveyor"]

_PATIENCE: Final = 20.0
_GONE: Final = ("down", "offline", "state-unknown")
Facts = Mapping[str, str]


class _Surveyor(ABC):
    """Asks PBS; see :class:`exaworks.psij.survey.Surveyor`."""

    executor: ClassVar[str]
    title: ClassVar[str]

    def commands(self) -> list[Command]:
        """See :meth:`Surveyor.commands`."""
        return [
            Command(argv, timeout=_PATIENCE, environment={"LC_ALL": "C"})
            # pbsnodes first: Grid Engine has a qstat, too
            for argv in (("pbsnodes", "-a"), ("qstat", "-Q", "-f"), ("qstat", "-B", "-f"))
        ]

    def parse(self, results: Sequence[CommandResult]) -> Survey:
        """See :meth:`Surveyor.parse`."""
        nodes, queues, server = results
        if not queues.ok:
            raise SurveyFailed(f"{self.title} does not answer: {queues.complaint()}")
        (name, facts), *_ = [*_blocks(server.stdout, "Server: "), (None, {})]
        known = dict(_blocks(queues.stdout, "Queue: "))
        if not known:
            raise SurveyFailed(f"{self.title} lists no queue that you may see (qstat -Q -f)")
        remarks = [] if nodes.ok else [f"`pbsnodes -a` failed: {nodes.complaint()}"]
        hosts = list(self.hosts(dict(_blocks(nodes.stdout, "")))) if nodes.ok else []
        groups, members = _groups(hosts)
        found = [
            replace(
                _queue(queue, told, queue == facts.get("default_queue")),
                nodes=_of_queue(queue, hosts, members),
            )
            for queue, told in known.items()
        ]
        return Survey(
            executor=self.executor,
            title=f"{self.title} {facts.get('pbs_version', '')}".rstrip(),
            cluster=name,
            queues=tuple(found),
            nodes=tuple(groups),
            remarks=tuple(remarks),
        )

    @abstractmethod
    def hosts(self, nodes: Mapping[str, Facts]) -> Iterator[tuple[NodeGroup, str | None]]:
        """Each host, and the queue that it belongs to alone, if it does."""


class PbsProSurveyor(_Surveyor):
    """Asks PBS Pro or OpenPBS."""

    executor = "pbspro"
    title = "PBS Pro"

    def hosts(self, nodes: Mapping[str, Facts]) -> Iterator[tuple[NodeGroup, str | None]]:
        """Hosts, each made up of one or more vnodes."""
        by_host: dict[str, list[Facts]] = {}
        for name, facts in nodes.items():
            by_host.setdefault(facts.get("resources_available.host", name), []).append(facts)
        for vnodes in by_host.values():
            if all(_is_gone(facts) for facts in vnodes):
                continue
            cores, gpus, memory = (
                sum(_amount(facts.get(f"resources_available.{what}")) for facts in vnodes)
                for what in ("ncpus", "ngpus", "mem")
            )
            queues = {facts.get("queue") for facts in vnodes}
            group = NodeGroup("", None, cores or None, None, gpus, None, memory or None)
            yield group, queues.pop() if len(queues) == 1 else None


class PbsClassicSurveyor(_Surveyor):
    """Asks Torque."""

    executor = "pbs_classic"
    title = "Torque"

    def hosts(self, nodes: Mapping[str, Facts]) -> Iterator[tuple[NodeGroup, str | None]]:
        """Hosts, as pbs_mom reports them."""
        for facts in nodes.values():
            if _is_gone(facts):
                continue
            memory = re.search(r"\bphysmem=(\d+kb)", facts.get("status", ""))
            yield (
                NodeGroup(
                    "",
                    None,
                    _amount(facts.get("np")) or None,
                    None,
                    _amount(facts.get("gpus")),
                    None,
                    _amount(memory[1]) if memory else None,
                ),
                None,
            )


def _is_gone(facts: Facts) -> bool:
    return any(word in facts.get("state", "") for word in _GONE)


def _blocks(text: str, head: str) -> Iterator[tuple[str, Facts]]:
    """Read a name at the beginning of a line, and indented lines ``key = value`` below it."""
    name: str | None = None
    facts: dict[str, str] = {}
    for line in re.sub(r"\n\t", "", text).split("\n"):
        match = re.match(r" +([\w.-]+) = (.*)$", line)
        if match is not None and name is not None:
            key, value = match[1], match[2].strip()
            facts[key] = f"{facts[key]},{value}" if key in facts else value
        elif line and not line[0].isspace():
            if name is not None and facts:
                yield name, facts
            name = line[len(head) :].strip() if line.startswith(head) else None
            facts = {}
    if name is not None and facts:
        yield name, facts


_UNITS: Final = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def _amount(text: str | None) -> int:
    """A number, or an amount like ``24683672kb``; 0 if it is not given."""
    match = re.fullmatch(r"(\d+)(?:([kmgt]?)b)?", (text or "").lower(), re.ASCII)
    return int(match[1]) * _UNITS[match[2] or ""] if match else 0


def _time(text: str | None) -> timedelta | None:
    match = re.fullmatch(r"(?:(?:(\d{1,6}):)?(\d{1,6}):)?(\d{1,9})", text or "", re.ASCII)
    if match is None:
        return None
    hours, minutes, seconds = (int(group or 0) for group in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds) or None


def _each_user(text: str | None) -> int | None:
    """A limit for each user, from ``[u:PBS_GENERIC=10],[o:PBS_ALL=99]`` or a plain number."""
    match = re.search(r"u:PBS_GENERIC=(\d{1,9})", text or "") or re.fullmatch(
        r"(\d{1,9})", text or "", re.ASCII
    )
    return int(match[1]) or None if match else None


def _queue(name: str, facts: Facts, default: bool) -> QueueFacts:
    least = _amount(facts.get("resources_min.nodect"))
    stopped = [
        f"{key} = False" for key in ("enabled", "started") if facts.get(key, "True") == "False"
    ]
    remarks = [
        f"{key.removesuffix('_enable')} = {facts.get(key.removesuffix('_enable') + 's', '(none)')}"
        for key in ("acl_user_enable", "acl_group_enable", "acl_host_enable")
        if facts.get(key) == "True"
    ]
    if facts.get("queue_type") == "Route":
        remarks.append(f"sends jobs on to {facts.get('route_destinations', 'other queues')}")
    if facts.get("from_route_only") == "True":
        remarks.append("takes jobs from other queues only")
    return QueueFacts(
        name,
        default=default,
        min_walltime=_time(facts.get("resources_min.walltime")),
        max_walltime=_time(facts.get("resources_max.walltime")),
        min_nodes=least if least > 1 else None,
        max_nodes=_amount(facts.get("resources_max.nodect")) or None,
        max_jobs=_each_user(facts.get("max_queued", facts.get("max_user_queuable"))),
        max_running_jobs=_each_user(facts.get("max_run", facts.get("max_user_run"))),
        closed=", ".join(stopped) or None,
        remark="; ".join(remarks) or None,
    )


def _groups(
    hosts: Sequence[tuple[NodeGroup, str | None]],
) -> tuple[list[NodeGroup], dict[NodeGroup, str]]:
    """Groups of hosts that are alike, and their names."""
    counts: dict[NodeGroup, int] = {}
    for group, _ in hosts:
        counts[group] = counts.get(group, 0) + 1
    named: dict[str, NodeGroup] = {}
    names: dict[NodeGroup, str] = {}
    for group, count in counts.items():
        name = group_name(group, named)
        named[name] = replace(group, name=name, count=count)
        names[group] = name
    return list(named.values()), names


def _of_queue(
    queue: str, hosts: Sequence[tuple[NodeGroup, str | None]], names: Mapping[NodeGroup, str]
) -> tuple[str, ...]:
    """The groups of hosts where a queue's jobs can run: its own, or else all that have no queue."""
    own = [names[group] for group, of in hosts if of == queue]
    shared = [names[group] for group, of in hosts if of is None]
    return tuple(dict.fromkeys(own or shared))
