"""What a profile says about a site."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from fnmatch import fnmatchcase
from typing import Any

from exaworks.core.sites import units

__all__ = ["NodeType", "Queue", "Scheduler", "SiteProfile", "SshAddress", "host_names"]


@dataclass(frozen=True)
class NodeType:
    """Nodes that are alike. What is not known is ``None``.

    Attributes:
        name: the profile's name for them.
        description: what they are.
        count: how many there are.
        cores: physical cores of a node that jobs can use.
        threads_per_core: hardware threads of a core.
        gpus: GPUs as the scheduler counts them.
        gpu_model: what they are.
        memory: bytes.
        local_scratch: a folder on the node itself.
    """

    name: str
    description: str | None = None
    count: int | None = None
    cores: int | None = None
    threads_per_core: int | None = None
    gpus: int | None = None
    gpu_model: str | None = None
    memory: int | None = None
    local_scratch: str | None = None


@dataclass(frozen=True)
class Queue:
    """A queue (Slurm: partition, or QOS) and its limits. What is not limited is ``None``.

    Attributes:
        name: its name.
        description: what it is for.
        min_walltime: the shortest job.
        max_walltime: the longest job.
        max_walltime_by_nodes: the longest job of up to so many nodes, smallest first, where that
            depends on them.
        min_nodes: the smallest job.
        max_nodes: the largest job.
        max_jobs: how many jobs a user may have in it, waiting and running.
        max_running_jobs: how many of a user's jobs run at the same time.
        nodes: names of the node types that its jobs run on.
        exclusive: whether a job gets whole nodes; ``None``: not known.
        choose: whether it may be chosen for a job that names no queue.
        custom_attributes: custom attributes for its jobs.
    """

    name: str
    description: str | None = None
    min_walltime: timedelta | None = None
    max_walltime: timedelta | None = None
    max_walltime_by_nodes: tuple[tuple[int, timedelta], ...] = ()
    min_nodes: int | None = None
    max_nodes: int | None = None
    max_jobs: int | None = None
    max_running_jobs: int | None = None
    nodes: tuple[str, ...] = ()
    exclusive: bool | None = None
    choose: bool = True
    custom_attributes: Mapping[str, Any] = field(default_factory=dict)

    def walltime_limit(self, nodes: int) -> timedelta | None:
        """The longest job of so many nodes; ``None`` if there is no limit."""
        for most, limit in self.max_walltime_by_nodes:
            if nodes <= most:
                return limit if self.max_walltime is None else min(limit, self.max_walltime)
        return self.max_walltime


@dataclass(frozen=True)
class Scheduler:
    """A scheduler of the site.

    Attributes:
        name: the profile's name for it.
        executor: the name of the executor to use.
        queues: its queues by name.
        default_queue: where jobs go that name no queue; ``None``: to the scheduler's own default.
        choose_queue: whether such jobs go to the smallest queue that they fit into instead.
        other_queues: whether there are queues that the profile does not list.
        queue_attribute: the custom attribute that names the queue to the scheduler, where it is
            not the usual option (such as ``slurm.qos``).
        launcher: the launcher for jobs that name none.
        custom_attributes: custom attributes for all jobs.
    """

    name: str
    executor: str
    queues: Mapping[str, Queue] = field(default_factory=dict)
    default_queue: str | None = None
    choose_queue: bool = False
    other_queues: bool = False
    queue_attribute: str | None = None
    launcher: str | None = None
    custom_attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SshAddress:
    """Where to log in. ``None``: as ``~/.ssh/config`` says, else SSH's default."""

    host: str
    user: str | None = None
    port: int | None = None


