"""The local engine where its user may have no further process. Root has no such limit."""

from __future__ import annotations

import os
import resource
import signal

import pytest

from exaworks.tasks import LocalEngine, TaskSpec, WorkerLost
from exaworks.tasks.conformance import until

pytestmark = [
    pytest.mark.plain_user,
    pytest.mark.skipif(os.geteuid() == 0, reason="root has no limit of processes"),
]
WAIT = 60


def allow(pid: int, count: int) -> None:
    """Limit how many processes the user may have for a process to start another one."""
    _, most = resource.prlimit(pid, resource.RLIMIT_NPROC)
    resource.prlimit(pid, resource.RLIMIT_NPROC, (most if count < 0 else count, most))


def test_commands_wait_until_there_is_room() -> None:
    with LocalEngine(2) as engine:
        assert engine.launch(TaskSpec(["true"])).result(WAIT).ok
        commanders = [each.pid for each in engine._commands._commanders.values()]
        for pid in commanders:
            assert pid is not None
            allow(pid, 0)
        allow(engine.nursery.pid, 0)
        futures = engine.launch_many([TaskSpec(["true"])] * 6)
        until(lambda: any(future.running() for future in futures))
        assert not any(future.done() for future in futures)
        for pid in (*commanders, engine.nursery.pid):
            assert pid is not None
            allow(pid, -1)
        assert all(future.result(WAIT).ok for future in futures)


def test_workers_come_back_when_there_is_room() -> None:
    with LocalEngine(1) as engine:
        worker = engine.submit(os.getpid).result(WAIT)
        allow(engine.nursery.pid, 0)
        with pytest.raises(WorkerLost):
            engine.submit(os.kill, worker, signal.SIGKILL).result(WAIT)
        waiting = [engine.submit(abs, -n) for n in range(10)]
        allow(engine.nursery.pid, -1)
        assert [future.result(WAIT) for future in waiting] == list(range(10))
