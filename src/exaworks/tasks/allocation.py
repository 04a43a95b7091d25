"""Nodes from a batch system, got once, for many tasks."""

from __future__ import annotations

import contextlib
import itertools
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from exaworks.core.config import home
from exaworks.tasks.cluster.boot import Boot
from exaworks.tasks.cluster.engine import ClusterEngine
from exaworks.tasks.cluster.launch import AloneLaunch, Launch
from exaworks.tasks.cluster.source import Source
from exaworks.tasks.engine import Features
from exaworks.tasks.engines import engine_class
from exaworks.tasks.errors import EngineFailed, InvalidTaskError
from exaworks.tasks.options import Options
from exaworks.tasks.scheduler import Placement
from exaworks.tasks.spec import TaskSpec

if TYPE_CHECKING:
    from exaworks.psij import Job, JobExecutor, JobSpec, JobStatus

__all__ = ["Allocation", "AllocationSpec", "JobSource"]

_SECONDS_TO_END = 5.0
_TAIL = 1000
_numbers = itertools.count(1)


@dataclass(frozen=True)
class AllocationSpec:
    """What is asked of a batch system.

    Attributes:
        nodes: how many.
        executor: the name of the PSI/J executor that gets them, or one; ``"local"``: this machine.
        url: where it is, if not here.
        site: the profile of a site, in place of both.
        engine: what starts the agents on the nodes, and ranks of tasks over them: ``"slurm"``,
            ``"mpi"``, ``"flux"``; ``None``: what goes with the executor.
        walltime: seconds (or a ``timedelta``) for which they are there; ``None``: the executor's
            default.
        cores_per_node: cores of each; ``None``: whole nodes; on this machine all of it.
        gpus_per_node: GPUs of each.
        memory_per_node: bytes of each; ``None``: the executor's default.
        queue: the queue.
        account: who pays.
        reservation: a reservation to use.
        attributes: further options for the executor: ``{"slurm.constraint": "gpu"}``.
        name: what the job is called.
        python: the interpreter on the nodes, with this package; ``None``: the path of this one.
    """

    nodes: int = 1
    executor: str | JobExecutor = "local"
    url: str | None = None
    site: str | None = None
    engine: str | None = None
    walltime: float | timedelta | None = None
    cores_per_node: int | None = None
    gpus_per_node: int = 0
    memory_per_node: int | None = None
    queue: str | None = None
    account: str | None = None
    reservation: str | None = None
    attributes: Mapping[str, Any] = field(default_factory=dict)
    name: str = "exaworks-tasks"
    python: str | None = None

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> AllocationSpec:
        """A specification from keyword arguments.

        Raises:
            InvalidTaskError: a name is unknown, or a value makes no sense.
        """
        known = [each.name for each in fields(cls)]
        for name in values:
            if name not in known:
                raise InvalidTaskError(f"an allocation has no {name!r}; it has: {', '.join(known)}")
        return cls(**values)

    def __post_init__(self) -> None:
        """Check.

        Raises:
            InvalidTaskError: a value makes no sense.
        """
        for name, least in (("nodes", 1), ("cores_per_node", 1), ("gpus_per_node", 0)):
            value = getattr(self, name)
            if value is None and name == "cores_per_node":
                continue
            if type(value) is not int or value < least:
                raise InvalidTaskError(
                    f"{name} must be a whole number of at least {least}, not {value!r}"
                )
        if self.seconds is not None and not self.seconds > 0:
            raise InvalidTaskError(f"walltime must be positive, not {self.walltime!r}")
        if self.site is not None and (self.executor != "local" or self.url is not None):
            raise InvalidTaskError("site says which executor and url; give it alone")

    @property
    def seconds(self) -> float | None:
        """The walltime in seconds."""
        walltime = self.walltime
        return walltime.total_seconds() if isinstance(walltime, timedelta) else walltime

    def make_executor(self) -> JobExecutor:
        """The executor.

        Raises:
            ValueError: there is none of that name.
        """
        from exaworks.psij import JobExecutor

        if self.site is not None:
            return JobExecutor.for_site(self.site)
        if isinstance(self.executor, JobExecutor):
            return self.executor
        return JobExecutor.get_instance(self.executor, url=self.url)

    def make_source(self) -> JobSource:
        """A batch job that is still to be submitted.

        Raises:
            InvalidTaskError: there is no such executor or engine, or the engine cannot do that.
        """
        try:
            executor = self.make_executor()
        except ValueError as problem:
            raise InvalidTaskError(f"executor: {problem}") from problem
        return JobSource(self, executor, self._launch(executor.name))

    def _launch(self, executor: str) -> Launch:
        name = self.engine
        if name is None:
            name = executor if executor in ("slurm", "flux") else "mpi" if self.nodes > 1 else None
        if name is None or (name == "local" and self.nodes == 1):
            return AloneLaunch()
        launch: type[Launch] | None = getattr(engine_class(name), "launch_in_job", None)
        if launch is None:
            raise InvalidTaskError(
                f"the engine {name!r} cannot be started in an allocation"
                + (" of several nodes" if name == "local" else "")
            )
        return launch()


