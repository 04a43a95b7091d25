"""Dask: an agent on each machine of a Dask cluster (distributed)."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from typing import Any, ClassVar

from exaworks.tasks.cluster.boot import Boot, run_agent
from exaworks.tasks.cluster.engine import ClusterEngine
from exaworks.tasks.cluster.source import Source
from exaworks.tasks.engine import Features
from exaworks.tasks.errors import EngineFailed

__all__ = ["DaskEngine"]

_SECONDS_TO_CONNECT = 30


class DaskEngine(ClusterEngine):
    """Runs tasks on the machines of a Dask cluster.

    ::

        with DaskEngine("tcp://scheduler:8786") as engine:
            ...

    One task of Dask on each machine runs an agent; so our tasks do not pass Dask's scheduler. The
    agent uses as many cores as Dask's workers there have threads. A worker that Dask starts again
    gets an agent again.
    """

    name: ClassVar[str] = "dask"
    features: ClassVar[Features] = Features(
        "on the machines of a Dask cluster", several_nodes=True, extra="dask"
    )

    def __init__(self, cluster: Any, **settings: Any) -> None:
        """Start agents.

        Args:
            cluster: the address of a scheduler, a ``distributed.Client``, or a cluster such as
                ``LocalCluster``. Only a client that is made here is closed by :meth:`shutdown`.
            settings: see :class:`ClusterEngine`.

        Raises:
            EngineFailed: distributed is not installed, the scheduler cannot be reached, or has no
                workers.
            InvalidTaskError: a value makes no sense.
        """
        reason = self.unusable()
        if reason is not None:
            raise EngineFailed(reason)
        from distributed import Client

        self._client = None
        if isinstance(cluster, Client):
            client = cluster
        else:
            try:
                client = Client(cluster, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
            except (OSError, ValueError) as problem:
                raise EngineFailed(f"the Dask cluster cannot be reached: {problem}") from problem
            self._client = client
        machines: dict[str, int] = defaultdict(int)
        for worker in client.scheduler_info(n_workers=-1)["workers"].values():
            machines[worker["host"]] += worker["nthreads"]
        if not machines:
            self._close_client()
            raise EngineFailed("the Dask cluster has no workers (yet): Client.wait_for_workers")
        cores = settings.pop("cores_per_node", None)
        sources = [_Machine(client, host, cores or threads) for host, threads in machines.items()]
        super().__init__(sources, **settings)

    @classmethod
    def unusable(cls) -> str | None:
        """See :meth:`Engine.unusable`."""
        if importlib.util.find_spec("distributed") is None:
            return "distributed is not installed: pip install 'exaworks[dask]'"
        return None

    def _close_client(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

    def _close(self) -> None:
        if not self._closed.is_set():
            try:
                super()._close()
            finally:
                self._close_client()


class _Machine(Source):
    """A machine on which a worker of Dask, no matter which, runs an agent."""

    revives = True

    def __init__(self, client: Any, host: str, cores: int) -> None:
        self.title = f"Dask on {host}"
        self._client = client
        self._host = host
        self._cores = cores
        self._future: Any = None

    def start(self, boot: Boot) -> None:
        """See :meth:`Source.start`."""
        self._future = self._client.submit(
            run_agent,
            boot.words(),
            boot.environment(parent=True, cores=self._cores),
            workers=[self._host],
            allow_other_workers=False,
            pure=False,
        )
        self._future.add_done_callback(lambda future: boot.failed(_why(future)))

    def stop(self) -> None:
        """See :meth:`Source.stop`."""
        if self._future is not None:
            self._future.cancel()


def _why(future: Any) -> str:
    if future.cancelled():
        return "its task was cancelled"
    problem = future.exception()
    if problem is not None:
        return f"{type(problem).__name__}: {problem}"
    return future.result() or "its agent has ended"
