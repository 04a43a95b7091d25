"""Parsl: agents in the workers of a HighThroughputExecutor."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from exaworks.tasks.cluster.carrier import CarrierSource
from exaworks.tasks.cluster.engine import ClusterEngine
from exaworks.tasks.cluster.host import Host, HostSource, Orders
from exaworks.tasks.cluster.source import Source
from exaworks.tasks.engine import Features
from exaworks.tasks.errors import EngineFailed, InvalidTaskError

__all__ = ["ParslEngine"]


class ParslEngine(ClusterEngine):
    """Runs tasks on the nodes that Parsl gets.

    ::

        def config():
            return Config(executors=[HighThroughputExecutor(provider=SlurmProvider(...))])

        with ParslEngine(config=config, nodes=4) as engine:
            ...

    One call of Parsl on each node runs an agent; our tasks do not pass Parsl's interchange. With a
    ``config``, Parsl runs in a process of its own that ends it when this program ends, in whatever
    way.
    """

    name: ClassVar[str] = "parsl"
    features: ClassVar[Features] = Features(
        "on the nodes that Parsl's HTEX has got", several_nodes=True, extra="parsl"
    )

    def __init__(
        self,
        executor: Any = None,
        *,
        config: Callable[[], Any] | None = None,
        nodes: int = 1,
        **settings: Any,
    ) -> None:
        """Start agents.

        Args:
            executor: a ``HighThroughputExecutor`` that runs, of a ``DataFlowKernel`` for
                instance. It stays when this engine is shut down.
            config: or a function that makes the ``parsl.Config`` to start (a configuration
                itself cannot be sent to another process); its first executor is used, and ended
                by :meth:`shutdown`.
            nodes: on how many nodes its workers are.
            settings: see :class:`ClusterEngine`.

        Raises:
            EngineFailed: Parsl is not installed, or cannot be started.
            InvalidTaskError: a value makes no sense.
        """
        reason = self.unusable()
        if reason is not None:
            raise EngineFailed(reason)
        if (executor is None) == (config is None):
            raise InvalidTaskError("give an executor of Parsl that runs, or a config to start")
        if config is not None and not callable(config):
            raise InvalidTaskError(
                "config must be a function that returns a parsl.Config: it is called in another "
                "process, and a configuration cannot be sent there"
            )
        source: Source
        # A future of HTEX that is cancelled breaks the thread that wants to set its result.
        if executor is not None:
            source = CarrierSource(
                lambda function, *args: executor.submit(function, {}, *args), nodes, "Parsl", False
            )
        else:
            source = HostSource(Host("Parsl", _host, config=config), nodes, owned=True)
        super().__init__([source], **settings)

    @classmethod
    def unusable(cls) -> str | None:
        """See :meth:`Engine.unusable`."""
        if importlib.util.find_spec("parsl") is None:
            return "parsl is not installed: pip install 'exaworks[parsl]'"
        return None


def _host(orders: Orders, config: Callable[[], Any]) -> None:
    """Run Parsl, in a process of its own."""
    from parsl.dataflow.dflow import DataFlowKernel

    chosen = config()
    kernel = DataFlowKernel(config=chosen)
    try:
        executor = chosen.executors[0]
        sources = []
        for number, words, environment, count in orders:
            source = CarrierSource(
                lambda function, *args: executor.submit(function, {}, *args), count, "Parsl", False
            )
            failed = partial(orders.failed, number)
            source.carry_agents(words, environment, str(number), failed)
            sources.append(source)
        for source in sources:
            source.stop()
    finally:
        kernel.cleanup()