class JobSource(Source):
    """A batch job that starts agents on its nodes."""

    def __init__(self, spec: AllocationSpec, executor: JobExecutor, launch: Launch) -> None:
        from exaworks.psij import Job

        self.spec = spec
        self.executor = executor
        self.launch = launch
        self.job: Job = Job()
        self.expected = spec.nodes
        self.title = f"{executor.name} job"
        self.is_here = executor.name == "local"
        self._log = home() / "allocations" / f"{os.getpid()}-{next(_numbers)}-{time.time_ns()}.err"
        self._active: float | None = None
        self._over = threading.Event()

    def start(self, boot: Boot) -> None:
        """See :meth:`Source.start`."""
        from exaworks.psij import PSIJException

        self.job.spec = self._job_spec(boot)
        self.job.set_job_status_callback(lambda job, status: self._changed(boot, status))
        try:
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self.executor.submit(self.job)
        except (PSIJException, OSError) as problem:
            raise EngineFailed(f"{self.title} cannot be submitted: {problem}") from problem
        self.title = f"{self.executor.name} job {self.job.native_id}"

    def _job_spec(self, boot: Boot) -> JobSpec:
        from exaworks.psij import JobAttributes, JobSpec, ResourceSpecV1

        spec = self.spec
        usual = self.launch.attributes if spec.nodes > 1 else {}
        attributes = JobAttributes(
            queue_name=spec.queue,
            account=spec.account,
            reservation_id=spec.reservation,
            custom_attributes={**usual, **spec.attributes} or None,
        )
        if spec.seconds is not None:
            attributes.duration = timedelta(seconds=spec.seconds)
        memory = spec.memory_per_node
        resources = ResourceSpecV1(
            node_count=spec.nodes,
            processes_per_node=1,
            cpu_cores_per_process=spec.cores_per_node,
            gpu_cores_per_process=spec.gpus_per_node or None,
            memory=None if memory is None else memory * spec.nodes,
            exclusive_node_use=spec.cores_per_node is None and not self.is_here,
        )
        settings: dict[str, Any] = dict(self.launch.settings)
        if self.is_here:
            settings["cores"] = spec.cores_per_node
            if spec.gpus_per_node:
                settings["gpus"] = [str(number) for number in range(spec.gpus_per_node)]
        if memory is not None:
            settings["memory"] = memory
        words = self.launch.words(boot.words(), spec.nodes)
        return JobSpec(
            words[0],
            words[1:],
            name=spec.name,
            environment=boot.environment(**settings),
            stderr_path=self._log,
            resources=resources,
            attributes=attributes,
            launcher=self.launch.launcher(self.executor.name),
        )

    def _changed(self, boot: Boot, status: JobStatus) -> None:
        from exaworks.psij import JobState

        if status.state is JobState.ACTIVE:
            self._active = status.time
        if status.final:
            self._over.set()
            text = status.message or "its agents have ended"
            boot.failed(f"{status.state.name}: {text}{self._complaint()}")

    def _complaint(self) -> str:
        with contextlib.suppress(OSError):
            text = self._log.read_text(errors="replace").strip()
            if text:
                return f"; the end of its standard error: {text[-_TAIL:]}"
        return ""

    def ends(self, started: float) -> float | None:
        """See :meth:`Source.ends`."""
        if self.spec.seconds is None:
            return None
        return min(self._active or started, started) + self.spec.seconds

    def origin(self) -> dict[str, Any]:
        """See :meth:`Source.origin`."""
        facts: dict[str, Any] = {
            "executor": self.executor.name,
            "job": self.job.native_id,
            "state": self.job.status.state.name,
        }
        if self.spec.seconds is not None and self._active is not None:
            facts["remaining"] = max(0.0, self._active + self.spec.seconds - time.time())
        return facts

    def spread(self, spec: TaskSpec, placement: Placement, names: dict[int, str]) -> list[str]:
        """See :meth:`Source.spread`."""
        return self.launch.spread(spec, placement, names)

    def stop(self) -> None:
        """See :meth:`Source.stop`."""
        from exaworks.psij import PSIJException

        if self.job.native_id is not None:
            if self._active is not None:  # it ends by itself, and well
                self._over.wait(_SECONDS_TO_END)
            if not self._over.is_set():
                with contextlib.suppress(PSIJException):
                    self.job.cancel()
        with contextlib.suppress(OSError):
            self._log.unlink()


