"""What a scheduler says about itself: its queues and nodes, as a first profile of its site.

A :class:`Surveyor` is the part of one scheduler: pure, like its adapter. It names the commands to
run and reads what they print. The class of its executor offers the result::

    @classmethod
    def survey(cls, runner: Runner | None = None) -> Survey | None:
        return conduct(SlurmSurveyor(), runner or LocalRunner())

``exaworks site detect`` asks every executor that has such a method.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol

from exaworks.core.sites.units import format_duration, format_memory
from exaworks.psij.exceptions import PSIJException
from exaworks.psij.runner import Command, CommandResult, Runner

__all__ = [
    "NodeGroup",
    "QueueFacts",
    "Survey",
    "SurveyFailed",
    "Surveyor",
    "conduct",
    "group_name",
    "profile_comments",
    "profile_table",
]


class SurveyFailed(PSIJException):
    """The scheduler's commands are here, but it does not tell about itself."""


@dataclass(frozen=True)
class NodeGroup:
    """Nodes that are alike. What the scheduler does not say is ``None``.

    Attributes:
        name: a name for them, unique in the survey.
        count: how many there are; of nodes in several queues each is counted once.
        cores: physical cores of a node that jobs can use.
        threads_per_core: hardware threads of a core that jobs can use.
        gpus: GPUs of a node.
        gpu_model: what the scheduler calls them.
        memory: bytes.
    """

    name: str
    count: int | None = None
    cores: int | None = None
    threads_per_core: int | None = None
    gpus: int | None = None
    gpu_model: str | None = None
    memory: int | None = None


@dataclass(frozen=True)
class QueueFacts:
    """A queue. What is not limited is ``None``.

    Attributes:
        name: its name.
        default: whether jobs go there that name no queue.
        min_walltime: the shortest job.
        max_walltime: the longest job.
        min_nodes: the smallest job.
        max_nodes: the largest job.
        max_jobs: how many jobs a user may have in it.
        max_running_jobs: how many of them run at the same time.
        exclusive: whether a job gets whole nodes; ``None``: the scheduler does not say.
        nodes: names of the groups of its nodes.
        closed: why it takes or starts no jobs at present, in the scheduler's words.
        remark: what else is to be known of it, such as who may use it.
    """

    name: str
    default: bool = False
    min_walltime: timedelta | None = None
    max_walltime: timedelta | None = None
    min_nodes: int | None = None
    max_nodes: int | None = None
    max_jobs: int | None = None
    max_running_jobs: int | None = None
    exclusive: bool | None = None
    nodes: tuple[str, ...] = ()
    closed: str | None = None
    remark: str | None = None


@dataclass(frozen=True)
class Survey:
    """What a scheduler says about itself.

    Attributes:
        executor: the name of the executor for it.
        title: its name and version for people, such as ``"Slurm 22.05.8"``.
        cluster: its name for the machine, if it has one.
        queues: its queues.
        nodes: its nodes, in groups.
        accounts: the accounts that the user may use; empty if it does not say.
        account_required: whether jobs without an account are refused; ``None``: not known.
        remarks: what could not be found out.
    """

    executor: str
    title: str
    cluster: str | None = None
    queues: tuple[QueueFacts, ...] = ()
    nodes: tuple[NodeGroup, ...] = ()
    accounts: tuple[str, ...] = ()
    account_required: bool | None = None
    remarks: tuple[str, ...] = ()


class Surveyor(Protocol):
    """How one scheduler is asked about itself. Pure: runs nothing itself."""

    def commands(self) -> list[Command]:
        """The commands to run. They must change nothing and end by themselves."""
        ...

    def parse(self, results: Sequence[CommandResult]) -> Survey:
        """Read what they printed.

        Args:
            results: one for each command, in the same order.

        Raises:
            SurveyFailed: the scheduler does not answer, or not in a way that is understood.
        """
        ...


def conduct(surveyor: Surveyor, runner: Runner) -> Survey | None:
    """Ask a scheduler about itself.

    Returns:
        what it says; ``None`` if its first command is not there, and so the scheduler is not.

    Raises:
        SurveyFailed: the scheduler does not answer, or not in a way that is understood.
    """
    results: list[CommandResult] = []
    for command in surveyor.commands():
        results.append(runner.run(command))
        if results[0].missing:
            return None
    return surveyor.parse(results)


