"""What Slurm says about its partitions and nodes.

Sources: scontrol(1), sinfo(1), sacctmgr(1) and slurm.conf(5) of Slurm 22.05 to 24.11, and what
these programs print. Text is read rather than JSON, whose form differs from version to version.
"""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from exaworks.core.sites.units import parse_duration
from exaworks.psij.runner import Command, CommandResult
from exaworks.psij.survey import NodeGroup, QueueFacts, Survey, SurveyFailed, group_name

__all__ = ["SlurmSurveyor"]

_NODES: Final = "%R|%D|%c|%X|%Y|%Z|%m|%G|%N"
"""For ``sinfo -o``: partition, nodes, CPUs, sockets, cores a socket, threads a core, MiB, GRES."""

_PATIENCE: Final = 20.0
_NONE: Final = ("", "(null)", "N/A", "UNLIMITED", "NONE", "INFINITE", "infinite")


class SlurmSurveyor:
    """Asks Slurm; see :class:`exaworks.psij.survey.Surveyor`."""

    def __init__(self, user: str | None = None) -> None:
        """Make a surveyor.

        Args:
            user: whose accounts are to be found out; ``None``: those of the user we run as.
        """
        self._user = user

    def commands(self) -> list[Command]:
        """See :meth:`Surveyor.commands`."""
        asked = [
            ("scontrol", "-o", "show", "partition"),
            ("sinfo", "--noheader", "--exact", "-o", _NODES),
            ("scontrol", "show", "config"),
        ]
        user = self._user or _login()
        if user:
            asked.append(
                ("sacctmgr", "-nP", "show", "associations", f"user={user}", "format=Account")
            )
        return [
            Command(
                argv,
                timeout=_PATIENCE,
                environment={"LC_ALL": "C"},
                unset=("SINFO_*", "SLURM_BITSTR_LEN"),
            )
            for argv in asked
        ]

    def parse(self, results: Sequence[CommandResult]) -> Survey:
        """See :meth:`Surveyor.parse`."""
        partitions, nodes, config = results[:3]
        for result in (partitions, nodes):
            if not result.ok:
                raise SurveyFailed(f"Slurm does not answer: {result.complaint()}")
        queues = list(_queues(partitions.stdout))
        if not queues:
            raise SurveyFailed(
                "Slurm lists no partition that you may use (scontrol show partition)"
            )
        groups, by_partition, remarks = _groups(nodes.stdout)
        facts = _facts(config.stdout) if config.ok else {}
        if not config.ok:
            remarks.append(f"`scontrol show config` failed: {config.complaint()}")
        accounts: list[str] = []
        if len(results) > 3 and results[3].ok:
            lines = results[3].stdout.split("\n")
            accounts = sorted({line.strip() for line in lines if line.strip()})
        return Survey(
            executor="slurm",
            title=f"Slurm {facts.get('SLURM_VERSION', '')}".rstrip(),
            cluster=facts.get("ClusterName"),
            queues=tuple(
                replace(queue, nodes=tuple(by_partition.get(queue.name, ()))) for queue in queues
            ),
            nodes=tuple(groups),
            accounts=tuple(accounts),
            remarks=tuple(remarks),
        )


def _login() -> str | None:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user number without a name
        return None


def _facts(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.split("\n"))
    return {key.strip(): value.strip() for key, sign, value in pairs if sign}


def _queues(text: str) -> Iterator[QueueFacts]:
    """Read ``scontrol -o show partition``: one line each, ``Key=Value`` separated by spaces."""
    for line in text.split("\n"):
        if not line.startswith("PartitionName="):
            continue
        facts = dict(re.findall(r"(?:^|(?<= ))([A-Za-z]\w*)=(\S*)", line))
        least = _number(facts.get("MinNodes"))
        remarks = [
            f"{key} = {facts[key]}"
            for key in ("AllowAccounts", "AllowGroups", "AllowQos", "QoS")
            if facts.get(key, "ALL") not in ("ALL", *_NONE)
        ]
        if facts.get("ReqResv") == "YES":
            remarks.append("only for jobs in a reservation")
        state = facts.get("State", "UP")
        yield QueueFacts(
            facts["PartitionName"],
            default=facts.get("Default") == "YES",
            max_walltime=_time(facts.get("MaxTime")),
            min_nodes=least if least and least > 1 else None,
            max_nodes=_number(facts.get("MaxNodes")) or None,
            # slurm.conf(5), OverSubscribe: EXCLUSIVE gives whole nodes; NO shares nodes, but not
            # their cores, unless select/linear is in use.
            exclusive=True if facts.get("OverSubscribe") == "EXCLUSIVE" else None,
            closed=None if state == "UP" else f"State = {state}",
            remark="; ".join(remarks) or None,
        )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() else None


