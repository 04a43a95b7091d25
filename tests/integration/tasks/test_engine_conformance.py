"""Our own engines against the semantics of tasks."""

from __future__ import annotations

from exaworks.tasks import Engine, InlineEngine, LocalEngine
from exaworks.tasks.conformance import EngineConformance


class TestLocal(EngineConformance):
    def make_engine(self, cores: int = 2, gpus: int = 0) -> Engine:
        return LocalEngine(cores, gpus=gpus)


class TestInline(EngineConformance):
    concurrent = False
    workers = False

    def make_engine(self, cores: int = 2, gpus: int = 0) -> Engine:
        return InlineEngine(cores, gpus=gpus)
