"""What must hold for every engine that has agents, whoever has started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from exaworks.tasks import EngineFailed, NodeLost, TaskSpec, TaskState
from exaworks.tasks.cluster.engine import ClusterEngine
from exaworks.tasks.conformance import EngineConformance, until

WAIT = 60
HERE = "127.0.0.1"


class AgentCases(EngineConformance):
    """The semantics of tasks, and what becomes of them when an agent is killed."""

    def make_engine(self, cores: int = 2, gpus: int = 0) -> ClusterEngine:
        """See the base; it must be ready."""
        raise NotImplementedError

    def test_a_killed_agent(self, tmp_path: Path) -> None:
        """Every task gets a verdict, and nothing is left of it."""
        with self.make_engine() as engine:
            pid = engine.submit(os.getppid).result(WAIT)  # the nursery, a child of the agent
            agent = int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])
            running = [engine.launch(TaskSpec(["sleep", "600"])) for _ in range(2)]
            until(lambda: len(children_of(pid)) >= 3)
            waiting = [engine.launch(TaskSpec(["true"])) for _ in range(3)]
            below = descendants(agent)
            os.kill(agent, signal.SIGKILL)
            for task in running:
                with pytest.raises(NodeLost, match="the task was not run again"):
                    task.result(WAIT)
            until(lambda: not any(map(alive, below)))
            # A system that starts the agent again goes on; with others nothing is left.
            for task in waiting:
                problem = task.exception(WAIT)
                assert problem is None or isinstance(problem, EngineFailed), problem
            assert {task.state for task in running} == {TaskState.FAILED}


def children_of(pid: int) -> list[int]:
    """The children of a process."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        found += map(int, path.read_text().split())
    return found


def descendants(pid: int) -> list[int]:
    """All that a process has started, and itself."""
    found = [pid]
    for child in children_of(pid):
        found += descendants(child)
    return found


def alive(pid: int) -> bool:
    """Whether a process exists and is not a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def ready(engine: ClusterEngine) -> ClusterEngine:
    """An engine whose nodes are there."""
    assert engine.wait_ready(WAIT)
    return engine


def nothing_is_left_of(program: str) -> None:
    """Run a program that uses an engine and prints 32; kill it, and wait for all that it started.

    Args:
        program: its text; it goes on after that.
    """
    mark = uuid.uuid4().hex
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, MARK: mark},
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "32\n"
            assert len(marked(mark)) > 5
        finally:
            process.kill()
    until(lambda: not marked(mark))


MARK = "EXAWORKS_TEST_MARK"
"""A variable that a test sets, to find all that has been started since then."""


def marked(mark: str) -> list[int]:
    """The processes that have inherited this mark, other than this one."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        pid = int(path.parent.name)
        try:
            if f"{MARK}={mark}".encode() in path.read_bytes().split(b"\0") and alive(pid):
                found.append(pid)
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]
