"""RADICAL-Pilot: an agent of ours on each node of a pilot."""

from __future__ import annotations

import importlib.util
import os
import sys
import tempfile
import threading
from typing import Any, ClassVar

from exaworks.tasks.cluster.engine import ClusterEngine
from exaworks.tasks.cluster.host import Host, HostSource, Orders
from exaworks.tasks.engine import Features
from exaworks.tasks.errors import EngineFailed

__all__ = ["RadicalEngine", "RadicalPilot"]

_TAIL = 1000


class RadicalPilot:
    """A pilot of RADICAL-Pilot that stays for several engines, one after the other.

    Its session runs in a process of its own, which ends it with this program.
    """

    def __init__(self, nodes: int = 1, **description: Any) -> None:
        """Ask for it.

        Args:
            nodes: how many nodes.
            description: further fields of ``PilotDescription``; ``resource`` is
                ``"local.localhost"`` if nothing is said, ``runtime`` is in minutes.

        Raises:
            EngineFailed: RADICAL-Pilot is not installed, or its process cannot be started.
        """
        reason = RadicalEngine.unusable()
        if reason is not None:
            raise EngineFailed(reason)
        self.nodes = nodes
        given = {"resource": "local.localhost", "runtime": 60, **description, "nodes": nodes}
        self.host = Host("RADICAL-Pilot", _host, description=given)

    def close(self) -> None:
        """End the session, which takes some seconds."""
        self.host.close()

    def __enter__(self) -> RadicalPilot:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class RadicalEngine(ClusterEngine):
    """Runs tasks on the nodes of a pilot of RADICAL-Pilot.

    ::

        where = {"resource": "access.bridges2", "queue": "RM", "runtime": 60}
        with RadicalEngine(nodes=2, description=where) as engine:
            ...

    The pilot runs one task on each node, our agent; so a task does not cost what one costs there.
    """

    name: ClassVar[str] = "radical"
    features: ClassVar[Features] = Features(
        "on the nodes of a pilot of RADICAL-Pilot", several_nodes=True, extra="radical"
    )

    def __init__(
        self,
        nodes: int = 1,
        *,
        pilot: RadicalPilot | None = None,
        description: dict[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        """Start agents.

        Args:
            nodes: how many nodes a new pilot has.
            pilot: one that is there already; it stays when this engine is shut down.
            description: fields of ``PilotDescription`` of a new pilot.
            settings: see :class:`ClusterEngine`.

        Raises:
            EngineFailed: RADICAL-Pilot is not installed, or the pilot has failed.
            InvalidTaskError: a value makes no sense.
        """
        owned = pilot is None
        if pilot is None:
            pilot = RadicalPilot(nodes, **(description or {}))
        try:
            super().__init__([HostSource(pilot.host, pilot.nodes, owned)], **settings)
        except BaseException:
            if owned:
                pilot.close()
            raise

    @classmethod
    def unusable(cls) -> str | None:
        """See :meth:`Engine.unusable`."""
        if importlib.util.find_spec("radical.pilot") is None:
            return "radical.pilot is not installed: pip install 'exaworks[radical]'"
        return None


def _host(orders: Orders, description: dict[str, Any]) -> None:
    """Run a session, in a process of its own."""
    # The pilot finds the interpreter of this environment by this variable.
    os.environ.setdefault("VIRTUAL_ENV", sys.prefix)
    os.environ.setdefault("RADICAL_PROFILE", "False")
    import radical.pilot as rp

    folder = tempfile.TemporaryDirectory(prefix="exaworks-radical-", ignore_cleanup_errors=True)
    with folder as base:
        os.chdir(base)
        if description["resource"].startswith("local."):  # by default it stays in the home folder
            description.setdefault("sandbox", base)
        session = rp.Session(cfg={"base": base})
        try:
            _session(rp, session, orders, description)
        finally:
            session.close(download=False)


def _session(rp: Any, session: Any, orders: Orders, description: dict[str, Any]) -> None:
    over = threading.Event()
    tasks: dict[str, int] = {}

    def pilot_changed(pilot: Any, state: str) -> None:
        if state in rp.FINAL and not over.is_set():
            orders.failed(0, f"its pilot is {state}")

    def task_changed(task: Any, state: str) -> None:
        number = tasks.get(task.uid)
        if state in rp.FINAL and number is not None and not over.is_set():
            orders.failed(number, f"its task is {state}: {(task.stderr or '').strip()[-_TAIL:]}")

    pilots, manager = rp.PilotManager(session), rp.TaskManager(session)
    pilots.register_callback(pilot_changed)
    manager.register_callback(task_changed)
    # By default the failure of a pilot ends the process.
    pilot = pilots.submit_pilots(rp.PilotDescription({**description, "exit_on_error": False}))
    manager.add_pilots(pilot)
    config = session.get_resource_config(description["resource"])
    cores = int(config["cores_per_node"])
    started: list[str] = []
    for number, words, environment, count in orders:
        whole_nodes = [
            rp.TaskDescription(
                {
                    "executable": words[0],
                    "arguments": words[1:],
                    "environment": environment,
                    "ranks": 1,
                    "cores_per_rank": cores,
                }
            )
            for _ in range(count)
        ]
        for each in whole_nodes:
            each.uid = f"exaworks.{number}.{len(started)}"
            tasks[each.uid] = number
            started.append(each.uid)
        manager.submit_tasks(whole_nodes)
    over.set()
    manager.cancel_tasks(started)
