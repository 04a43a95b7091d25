"""What an engine tells of itself, to whom, and what becomes of its socket."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.core.workers.worker import _pack_exception
from exaworks.tasks import LocalEngine, NodeResources, TaskSpec
from exaworks.tasks.status import Failed, StatusPort, short_address, status_folder
from exaworks.tasks.survey import survey
from patience import TIMEOUT, until


@pytest.fixture(autouse=True)
def home(local_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # The command line sets it, in other tests of this process.
    monkeypatch.setattr(logging.getLogger("exaworks"), "propagate", True)
    return local_home


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    with LocalEngine(1, gpus=2, memory=1000) as engine:
        yield engine


def sockets() -> list[str]:
    return sorted(os.listdir(status_folder())) if os.path.isdir(status_folder()) else []


def told(engine: LocalEngine) -> dict[str, Any]:
    """What the engine says, when it says something."""
    (found,) = until(lambda: survey(TIMEOUT, engine.id).snapshots)
    return found


def connect(client: socket.socket, engine: LocalEngine) -> None:
    with short_address(os.path.join(status_folder(), f"{engine.id}.sock")) as address:
        client.connect(address)


def bind(server: socket.socket, name: str) -> None:
    with short_address(os.path.join(status_folder(), name)) as address:
        server.bind(address)


def wait(path: str) -> None:
    with open(path) as file:
        file.read()


def fail(text: str) -> None:
    raise ValueError(text)


def test_what_runs_and_what_waits(engine: LocalEngine, tmp_path: Path) -> None:
    gate = str(tmp_path / "gate")
    os.mkfifo(gate)
    some = engine.configured(resources={"gpus": 0.25, "memory": 400})
    futures = [some.submit(wait, gate), engine.submit(int), engine.submit(int)]
    now = told(engine)
    assert (now["running"], now["waiting"], now["completed"]) == (1, 2, 0)
    (node,) = now["nodes"]
    assert node == {
        "name": engine.node.name,
        "cores": 1,
        "free_cores": 0,
        "gpus": 2,
        "free_gpus": 1.75,
        "memory": 1000,
        "free_memory": 600,
        "remaining": None,
    }
    with open(gate, "w"):
        pass
    for future in futures:
        future.result(TIMEOUT)
    until(lambda: told(engine)["completed"] == 3)
    now = told(engine)
    assert (now["running"], now["waiting"], now["nodes"][0]["free_gpus"]) == (0, 0, 2)


def test_who_has_it(engine: LocalEngine) -> None:
    now = told(engine)
    assert now["id"] == engine.id
    assert (now["engine"], now["pid"], now["host"]) == ("local", os.getpid(), socket.gethostname())
    assert now["program"] == os.path.basename(sys.argv[0])
    assert now["source"] == {}
    assert now["started"] <= time.time()
    assert now["uptime"] >= 0


def test_nodes_with_an_end_and_an_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    origin = {"executor": "slurm", "job": "12", "path": Path("/x")}
    monkeypatch.setattr(LocalEngine, "origin", lambda self: origin)
    with LocalEngine(1) as engine:
        engine.scheduler.add_node(NodeResources("b", (0, 1)), time.monotonic() + 3600)
        now = told(engine)
        assert now["source"] == {"executor": "slurm", "job": "12", "path": "/x"}
        assert now["nodes"][0]["remaining"] is None
        assert 0 < now["nodes"][1]["remaining"] <= 3600


def test_the_last_failures(engine: LocalEngine) -> None:
    futures: list[Any] = [engine.submit(fail, f"reason {i}\nmore") for i in range(4)]
    futures.append(engine.configured(name="mine").submit(fail, "x" * 100_000))
    futures.append(engine.launch(TaskSpec(["sh", "-c", "exit 3"])))
    for future in futures:
        future.exception(TIMEOUT)
    cancelled = engine.configured(resources={"gpus": 2}).submit(int)
    cancelled.cancel()
    until(lambda: told(engine)["failed"] == 6)
    failures = {each["task"]: (each["title"], each["message"]) for each in told(engine)["failures"]}
    assert len(failures) == 5
    assert failures[futures[3].id] == ("fail", "ValueError: reason 3")
    assert failures[futures[4].id] == ("mine", "")  # too long to be kept
    title, message = failures[futures[5].id]
    assert title == "sh"
    assert "exited with code 3" in message


def test_failures_do_not_keep_what_exceptions_refer_to(engine: LocalEngine) -> None:
    future = engine.submit(fail, "x")
    with pytest.raises(ValueError, match="x"):
        future.result(TIMEOUT)
    (kept,) = engine.failures
    assert type(kept.why) is bytes


@given(st.text())
def test_an_exception_in_words(text: str) -> None:
    try:
        fail(text)
    except ValueError as problem:
        packed = _pack_exception(problem)
    assert isinstance(packed, bytes)
    expected = f"ValueError: {text}" if text else "ValueError"
    assert Failed("t", "x", packed).told()["message"] == expected.splitlines()[0].strip()


@given(st.binary())
def test_no_answer_of_a_worker_is_too_odd(data: bytes) -> None:
    assert "\n" not in Failed("t", "x", data).told()["message"]


def test_the_socket_is_there_as_long_as_the_engine(home: Path) -> None:
    (home / "engines").mkdir(parents=True)
    os.chmod(home / "engines", 0o755)
    with LocalEngine(1) as engine, LocalEngine(1) as other:
        assert [told(engine)["id"], told(other)["id"]] == [engine.id, other.id]
        assert [each["id"] for each in survey(TIMEOUT).snapshots] == [engine.id, other.id]
        assert sockets() == [f"{engine.id}.sock", f"{other.id}.sock"]
        for folder in (Path(status_folder()), home / "engines"):
            assert folder.stat().st_mode & 0o777 == 0o700
    assert sockets() == []
    assert survey(TIMEOUT) == ([], [])


def test_a_home_with_a_long_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAWORKS_HOME", str(tmp_path / ("long" * 40) / ("é" * 100)))
    with LocalEngine(1) as engine:
        assert told(engine)["id"] == engine.id
    assert sockets() == []


def test_engines_run_where_no_socket_can_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("EXAWORKS_HOME", str(tmp_path / "file"))
    with caplog.at_level("DEBUG", "exaworks.tasks.status"), LocalEngine(1) as engine:
        assert engine.submit(int).result(TIMEOUT) == 0
    (record,) = caplog.records
    assert (record.levelname, "nobody can look at" in record.message) == ("DEBUG", True)


def test_a_folder_of_somebody_else_is_not_used(home: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    home.mkdir()
    (home / "engines").symlink_to(tmp_path / "elsewhere")
    with LocalEngine(1) as engine:
        assert engine.submit(int).result(TIMEOUT) == 0
    assert os.listdir(tmp_path / "elsewhere") in ([], [socket.gethostname()])
    assert sockets() == []


def test_what_a_killed_program_has_left_is_removed_and_nothing_else() -> None:
    folder = Path(status_folder())
    folder.mkdir(parents=True)
    (folder / "notes.txt").touch()
    with socket.socket(socket.AF_UNIX) as dead:
        bind(dead, "dead.sock")
    with socket.socket(socket.AF_UNIX) as stopped:
        bind(stopped, "stopped.sock")
        stopped.listen()
        assert survey(0.01) == ([], ["stopped"])
        assert sockets() == ["notes.txt", "stopped.sock"]
        assert survey(0.01, "another") == ([], [])


def test_answers_that_are_cut_off_are_none() -> None:
    os.makedirs(status_folder())

    def answer() -> None:
        client, _ = port.accept()
        with client:
            client.sendall(b'{"id": ')

    with socket.socket(socket.AF_UNIX) as port:
        bind(port, "short.sock")
        port.listen()
        thread = threading.Thread(target=answer)
        thread.start()
        assert survey(TIMEOUT) == ([], [])
        thread.join()


def test_who_does_not_read_holds_nobody_up(engine: LocalEngine) -> None:
    told(engine)
    with engine.lock:
        for number in range(5000):
            engine.scheduler.add_node(NodeResources(f"n{number}", ()))
    with socket.socket(socket.AF_UNIX) as lazy, socket.socket(socket.AF_UNIX) as gone:
        for each in (lazy, gone):
            connect(each, engine)
        gone.close()
        assert engine.submit(int).result(TIMEOUT) == 0
        assert len(told(engine)["nodes"]) == 5001
        with lazy.makefile() as file:
            assert len(json.loads(file.read())["nodes"]) == 5001


def test_who_waits_when_the_engine_ends_is_told() -> None:
    with LocalEngine(1) as engine:
        told(engine)
        with engine.lock:
            for number in range(5000):
                engine.scheduler.add_node(NodeResources(f"n{number}", ()))
        lazy = socket.socket(socket.AF_UNIX)
        connect(lazy, engine)
        assert lazy.recv(1) == b"{"
    with lazy, lazy.makefile() as file:
        assert not file.read().endswith("\n")


def test_an_origin_that_fails_harms_nobody_else(
    engine: LocalEngine, caplog: pytest.LogCaptureFixture
) -> None:
    told(engine)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "origin", lambda: {}["no"])
        assert survey(TIMEOUT) == ([], [])
    until(lambda: "KeyError: 'no'" in caplog.text)
    assert told(engine)["id"] == engine.id


class _Full:
    """A socket of a process that may open no more files."""

    def accept(self) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def fileno(self) -> int:
        return 77

    def close(self) -> None:
        pass


class _Reactor:
    """Notes what it is to watch, and what to do later."""

    def __init__(self) -> None:
        self.readers: dict[int, Any] = {}
        self.later: list[Any] = []

    def add_reader(self, fd: int, callback: Any) -> None:
        self.readers[fd] = callback

    def remove_reader(self, fd: int) -> None:
        self.readers.pop(fd, None)

    def call_later(self, delay: float, callback: Any) -> None:
        self.later.append(callback)


def test_without_room_for_files_the_reactor_does_not_spin(engine: LocalEngine) -> None:
    reactor: Any = _Reactor()
    port = StatusPort(engine)
    port._engine = engine_with(reactor)
    port._listener = _Full()  # type: ignore[assignment]
    reactor.add_reader(77, port._accept)
    reactor.readers[77]()
    assert reactor.readers == {}
    reactor.later.pop()()
    assert reactor.readers == {77: port._accept}
    reactor.readers[77]()
    port.close()
    reactor.later.pop()()
    assert reactor.readers == {}


def engine_with(reactor: Any) -> Any:
    class Some:
        pass

    some: Any = Some()
    some.reactor, some.id = reactor, "some"
    return some


def test_importing_tasks_does_not_import_it() -> None:
    code = "import sys, exaworks.tasks; sys.exit('exaworks.tasks.status' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_socket_is_called_as_its_engine_was_when_it_began() -> None:
    """An agent takes the id of its engine afterwards, which may run on the same machine."""
    with LocalEngine(1) as engine:
        before, engine.id = engine.id, "another-1-1"
        (found,) = until(lambda: survey(TIMEOUT).snapshots)
        assert found["id"] == before
        assert sockets() == [f"{before}.sock"]
    assert sockets() == []
