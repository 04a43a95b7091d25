"""The engine on a real HighThroughputExecutor of Parsl."""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from engine_cases import HERE, AgentCases, nothing_is_left_of, ready

from exaworks.tasks import EngineFailed, InvalidTaskError
from exaworks.tasks.cluster.engine import ClusterEngine
from exaworks.tasks.engines.parsl import ParslEngine


def configuration(folder: str) -> Any:
    """Parsl on this machine."""
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    executor = HighThroughputExecutor(
        max_workers_per_node=2,
        address=HERE,
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    return Config(
        executors=[executor],
        run_dir=str(Path(folder) / "runinfo"),
        initialize_logging=False,
        strategy_period=0.2,
    )


PRELUDE = f"from pathlib import Path\nfrom typing import Any\nHERE = {HERE!r}\n"
PROGRAM = (
    inspect.getsource(configuration)
    + """
import time
from exaworks.tasks.engines.parsl import ParslEngine

engine = ParslEngine(config=lambda: configuration({run!r}), address=HERE, cores_per_node=1)
assert engine.wait_ready(60)
print(engine.submit(pow, 2, 5).result(60), flush=True)
time.sleep(600)
"""
)


@pytest.mark.parsl
class TestParsl(AgentCases):
    executor: ClassVar[Any] = None

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _parsl(cls, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
        from parsl.dataflow.dflow import DataFlowKernel

        # It looks for programs of its own in PATH.
        path = os.environ["PATH"]
        os.environ["PATH"] = f"{Path(sys.executable).parent}:{path}"
        config = configuration(str(tmp_path_factory.mktemp("parsl")))
        kernel = DataFlowKernel(config=config)
        cls.executor = config.executors[0]
        yield
        kernel.cleanup()
        os.environ["PATH"] = path

    def make_engine(self, cores: int = 2, gpus: int = 0) -> ClusterEngine:
        return ready(
            ParslEngine(self.executor, address=HERE, cores_per_node=cores, gpus_per_node=gpus)
        )

    def test_it_is_free_again(self) -> None:
        with self.make_engine() as engine:
            assert engine.submit(pow, 2, 5).result(60) == 32
        assert self.executor.submit(pow, {}, 2, 6).result(60) == 64


@pytest.mark.parsl
def test_parsl_ends_with_the_program(tmp_path: Path) -> None:
    """Also if that is killed; of itself, Parsl would stay for ever."""
    text = PRELUDE + PROGRAM.replace("{run!r}", repr(str(tmp_path)))
    nothing_is_left_of(text)


@pytest.mark.parsl
def test_what_cannot_be_started() -> None:
    def broken() -> Any:
        raise ValueError("no such machine")

    with (
        ParslEngine(config=broken, address=HERE) as engine,
        pytest.raises(EngineFailed, match="Parsl: ValueError: no such machine"),
    ):
        engine.wait_ready(60)
    with pytest.raises(InvalidTaskError, match="an executor of Parsl that runs, or a config"):
        ParslEngine(address=HERE)
    with pytest.raises(InvalidTaskError, match="config must be a function"):
        ParslEngine(config=5, address=HERE)  # type: ignore[arg-type]
