"""The engine on a real pilot of RADICAL-Pilot."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import ClassVar

import pytest
from engine_cases import HERE, AgentCases, alive, descendants, ready

from exaworks.tasks import EngineFailed
from exaworks.tasks.cluster.engine import ClusterEngine
from exaworks.tasks.conformance import until
from exaworks.tasks.engines.radical import RadicalEngine, RadicalPilot

STARTING = 300
"""Seconds that a pilot may take to start."""


@pytest.mark.radical
class TestRadical(AgentCases):
    pilot: ClassVar[RadicalPilot]

    @pytest.fixture(scope="class", autouse=True)
    def _pilot(self) -> Iterator[None]:
        with RadicalPilot() as pilot:
            with RadicalEngine(pilot=pilot, address=HERE) as engine:
                assert engine.wait_ready(STARTING)
            type(self).pilot = pilot
            yield
            below = descendants(pilot.host.pid)
        until(lambda: not any(map(alive, below)))

    def make_engine(self, cores: int = 2, gpus: int = 0) -> ClusterEngine:
        return ready(
            RadicalEngine(pilot=self.pilot, address=HERE, cores_per_node=cores, gpus_per_node=gpus)
        )

    def test_the_process_of_the_session_is_not_ours(self) -> None:
        assert self.pilot.host.pid != os.getpid()
        assert len(descendants(self.pilot.host.pid)) > 5


@pytest.mark.radical
def test_a_resource_that_is_not_known() -> None:
    with (
        RadicalEngine(description={"resource": "no.such"}, address=HERE) as engine,
        pytest.raises(EngineFailed, match="RADICAL-Pilot"),
    ):
        engine.wait_ready(STARTING)
