"""The engine on a real Dask cluster."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from engine_cases import HERE, AgentCases, ready

from exaworks.tasks import EngineFailed, NodeLost
from exaworks.tasks.cluster.engine import ClusterEngine
from exaworks.tasks.conformance import until
from exaworks.tasks.engines.dask import DaskEngine


@pytest.mark.dask
class TestDask(AgentCases):
    cluster: ClassVar[Any] = None

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _cluster(cls) -> Iterator[None]:
        from distributed import LocalCluster

        with LocalCluster(
            n_workers=1, threads_per_worker=2, dashboard_address=None, silence_logs=50
        ) as cluster:
            cls.cluster = cluster
            yield

    def make_engine(self, cores: int = 2, gpus: int = 0) -> ClusterEngine:
        return ready(
            DaskEngine(self.cluster, address=HERE, cores_per_node=cores, gpus_per_node=gpus)
        )

    def test_cores_are_the_threads_of_dask(self) -> None:
        with ready(DaskEngine(self.cluster.scheduler_address, address=HERE)) as engine:
            assert [len(node.cores) for node in engine.resources().total] == [2]

    def test_a_worker_of_dask_that_is_killed(self) -> None:
        """Dask starts it again, and so our agent; what waits goes on."""
        with self.make_engine() as engine:
            worker = next(iter(self.cluster.workers.values())).process.process.pid
            sleeper = engine.submit(signal.pause)
            again = engine.configured(restartable=True).submit(os.getpid)
            until(sleeper.running)
            os.kill(worker, signal.SIGKILL)
            with pytest.raises(NodeLost):
                sleeper.result(60)
            assert again.result(60) > 0
            assert engine.submit(pow, 2, 5).result(60) == 32


@pytest.mark.dask
def test_no_cluster() -> None:
    from distributed import LocalCluster

    with (
        LocalCluster(n_workers=0, dashboard_address=None) as cluster,
        pytest.raises(EngineFailed, match=r"has no workers \(yet\)"),
    ):
        DaskEngine(cluster, address=HERE)
