"""Several allocations behind one queue, as many as the load asks for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import Any, ClassVar

from exaworks.tasks.allocation import AllocationSpec, JobSource, address_for
from exaworks.tasks.cluster.engine import ClusterEngine
from exaworks.tasks.cluster.members import Member
from exaworks.tasks.engine import Features
from exaworks.tasks.errors import EngineFailed, InvalidTaskError
from exaworks.tasks.resources import NodeResources

__all__ = ["EnginePool"]

LOOK = 1.0
"""Seconds between two looks at the load."""

PATIENCE = 5.0
"""Seconds for which tasks wait until one more allocation is asked for."""

LONGEST_PAUSE = 300.0
"""Seconds at most between two attempts to get an allocation after one could not be got."""


class EnginePool(ClusterEngine):
    """Runs tasks on several allocations. A task is bound to one of them only when it starts.

    ::

        with EnginePool([AllocationSpec(nodes=2, executor="slurm", walltime=3600)], max=5) as pool:
            futures = [pool.submit(work, n) for n in range(100_000)]

    When an allocation ends, tasks that had not begun there go on in others, those that had only if
    they are restartable. While tasks wait, further allocations are asked for, up to ``max``; one
    in which nothing has run for a while is given back, down to ``min``.
    """

    name: ClassVar[str] = "pool"
    features: ClassVar[Features] = Features(
        "on the nodes of several batch jobs", spread=True, several_nodes=True, elastic=True
    )

    def __init__(
        self,
        specs: Sequence[AllocationSpec] | AllocationSpec | None = None,
        *,
        min: int | None = None,
        max: int | None = None,
        idle: float = 60.0,
        address: str | None = None,
        bind: bool = True,
        max_waiting: int | None = None,
        capture: int = 1 << 16,
        output_folder: str | os.PathLike[str] | None = None,
        **request: Any,
    ) -> None:
        """Ask for the first allocations.

        Args:
            specs: what to ask for; in turn, if there are several and one more is needed. ``None``:
                ``request`` says it.
            min: how many allocations there are always; ``None``: one of each of ``specs``. One
                that ends is replaced, as long as there is something to do.
            max: how many there are at most; ``None``: as many as ``min``.
            idle: seconds after which one in which nothing runs is given back.
            address: see :class:`Allocation`.
            bind: see :class:`LocalEngine`.
            max_waiting: see :class:`LocalEngine`.
            capture: see :class:`LocalEngine`.
            output_folder: see :class:`LocalEngine`.
            request: fields of :class:`AllocationSpec`, if all allocations are alike.

        Raises:
            InvalidTaskError: a value makes no sense.
            EngineFailed: a job cannot be submitted.
        """
        if specs is None:
            specs = AllocationSpec.of(request)
        elif request:
            raise InvalidTaskError(f"{', '.join(request)}: say it in the specs of the allocations")
        self._specs = [specs] if isinstance(specs, AllocationSpec) else list(specs)
        if not self._specs:
            raise InvalidTaskError("a pool needs the specification of one allocation at least")
        self._least = len(self._specs) if min is None else min
        self._most = self._least if max is None else max
        _check(self._least, self._most)
        self._idle = idle
        self._idle_since: dict[Member, float] = {}
        self._waiting_since: float | None = None
        self._pause = 0.0
        self._not_before = 0.0
        self._turn = 0
        self._asking = False
        sources = [self._next() for _ in range(self._least)] or [self._next()]
        launches = {type(source.launch) for source in sources}
        launches.update(type(spec.make_source().launch) for spec in self._specs)
        if len(launches) > 1:
            raise InvalidTaskError(
                "all allocations of a pool must start their agents in the same way (engine=...), "
                f"not by {', '.join(sorted(each.name for each in launches))}"
            )
        super().__init__(
            sources[: self._least],
            address=address_for(sources, address),
            python=self._specs[0].python,
            bind=bind,
            max_waiting=max_waiting,
            capture=capture,
            output_folder=output_folder,
            launch=sources[0].launch,
            timed=any(spec.seconds is not None for spec in self._specs),
        )
        self.reactor.call_later(LOOK, self._look)

    def _next(self) -> JobSource:
        spec = self._specs[self._turn % len(self._specs)]
        self._turn += 1
        return spec.make_source()

    @property
    def allocations(self) -> int:
        """How many allocations there are, or were asked for."""
        with self._lock:
            return len(self._members.live())

    @property
    def sources(self) -> list[JobSource]:
        """The batch jobs of those."""
        with self._lock:
            return [member.source for member in self._members.live()]  # type: ignore[misc]

    def scale(self, count: int) -> None:
        """Have so many allocations: ``min`` and ``max`` are both that from now on.

        Raises:
            InvalidTaskError: the number makes no sense.
            EngineFailed: a job cannot be submitted.
        """
        _check(count, count)
        with self._lock:
            self._least = self._most = count
            missing = count - len(self._members.live())
        for _ in range(missing):
            self.add_source(self._next())
        self._shrink(0.0)

    # Growing

    def _may_grow(self) -> bool:
        """See :meth:`ClusterEngine._may_grow`."""
        return not self._closing and self._most > 0

    def _nodes_to_come(self) -> list[NodeResources] | None:
        """See :meth:`ClusterEngine._nodes_to_come`; there may always be one allocation more."""
        there = super()._nodes_to_come()
        if there is None or not self._may_grow():
            return there
        if self._shape is None:
            return None
        return there + [self._shape] * max(spec.nodes for spec in self._specs)

    def _look(self) -> None:
        """See whether there are too few or too many."""
        if self._closed.is_set():
            return
        with self._lock:
            if not self._asking and not self._closing and self._too_few(time.monotonic()):
                self._asking = True
                threading.Thread(target=self._grow, daemon=True).start()
        self._shrink(self._idle)
        self.reactor.call_later(LOOK, self._look)

    def _too_few(self, now: float) -> bool:
        """Whether one more allocation is to be asked for now."""
        if not self.scheduler.waiting:
            self._waiting_since = None
            return False
        if self._waiting_since is None:
            self._waiting_since = now
        if now < self._not_before or self._members.to_come:
            return False
        live = len(self._members.live())
        waited = now - self._waiting_since >= PATIENCE
        return live < self._least or (live < self._most and (waited or not live))

    def _grow(self) -> None:
        """Ask for one more; the scheduler may take its time to answer."""
        try:
            self.add_source(self._next())
            self._pause = 0.0
        except (EngineFailed, InvalidTaskError, RuntimeError) as problem:
            self.log.warning("%s: no further allocation: %s", self.id, problem)
            self._wait_longer()
        finally:
            with self._lock:
                self._asking = False
                self._waiting_since = None

    def _wait_longer(self) -> None:
        self._pause = min(LONGEST_PAUSE, self._pause * 2 or LOOK)
        self._not_before = time.monotonic() + self._pause

    def _is_over(self, member: Member) -> None:
        """See :meth:`ClusterEngine._is_over`."""
        if not member.came:  # it has never brought a node: do not ask for the next at once
            self._wait_longer()

    # Shrinking

    def _shrink(self, idle: float) -> None:
        """Give back what nobody has used for so many seconds."""
        now = time.monotonic()
        with self._lock:
            live = self._members.live()
            spare = len(live) - self._least
            for member in live:
                if self._busy(member) or (self.scheduler.waiting and idle):
                    self._idle_since.pop(member, None)
                    continue
                since = self._idle_since.setdefault(member, now)
                if spare > 0 and now - since >= idle:
                    spare -= 1
                    self._idle_since.pop(member)
                    self._retire(member)


def _check(least: int, most: int) -> None:
    if type(least) is not int or type(most) is not int or not 0 <= least <= most or most < 1:
        raise InvalidTaskError(
            f"a pool has from min to max allocations, 0 <= min <= max and max >= 1, "
            f"not from {least!r} to {most!r}"
        )
