"""Finding and starting the keeper, and its leaving."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from keeper_client import Client
from keeper_helpers import TESTS, alive, processes_with

from exaworks.core.keeper import scope, start
from exaworks.core.keeper.protocol import KeeperError
from patience import until


def test_many_clients_starting_at_once_share_one_keeper(home: Path) -> None:
    code = (
        "import sys\n"
        "from pathlib import Path\n"
        "sys.path.insert(0, sys.argv[2])\n"
        "from keeper_client import Client\n"
        "sys.stdin.readline()\n"
        "with Client(Path(sys.argv[1])) as client:\n"
        "    print(client.request('ping')['pid'], flush=True)\n"
        "    sys.stdin.readline()\n"
    )
    clients = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(home), TESTS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for client in clients:
        assert client.stdin
        client.stdin.write("\n")
        client.stdin.flush()
    answers = [client.stdout.readline() for client in clients if client.stdout]
    keepers = {pid for pid in processes_with(str(home)) if "keeper.supervisor" in _command(pid)}
    for client in clients:
        client.communicate("\n", timeout=10)
    assert len(set(answers)) == 1
    assert answers[0].strip()
    assert len(keepers) == 2


def _command(pid: int) -> str:
    try:
        return Path("/proc", str(pid), "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def test_the_program_gets_no_child_and_no_signal_handler(home: Path) -> None:
    import signal

    children = Path(f"/proc/self/task/{os.getpid()}/children")
    before, had = signal.getsignal(signal.SIGCHLD), children.read_text()
    with Client(home) as client:
        supervisor = client.request("ping")["supervisor"]
        assert set(children.read_text().split()) <= set(had.split())
        assert os.getsid(supervisor) != os.getsid(0)
    assert signal.getsignal(signal.SIGCHLD) == before


def test_keeper_has_none_of_the_clients_environment_and_files(home: Path) -> None:
    with Client(home) as client:
        status = client.request("ping")
        for pid in (status["pid"], status["supervisor"]):
            environment = Path("/proc", str(pid), "environ").read_bytes()
            names = {item.split(b"=")[0] for item in environment.split(b"\0") if item}
            assert names <= {b"PATH", b"LD_LIBRARY_PATH", b"PWD", b"OLDPWD", b"_", b"SHLVL"}
            links = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in range(3)]
            assert links[0] == "/dev/null"
            assert links[1] == links[2]
            assert links[1].endswith("/keeper.log")
            assert os.readlink(f"/proc/{pid}/cwd") == "/"


def test_folder_is_private(home: Path) -> None:
    with Client(home) as client:
        folder = Path(client.request("ping")["folder"])
        assert folder.parent == home / "local"
        assert folder.name == f"{socket.gethostname()}.v1"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        for name in ("keeper.sock", "keeper.db", "keeper.log", "keeper.lock"):
            assert stat.S_IMODE((folder / name).stat().st_mode) & 0o077 == 0


def test_long_path_of_the_socket(home: Path) -> None:
    deep = home / ("d" * 120) / ("e" * 120)
    with Client(deep) as client:
        (number,) = client.submit([{"argv": ["true"]}])
        assert client.wait([number], 10)[number]["state"] == "COMPLETED"


def test_keeper_leaves_when_idle_and_comes_back(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXAWORKS_KEEPER_IDLE", "0.1")
    with Client(home) as client:
        status = client.request("ping")
        (number,) = client.submit([{"argv": ["sh", "-c", "sleep 0.4; exit 9"]}])
    until(lambda: not alive(status["pid"]) and not alive(status["supervisor"]))
    with Client(home) as client:
        assert client.request("ping")["pid"] != status["pid"]
        assert client.info(ids=[number])[0]["exit_code"] == 9
        assert client.submit([{"argv": ["true"]}]) == [number + 1]


def test_connecting_again_and_again_while_keepers_leave(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXAWORKS_KEEPER_IDLE", "0")
    pids = set()
    for attempt in range(60):
        with Client(home) as client:
            pids.add(client.request("ping")["pid"])
        # Not to wait for something, but to meet the leaving keeper at various moments.
        time.sleep(attempt % 10 / 1000)
    assert len(pids) > 1


def test_stop(home: Path) -> None:
    with Client(home) as client:
        status = client.request("ping")
        (number,) = client.submit([{"argv": ["true"], "held": True}])
        with pytest.raises(KeeperError, match="1 live jobs"):
            client.request("stop")
        client.cancel([number])
        client.wait([number], 10)
        client.request("stop")
        until(lambda: not alive(status["pid"]) and not alive(status["supervisor"]))


def test_folder_that_cannot_be_made_is_named(home: Path) -> None:
    home.mkdir()
    (home / "local").write_text("in the way")
    with pytest.raises(KeeperError, match=r"home/local.*EXAWORKS_HOME"):
        start.connect(home)


def test_keeper_that_does_not_answer_is_named(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "_CODE", "print('out of luck')")
    began = time.monotonic()
    with pytest.raises(KeeperError, match=r"within 0.5 s.*out of luck.*keeper\.log"):
        start.connect(home, timeout=0.5)
    assert time.monotonic() - began < 3


def test_idle_time_must_be_a_number(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAWORKS_KEEPER_IDLE", "soon")
    with pytest.raises(KeeperError, match="EXAWORKS_KEEPER_IDLE"):
        start.connect(home)


def test_keeper_of_another_container_is_left_alone(home: Path) -> None:
    with Client(home) as client:
        folder = Path(client.request("ping")["folder"])
        (folder / scope.NAMESPACE).write_text("pid:[1]")
        with Client(home) as other:
            theirs = other.request("ping")
            assert theirs["pid"] != client.request("ping")["pid"]
            assert Path(theirs["folder"]).name.startswith(folder.name + ".")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, ""),
        ({"SLURM_JOB_ID": "12"}, "12"),
        ({"SLURM_JOB_ID": "12", "SLURM_STEP_ID": "3"}, "12-3"),
        ({"PBS_JOBID": "7[2].host/a"}, "7-2-host-a"),
        ({"LSB_JOBID": "5", "LSB_JOBINDEX": "6"}, "5-6"),
        ({"JOB_ID": "9"}, ""),
        ({"JOB_ID": "9", "SGE_ROOT": "/sge", "SGE_TASK_ID": "undefined"}, "9"),
        ({"FLUX_JOB_ID": "f2abc"}, "f2abc"),
    ],
)
def test_batch_jobs_have_their_own_scope(environ: dict[str, str], expected: str) -> None:
    assert scope.batch_job(environ) == expected
    folder = scope.scope_folder("/h", environ)
    assert folder.startswith("/h/local/")
    assert folder.endswith(f".{expected}.v1" if expected else f"{socket.gethostname()}.v1")


def test_daemon_side_imports_the_standard_library_only() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "import exaworks.core.keeper.supervisor; "
        "print(*sorted(name for name in sys.modules if 'site-packages' in "
        "str(getattr(sys.modules[name], '__file__', '')))); "
        "print('subprocess' in sys.modules, 'typing' in sys.modules)"
    )
    command = [sys.executable, "-I", "-S", "-c", code, start._SOURCES]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", "False False"]