def group_name(group: NodeGroup, taken: Mapping[str, object]) -> str:
    """A name that tells what nodes have, such as ``c64-256g-4x-a100``."""
    parts = []
    if group.cores is not None:
        parts.append(f"c{group.cores}")
    if group.memory is not None:
        parts.append(f"{round(group.memory / 1024**3)}g")
    if group.gpus:
        model = re.sub(r"[^a-z0-9]+", "-", (group.gpu_model or "gpu").lower()).strip("-")
        parts.append(f"{group.gpus}x-{model or 'gpu'}")
    name = "-".join(parts) or "node"
    number, unique = 1, name
    while unique in taken:
        number += 1
        unique = f"{name}-{number}"
    return unique


def _given(**values: Any) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}


def _duration(value: timedelta | None) -> str | None:
    return None if value is None or value < timedelta(seconds=1) else format_duration(value)


def profile_table(surveys: Sequence[Survey], name: str, hosts: Sequence[str]) -> dict[str, Any]:
    """A first profile of the site that these schedulers belong to.

    Args:
        surveys: of all its schedulers; the first becomes the default one.
        name: the name for the site.
        hosts: patterns of names of its machines.
    """
    table: dict[str, Any] = {"name": name, "verified": True}
    if any(survey.account_required for survey in surveys):
        table["account_required"] = True
    if len(surveys) > 1:
        table["default_scheduler"] = surveys[0].executor
    table["host"] = {"names": list(hosts)}
    table["schedulers"] = {}
    table["nodes"] = {}
    for given in surveys:
        survey = _distinct(given, table["nodes"])
        scheduler: dict[str, Any] = {"executor": survey.executor}
        default = next((queue.name for queue in survey.queues if queue.default), None)
        if default is not None:
            scheduler["default_queue"] = default
        scheduler["queues"] = {queue.name: _queue_table(queue) for queue in survey.queues}
        table["schedulers"][survey.executor] = scheduler
        for group in survey.nodes:
            table["nodes"][group.name] = _given(
                count=group.count or None,
                cores=group.cores or None,
                threads_per_core=group.threads_per_core or None,
                gpus=group.gpus,
                gpu_model=group.gpu_model or None,
                memory=format_memory(group.memory) if group.memory else None,
            )
    return {key: value for key, value in table.items() if value != {}}


def _distinct(survey: Survey, taken: Mapping[str, object]) -> Survey:
    """The survey with other names for node groups whose names are taken."""
    names = {
        group.name: f"{survey.executor}-{group.name}" if group.name in taken else group.name
        for group in survey.nodes
    }
    return replace(
        survey,
        nodes=tuple(replace(group, name=names[group.name]) for group in survey.nodes),
        queues=tuple(
            replace(queue, nodes=tuple(names.get(node, node) for node in queue.nodes))
            for queue in survey.queues
        ),
    )


def _queue_table(queue: QueueFacts) -> dict[str, Any]:
    return _given(
        min_walltime=_duration(queue.min_walltime),
        max_walltime=_duration(queue.max_walltime),
        min_nodes=queue.min_nodes,
        max_nodes=queue.max_nodes,
        max_jobs=queue.max_jobs,
        max_running_jobs=queue.max_running_jobs,
        exclusive=queue.exclusive,
        nodes=list(queue.nodes) or None,
    )


def profile_comments(surveys: Sequence[Survey]) -> dict[tuple[str, ...], str]:
    """Comments for :func:`profile_table`, by the path of the key that they stand above."""
    comments: dict[tuple[str, ...], str] = {}
    accounts = sorted({account for survey in surveys for account in survey.accounts})
    listed = f" You may use: {', '.join(accounts)}." if accounts else ""
    comments[("account",)] = f'The account that pays for jobs.{listed}\naccount = "..."'
    comments[("setup",)] = (
        "Lines of shell that every job runs first.\n"
        'setup = ["module load ..."]\n'
        "A folder for large files.\n"
        'scratch = "$SCRATCH"'
    )
    for survey in surveys:
        at: tuple[str, ...] = ("schedulers", survey.executor)
        comments[at] = "\n".join([f"As {survey.title} says.", *survey.remarks])
        launcher: tuple[str, ...] = (*at, "launcher")
        comments[launcher] = (
            "What starts the processes of a job: single, mpirun, mpiexec, srun, ...\n"
            'launcher = "..."'
        )
        for queue in survey.queues:
            words = [text for text in (queue.remark, queue.closed) if text]
            where: tuple[str, ...] = (*at, "queues", queue.name)
            if words:
                comments[where] = "\n".join(words)
    return comments
