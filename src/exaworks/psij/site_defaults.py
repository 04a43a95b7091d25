"""How the profile of a site completes a job, and what it can tell beforehand about its limits.

Pure: nothing is asked or changed; :mod:`exaworks.core.sites` has the profiles.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from datetime import timedelta

from exaworks.core.sites.model import NodeType, Queue, Scheduler, SiteProfile
from exaworks.core.sites.units import format_duration, format_memory
from exaworks.psij.exceptions import InvalidJobException
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.resource_spec import ResourceSpecV1

__all__ = ["complete", "queue_of", "setup_lines"]


def complete(spec: JobSpec, profile: SiteProfile, scheduler: str | None = None) -> JobSpec:
    """Fill in what the site knows, and check the job against the site's limits.

    What the specification says itself is never changed. Filled in are the queue, the account, the
    launcher and custom attributes: those of the queue before those of the scheduler. Where the
    site names queues to its scheduler with a custom attribute (such as ``slurm.qos``), the queue
    moves there.

    Args:
        spec: the specification; it is left as it is.
        profile: the site.
        scheduler: the profile's name of the scheduler; ``None``: its default one.

    Returns:
        a new specification.

    Raises:
        InvalidJobException: the job cannot run on the site as the profile describes it; the
            message names the limit, and what would fit.
        ValueError: the site has no such scheduler.
    """
    target = profile.scheduler(scheduler)
    done, attributes = copy.copy(spec), copy.copy(spec.attributes)
    done.attributes = attributes
    given = dict(attributes.custom_attributes or {})
    needs = _needs(spec)

    name = queue_of(spec, target)
    if name is None:
        name = _default_queue(target, profile, needs, attributes.duration)
    queue = None if name is None else target.queues.get(name)
    if name is not None and queue is None and not target.other_queues:
        raise InvalidJobException(
            f"{profile.name} has no queue {name!r}"
            + _suggest(target, profile, needs, attributes.duration)
            + f". If there is one, add a table [{_path(profile, target, name)}] to sites.toml"
        )
    if queue is not None:
        _check(queue, target, profile, needs, attributes.duration)
    elif needs is not None and profile.nodes and not target.other_queues:
        _check_nodes(profile.nodes.values(), needs, profile.name, profile)

    custom = {**target.custom_attributes, **(queue.custom_attributes if queue else {})}
    if target.queue_attribute is None:
        attributes.queue_name = name
    else:
        attributes.queue_name = None
        if name is not None:
            custom[target.queue_attribute] = name
    # Those given come last, so that they also win under another name of the same option.
    custom = {key: value for key, value in custom.items() if key not in given}
    attributes.custom_attributes = {**custom, **given} or None
    attributes.account = attributes.account or profile.account
    if profile.account_required and not attributes.account:
        raise InvalidJobException(
            f"{profile.name} runs no job without an account: set attributes.account (--account), "
            "or write into sites.toml in the ExaWorks home folder: "
            f'[{profile.name}] account = "..."'
        )
    done.launcher = done.launcher or target.launcher
    return done


def setup_lines(profile: SiteProfile) -> list[str]:
    """The lines of POSIX shell that every job on the site runs before anything else."""
    return list(profile.setup)


def _needs(spec: JobSpec) -> ResourceSpecV1 | None:
    """What the job needs; ``None`` if that is said in a way that we do not know."""
    if spec.resources is None:
        return ResourceSpecV1()
    return spec.resources if isinstance(spec.resources, ResourceSpecV1) else None


def queue_of(spec: JobSpec, scheduler: Scheduler) -> str | None:
    """The queue that a specification names, be it with the custom attribute of the site."""
    if spec.attributes.queue_name is not None or scheduler.queue_attribute is None:
        return spec.attributes.queue_name
    named = spec.attributes.get_custom_attribute(scheduler.queue_attribute)
    return str(named) if named else None


def _path(profile: SiteProfile, scheduler: Scheduler, queue: str) -> str:
    return f"{profile.name}.schedulers.{scheduler.name}.queues.{queue}"


def _default_queue(
    scheduler: Scheduler,
    profile: SiteProfile,
    needs: ResourceSpecV1 | None,
    duration: timedelta | None,
) -> str | None:
    if scheduler.default_queue is not None or not scheduler.choose_queue:
        return scheduler.default_queue
    fitting = [q for q in _fitting(scheduler, profile, needs, duration) if q.choose]
    if fitting:
        return fitting[0].name
    if not any(queue.choose for queue in scheduler.queues.values()):
        return None
    reasons = "; ".join(
        f"{queue.name}: {next(_objections(queue, profile, needs, duration))}"
        for queue in scheduler.queues.values()
        if queue.choose
    )
    others = _suggest(scheduler, profile, needs, duration)
    raise InvalidJobException(f"no queue of {profile.name} takes the job ({reasons}){others}")


def _fitting(
    scheduler: Scheduler,
    profile: SiteProfile,
    needs: ResourceSpecV1 | None,
    duration: timedelta | None,
) -> list[Queue]:
    """The queues that take the job, the smallest first."""
    nodes = 1 if needs is None else needs.computed_node_count

    def size(queue: Queue) -> tuple[timedelta, float]:
        most = float("inf") if queue.max_nodes is None else queue.max_nodes
        return queue.walltime_limit(nodes) or timedelta.max, most

    found = [
        queue
        for queue in scheduler.queues.values()
        if next(_objections(queue, profile, needs, duration), None) is None
    ]
    return sorted(found, key=size)


def _suggest(
    scheduler: Scheduler,
    profile: SiteProfile,
    needs: ResourceSpecV1 | None,
    duration: timedelta | None,
) -> str:
    fitting = [queue.name for queue in _fitting(scheduler, profile, needs, duration)]
    if not scheduler.queues:
        return ""
    if not fitting:
        return "; none of its queues that are known would take the job"
    return f"; the job would fit into: {', '.join(fitting)}"


def _check(
    queue: Queue,
    scheduler: Scheduler,
    profile: SiteProfile,
    needs: ResourceSpecV1 | None,
    duration: timedelta | None,
) -> None:
    objection = next(_objections(queue, profile, needs, duration), None)
    if objection is not None:
        raise InvalidJobException(
            f"queue {queue.name!r} of {profile.name}: {objection}"
            + _suggest(scheduler, profile, needs, duration)
            + _as_of(profile)
            + f"; if that has changed, correct [{_path(profile, scheduler, queue.name)}] in "
            "sites.toml"
        )


def _as_of(profile: SiteProfile) -> str:
    return f". The limit is that of {profile.date}" if profile.date else ". The profile says so"


def _objections(
    queue: Queue, profile: SiteProfile, needs: ResourceSpecV1 | None, duration: timedelta | None
) -> Iterator[str]:
    """Why the queue does not take the job."""
    nodes = 1 if needs is None else needs.computed_node_count
    if needs is not None and queue.max_nodes is not None and nodes > queue.max_nodes:
        yield f"it takes at most {queue.max_nodes} nodes, the job needs {nodes}"
    if needs is not None and queue.min_nodes is not None and nodes < queue.min_nodes:
        yield f"it takes jobs of at least {queue.min_nodes} nodes, the job has {nodes}"
    limit = queue.walltime_limit(nodes)
    if duration is not None and limit is not None and duration > limit:
        suffix = f" for {nodes} nodes" if queue.max_walltime_by_nodes else ""
        yield (
            f"a job may take at most {format_duration(limit)}{suffix}, attributes.duration is "
            f"{format_duration(duration)}"
        )
    if duration is not None and queue.min_walltime is not None and duration < queue.min_walltime:
        yield (
            f"a job must ask for at least {format_duration(queue.min_walltime)}, "
            f"attributes.duration is {duration}"
        )
    types = [profile.nodes[name] for name in queue.nodes if name in profile.nodes]
    if needs is not None and types:
        lacking = [next(_shortage(node, needs), None) for node in types]
        if None not in lacking:
            yield " and ".join(str(text) for text in lacking)


def _check_nodes(
    types: Iterable[NodeType], needs: ResourceSpecV1, place: str, profile: SiteProfile
) -> None:
    lacking = [next(_shortage(node, needs), None) for node in types]
    if None not in lacking:
        raise InvalidJobException(
            f"{place} has no such nodes: {'; '.join(map(str, lacking))}{_as_of(profile)}"
        )


def _shortage(node: NodeType, needs: ResourceSpecV1) -> Iterator[str]:
    """What nodes of this type have too little of.

    Cores are held against hardware threads: some sites let jobs ask for each of those.
    """
    processes = needs.computed_processes_per_node
    cores = processes * (needs.cpu_cores_per_process or 1)
    if node.cores is not None and cores > node.cores * (node.threads_per_core or 1):
        threads = node.threads_per_core or 1
        inside = f" ({node.cores * threads} hardware threads)" if threads > 1 else ""
        yield (
            f"a node {node.name!r} has {node.cores} cores{inside}, the job needs {cores} on each "
            f"(processes_per_node {processes} times cpu_cores_per_process "
            f"{needs.cpu_cores_per_process or 1})"
        )
    gpus = processes * (needs.gpu_cores_per_process or 0)
    if node.gpus is not None and gpus > node.gpus:
        yield f"a node {node.name!r} has {node.gpus} GPUs, the job needs {gpus} on each"
    if node.memory is not None and needs.memory is not None:
        share = -(-needs.memory // needs.computed_node_count)
        if share > node.memory:
            yield (
                f"a node {node.name!r} has {format_memory(node.memory)} of memory, the job needs "
                f"{format_memory(share)} on each"
            )