class Allocation(ClusterEngine):
    """Nodes that a batch system gives once, and the engine that runs tasks on them.

    ::

        with Allocation(nodes=4, executor="slurm", walltime=3600) as allocation:
            allocation.wait_ready()
            results = allocation.map(simulate, range(100_000))

    It is a PSI/J job that starts an agent on each node; those connect back to this program. Tasks
    may be submitted at once; they wait until nodes are there. A task that says how long it may
    take (``time_limit``) is started only where so much time is left. When the program ends, in
    whatever way, the agents end, and with them the job.
    """

    name: ClassVar[str] = "allocation"
    features: ClassVar[Features] = Features(
        "on the nodes of a batch job", spread=True, several_nodes=True
    )

    def __init__(
        self,
        nodes: int = 1,
        *,
        address: str | None = None,
        bind: bool = True,
        max_waiting: int | None = None,
        capture: int = 1 << 16,
        output_folder: str | os.PathLike[str] | None = None,
        **request: Any,
    ) -> None:
        """Ask for nodes.

        Args:
            nodes: how many.
            address: where to listen for agents, a name or number of this machine that the nodes
                can reach; ``None``: everywhere, and only here if the node is this machine.
            bind: see :class:`LocalEngine`.
            max_waiting: see :class:`LocalEngine`.
            capture: see :class:`LocalEngine`.
            output_folder: see :class:`LocalEngine`.
            request: further fields of :class:`AllocationSpec`.

        Raises:
            InvalidTaskError: a value makes no sense.
            EngineFailed: the job cannot be submitted; the message has the scheduler's words.
        """
        self.spec = AllocationSpec.of({"nodes": nodes, **request})
        self._source = source = self.spec.make_source()
        super().__init__(
            [source],
            address=address_for([source], address),
            python=self.spec.python,
            bind=bind,
            max_waiting=max_waiting,
            capture=capture,
            output_folder=output_folder,
            launch=source.launch,
            timed=self.spec.seconds is not None,
        )

    def check_possible(self, options: Options) -> None:
        """See :meth:`QueuedEngine.check_possible`."""
        walltime, limit = self.spec.seconds, options.time_limit
        if walltime is not None and limit is not None and limit > walltime:
            raise InvalidTaskError(
                f"the task can never run here: its time limit is {limit:g} s, and the walltime of "
                f"the allocation {walltime:g} s"
            )
        super().check_possible(options)

    @property
    def title(self) -> str:
        """What it is, for people: ``"slurm job 17"``."""
        return self._source.title

    @property
    def job(self) -> Job:
        """The batch job."""
        return self._source.job

    @property
    def remaining(self) -> float | None:
        """Seconds until its end; ``None``: it has none, or has not begun."""
        remaining: float | None = self._source.origin().get("remaining")
        return remaining

    @property
    def executor(self) -> JobExecutor:
        """A PSI/J executor whose jobs run in this allocation."""
        from exaworks.tasks.nested import EngineJobExecutor

        return EngineJobExecutor(self)


def address_for(sources: list[JobSource], address: str | None) -> str | None:
    """Where to listen for agents of these jobs.

    Raises:
        InvalidTaskError: that must be told, since they run on another system.
    """
    if address is not None:
        return address
    for source in sources:
        url = getattr(source.executor, "url", None) or ""
        if url.startswith("ssh:") or source.executor.name == "ssh":
            raise InvalidTaskError(
                f"the nodes of {url or source.executor.name} must be able to reach this program: "
                "say at which address of this machine (address=...)"
            )
    return "127.0.0.1" if all(source.is_here for source in sources) else None