def _time(text: str | None) -> timedelta | None:
    if text is None or text in _NONE:
        return None
    try:
        return parse_duration(text)
    except ValueError:
        return None


def _groups(text: str) -> tuple[list[NodeGroup], dict[str, list[str]], list[str]]:
    """Read sinfo's lines: the groups of nodes, and their names by partition."""
    members: dict[NodeGroup, dict[str, int]] = {}
    by_partition: dict[str, list[NodeGroup]] = {}
    remarks: list[str] = []
    for line in text.split("\n"):
        parts = line.strip().split("|", 8)
        if len(parts) != 9:
            continue
        partition, *numbers = parts[:7]
        if not all(number.isascii() and number.isdigit() for number in numbers):
            remarks.append(f"sinfo printed a line that is not understood: {line.strip()}")
            continue
        count, cpus, sockets, per_socket, threads, mebibytes = map(int, numbers)
        gpus, model = _gpus(parts[7])
        cores, usable = _cores(cpus, sockets * per_socket, threads)
        group = NodeGroup("", None, cores, usable, gpus, model, mebibytes * 1024**2 or None)
        # A node may be in several partitions: the same list of nodes is counted once.
        members.setdefault(group, {})[parts[8]] = count
        known = by_partition.setdefault(partition, [])
        if count and group not in known:
            known.append(group)
    named: dict[str, NodeGroup] = {}
    names: dict[NodeGroup, str] = {}
    for group, lists in members.items():
        if not any(lists.values()):
            continue
        name = group_name(group, named)
        named[name] = replace(group, name=name, count=_count(lists))
        names[group] = name
    partitions = {key: [names[group] for group in found] for key, found in by_partition.items()}
    return list(named.values()), partitions, remarks


def _count(lists: dict[str, int]) -> int | None:
    """How many nodes there are in lists that may overlap; ``None`` if that cannot be told."""
    everything: set[str] = set()
    for text in lists:
        names = _expand(text)
        if names is None:
            return next(iter(lists.values())) if len(lists) == 1 else None
        everything |= names
    return len(everything) or None


def _expand(text: str) -> set[str] | None:
    """The nodes of a list like ``a1,b[2-3,07-10]``; ``None`` if it is of a form not known."""
    found: set[str] = set()
    for item in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", text):
        match = re.fullmatch(r"([^\[\]]*)(?:\[([\d,-]+)\])?([^\[\]]*)", item)
        if match is None:
            return None
        if match[2] is None:
            found.add(item)
            continue
        for part in match[2].split(","):
            first, _, last = part.partition("-")
            last = last or first
            if not (first.isdigit() and last.isdigit()) or int(last) - int(first) > 100_000:
                return None
            found.update(
                f"{match[1]}{number:0{len(first)}d}{match[3]}"
                for number in range(int(first), int(last) + 1)
            )
    return found


def _cores(cpus: int, cores: int, threads: int) -> tuple[int | None, int | None]:
    """Cores, and threads of each, that jobs can use.

    slurm.conf(5), CPUs: what Slurm hands out; it may be all threads, or only one of each core.
    """
    if cpus == cores * threads:
        return cores or None, threads or None
    return cpus or None, 1


def _gpus(gres: str) -> tuple[int, str | None]:
    """Number and model from a text like ``gpu:a100:4(S:0-1),nvme:1`` (gres.conf(5))."""
    total, models = 0, []
    for item in re.split(r",(?![^(]*\))", gres):
        name, *rest = re.sub(r"\(.*\)", "", item).split(":")
        if name != "gpu":
            continue
        number = _number(rest[-1]) if rest else None
        total += 1 if number is None else number
        models += rest[: len(rest) - (number is not None)]
    return total, "+".join(dict.fromkeys(models)) or None
