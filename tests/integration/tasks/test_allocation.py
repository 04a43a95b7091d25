"""Allocations on this machine: the semantics of tasks, and what is special about nodes."""

from __future__ import annotations

from exaworks.tasks import Allocation, Engine
from exaworks.tasks.conformance import EngineConformance


class TestAllocation(EngineConformance):
    def make_engine(self, cores: int = 2, gpus: int = 0) -> Engine:
        allocation = Allocation(cores_per_node=cores, gpus_per_node=gpus)
        assert allocation.wait_ready(60)
        return allocation
