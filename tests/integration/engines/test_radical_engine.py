"""The engine on a real pilot of RADICAL-Pilot."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from typing import ClassVar

import pytest
from engine_cases import HERE, MARK, AgentCases, marked, nothing_is_left_of, ready

from exaworks.tasks import EngineFailed
from exaworks.tasks.cluster.engine import ClusterEngine
from exaworks.tasks.conformance import until
from exaworks.tasks.engines.radical import RadicalEngine, RadicalPilot

STARTING = 300
"""Seconds that a pilot may take to start."""

PROGRAM = """
import time
from exaworks.tasks.engines.radical import RadicalEngine

engine = RadicalEngine(address="127.0.0.1", cores_per_node=1)
assert engine.wait_ready(300)
print(engine.submit(pow, 2, 5).result(60), flush=True)
time.sleep(600)
"""


@pytest.mark.radical
class TestRadical(AgentCases):
    pilot: ClassVar[RadicalPilot]

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _pilot(cls) -> Iterator[None]:
        mark = os.environ[MARK] = uuid.uuid4().hex
        with RadicalPilot() as pilot:
            with RadicalEngine(pilot=pilot, address=HERE) as engine:
                assert engine.wait_ready(STARTING)
            cls.pilot = pilot
            yield
            assert len(marked(mark)) > 5
        until(lambda: not marked(mark))
        del os.environ[MARK]

    def make_engine(self, cores: int = 2, gpus: int = 0) -> ClusterEngine:
        return ready(
            RadicalEngine(pilot=self.pilot, address=HERE, cores_per_node=cores, gpus_per_node=gpus)
        )


@pytest.mark.radical
def test_the_pilot_ends_with_the_program() -> None:
    """Also if that is killed; of itself, the pilot would stay until its runtime is over."""
    nothing_is_left_of(PROGRAM)


@pytest.mark.radical
def test_a_resource_that_is_not_known() -> None:
    with (
        RadicalEngine(description={"resource": "no.such"}, address=HERE) as engine,
        pytest.raises(EngineFailed, match="RADICAL-Pilot"),
    ):
        engine.wait_ready(STARTING)