@dataclass(frozen=True)
class SiteProfile:
    """What is known about a site. ``docs/sites.md`` describes the file format.

    Attributes:
        name: its name.
        title: its name for people.
        description: what it is.
        aliases: other names.
        source: where the facts are from.
        date: when they held, as ``YYYY-MM-DD``.
        verified: whether they were checked on the machine itself.
        status: ``active``, ``preview`` or ``retired``.
        host_names: patterns of names of its machines.
        host_environment: variables that have these values on its machines.
        ssh: where to log in.
        schedulers: its schedulers by name.
        default_scheduler: the name of the one to use unless told otherwise.
        nodes: its node types by name.
        account: the account that pays.
        account_required: whether jobs without an account are refused.
        setup: lines of POSIX shell that every job runs before anything else.
        remote_setup: lines of POSIX shell to run before each command over SSH.
        scratch: a folder for large files; may contain variables of the site.
        work_directory: the folder for scripts and records of jobs.
        notes: what else a user should know.
        origins: where each value came from, by its key (``schedulers.slurm.launcher``).
        table: the merged table that all this was read from.
    """

    name: str
    title: str | None = None
    description: str | None = None
    aliases: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    date: str | None = None
    verified: bool = False
    status: str = "active"
    host_names: tuple[str, ...] = ()
    host_environment: Mapping[str, str] = field(default_factory=dict)
    ssh: SshAddress | None = None
    schedulers: Mapping[str, Scheduler] = field(default_factory=dict)
    default_scheduler: str = ""
    nodes: Mapping[str, NodeType] = field(default_factory=dict)
    account: str | None = None
    account_required: bool = False
    setup: tuple[str, ...] = ()
    remote_setup: tuple[str, ...] = ()
    scratch: str | None = None
    work_directory: str | None = None
    notes: tuple[str, ...] = ()
    origins: Mapping[tuple[str, ...], str] = field(default_factory=dict, repr=False, compare=False)
    table: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    def scheduler(self, name: str | None = None) -> Scheduler:
        """A scheduler by name; the default one if none is given.

        Raises:
            ValueError: there is no such scheduler.
        """
        name = name or self.default_scheduler
        if name not in self.schedulers:
            known = ", ".join(self.schedulers)
            raise ValueError(f"{self.name} has no scheduler {name!r}; it has: {known}")
        return self.schedulers[name]

    def is_here(
        self, names: Sequence[str] | None = None, environment: Mapping[str, str] | None = None
    ) -> bool:
        """Whether this machine belongs to the site.

        It does if all variables of ``host_environment`` are set so, or one of its names fits one
        of the patterns of ``host_names``.

        Args:
            names: the names of this machine; ``None``: find them out.
            environment: its variables; ``None``: those of this process.
        """
        if environment is None:
            environment = os.environ
        told = self.host_environment
        if told and all(environment.get(key) == value for key, value in told.items()):
            return True
        if not self.host_names:
            return False
        patterns = [pattern.lower() for pattern in self.host_names]
        if names is None:
            names = host_names()
        return any(fnmatchcase(name.lower(), pattern) for name in names for pattern in patterns)

    def url(self, user: str | None = None) -> str | None:
        """The URL for the site's executors.

        Args:
            user: the user to log in as, rather than the profile's.

        Returns:
            ``ssh://user@host:port``, or ``None`` if the site has no SSH address or we are on it.
        """
        if self.ssh is None or self.is_here():
            return None
        user = user or self.ssh.user
        port = f":{self.ssh.port}" if self.ssh.port else ""
        host = f"[{self.ssh.host}]" if ":" in self.ssh.host else self.ssh.host
        return f"ssh://{f'{user}@' if user else ''}{host}{port}"

    @classmethod
    def of(
        cls, name: str, table: Mapping[str, Any], origins: Mapping[tuple[str, ...], str]
    ) -> SiteProfile:
        """The profile that a merged table describes, which was checked before."""
        plain: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in table.items()
            if key not in ("host", "name", "nodes", "schedulers", "ssh")
        }
        schedulers = {
            key: _scheduler(key, value) for key, value in table.get("schedulers", {}).items()
        }
        if "default_scheduler" not in plain:
            plain["default_scheduler"] = next(iter(schedulers), "")
        host, ssh = table.get("host", {}), table.get("ssh")
        return cls(
            name=name,
            host_names=tuple(host.get("names", ())),
            host_environment=dict(host.get("environment", {})),
            ssh=None if ssh is None else SshAddress(**ssh),
            schedulers=schedulers,
            nodes={key: _node_type(key, value) for key, value in table.get("nodes", {}).items()},
            origins=origins,
            table=table,
            **plain,
        )


def _scheduler(name: str, table: Mapping[str, Any]) -> Scheduler:
    queues = {key: _queue(key, value) for key, value in table.get("queues", {}).items()}
    return Scheduler(**{"executor": name, **table, "name": name, "queues": queues})


def _queue(name: str, table: Mapping[str, Any]) -> Queue:
    values: dict[str, Any] = {**table, "nodes": tuple(table.get("nodes", ()))}
    for key in ("min_walltime", "max_walltime"):
        if key in values:
            values[key] = units.parse_duration(values[key])
    values["max_walltime_by_nodes"] = tuple(
        sorted(
            (int(nodes), units.parse_duration(limit))
            for nodes, limit in table.get("max_walltime_by_nodes", {}).items()
        )
    )
    return Queue(name, **values)


def _node_type(name: str, table: Mapping[str, Any]) -> NodeType:
    values: dict[str, Any] = dict(table)
    if "memory" in values:
        values["memory"] = units.parse_memory(values["memory"])
    return NodeType(name, **values)


def host_names() -> list[str]:
    """The names of this machine: its own, and its full one."""
    import socket

    return list(dict.fromkeys((socket.gethostname(), os.uname().nodename, socket.getfqdn())))
