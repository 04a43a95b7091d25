"""Jobs of a real keeper: how they are started, what they are given, how their end is reported."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from keeper_client import Client
from keeper_helpers import run, sh

from exaworks.core.keeper.protocol import KeeperError, wire
from patience import until


def test_result_of_a_job(client: Client) -> None:
    result = run(client, sh("exit 0"))
    assert (result["state"], result["exit_code"], result["reason"]) == ("COMPLETED", 0, None)
    assert result["cpu"] > 0


def test_exit_code_and_signal_are_told_apart(client: Client) -> None:
    failed = run(client, sh("exit 137"))
    assert (failed["state"], failed["exit_code"], failed["signal"]) == ("FAILED", 137, None)
    assert (failed["reason"], failed["message"]) == ("exit", "exit code 137")
    killed = run(client, sh("kill -9 $$"))
    assert (killed["state"], killed["exit_code"], killed["signal"]) == ("FAILED", 137, 9)
    assert killed["reason"] == "signal"
    assert "SIGKILL" in killed["message"]
    assert "out-of-memory" in killed["message"]


def test_events_come_in_order_and_agree_with_the_snapshot(client: Client) -> None:
    (number,) = client.submit([sh("exit 4", meta={"mine": [1, "\udce9"]})])
    events: list[list[Any]] = []
    while not events or events[-1][1] != "FAILED":
        got = client.events(10)
        assert got
        events += got
    assert [event[1] for event in events] == ["ACTIVE", "FAILED"]
    (snapshot,) = client.watch([number])
    assert snapshot is not None
    assert snapshot["active"] == events[0][2]
    assert snapshot["ended"] == events[1][2]
    assert snapshot["submitted"] <= snapshot["started"] <= snapshot["active"] <= snapshot["ended"]
    assert snapshot["meta"] == {"mine": [1, "\udce9"]}
    assert snapshot["exit_code"] == 4
    assert client.watch([number + 1]) == [None]


def test_stdio_files(client: Client, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("input")
    (tmp_path / "err").write_text("something longer from before")
    result = run(
        client,
        sh(
            "cat; echo error >&2",
            stdin=str(tmp_path / "in"),
            stdout="out",
            stderr=str(tmp_path / "err"),
            cwd=str(tmp_path),
        ),
    )
    assert result["state"] == "COMPLETED"
    assert (tmp_path / "out").read_text() == "input"
    assert (tmp_path / "err").read_text() == "error\n"


@pytest.mark.parametrize("other", ["both", "./both"])
def test_one_file_for_stdout_and_stderr(client: Client, tmp_path: Path, other: str) -> None:
    job = sh("echo 1; echo 2 >&2; echo 3", stdout="both", stderr=other, cwd=str(tmp_path))
    assert run(client, job)["state"] == "COMPLETED"
    assert (tmp_path / "both").read_text() == "1\n2\n3\n"


def test_no_files_means_dev_null(client: Client, tmp_path: Path) -> None:
    names = "os.readlink('/proc/self/fd/%d' % fd) for fd in range(3)"
    code = f"import os, sys; open(sys.argv[1], 'w').write(' '.join([{names}]))"
    assert (
        run(client, {"argv": [sys.executable, "-c", code, str(tmp_path / "f")]})["exit_code"] == 0
    )
    assert (tmp_path / "f").read_text() == "/dev/null /dev/null /dev/null"


def test_environment_is_the_given_one_and_nothing_else(client: Client, tmp_path: Path) -> None:
    odd = wire(os.fsdecode(b"\xff\xfe line\nbreak"))
    env = client.env({"PATH": "/usr/bin:/bin", "ODD": odd, "OLD": "1"})
    job = {
        "argv": ["env", "-0"],
        "env": env,
        "env_set": {"OLD": "2", "NEW": "x y"},
        "stdout": str(tmp_path / "out"),
        "key": "mykey",
    }
    assert run(client, job)["state"] == "COMPLETED"
    got = dict(item.split(b"=", 1) for item in (tmp_path / "out").read_bytes().split(b"\0") if item)
    assert got == {
        b"PATH": b"/usr/bin:/bin",
        b"ODD": b"\xff\xfe line\nbreak",
        b"OLD": b"2",
        b"NEW": b"x y",
        b"EXAWORKS_JOB_KEY": b"mykey",
    }


def test_unknown_environment_is_refused_as_such(client: Client) -> None:
    with pytest.raises(KeeperError, match="unknown environment") as caught:
        client.request("submit", jobs=[sh("true") | {"key": "k", "env": "0" * 32, "phases": [
            {"argv": ["true"]}]}])  # fmt: skip
    assert caught.value.code == "unknown_env"


def test_umask_affinity_and_directory(client: Client, tmp_path: Path) -> None:
    cpu = min(os.sched_getaffinity(0))
    variables = {"PATH": "/usr/bin:/bin"}
    narrow = client.env(variables, 0o027, [cpu])
    wide = client.env(variables)
    script = "pwd; umask; grep Cpus_allowed_list /proc/self/status; : >made-$1"
    for name, env in (("narrow", narrow), ("wide", wide), ("again", narrow)):
        job = sh(script, name, cwd=str(tmp_path), stdout=f"out-{name}", env=env)
        assert run(client, job)["state"] == "COMPLETED"
    lines = (tmp_path / "out-narrow").read_text().split("\n")
    assert lines[0] == str(tmp_path)
    assert int(lines[1], 8) == 0o027
    assert lines[2].split() == ["Cpus_allowed_list:", str(cpu)]
    assert (tmp_path / "out-again").read_text() == (tmp_path / "out-narrow").read_text()
    assert stat.S_IMODE((tmp_path / "made-narrow").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "out-narrow").stat().st_mode) == 0o640
    if len(os.sched_getaffinity(0)) > 1:
        assert (tmp_path / "out-wide").read_text().split("\n")[2].split()[1] != str(cpu)


def test_odd_bytes_in_every_path(client: Client, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/a b\xff'\"$(x)\n"
    os.mkdir(folder)
    program = folder + b"/pro gram\xfe"
    with open(program, "wb") as file:
        file.write(b'#!/bin/sh\nprintf %s "$1"\n')
    os.chmod(program, 0o700)
    job = {
        "argv": [wire(os.fsdecode(program)), wire(os.fsdecode(b"\xfd *"))],
        "cwd": wire(os.fsdecode(folder)),
        "stdout": wire(os.fsdecode(b"out\xff 1")),
    }
    assert run(client, job)["state"] == "COMPLETED"
    with open(folder + b"/out\xff 1", "rb") as file:
        assert file.read() == b"\xfd *"


def test_executable_is_looked_up_in_the_path_of_the_job(client: Client, tmp_path: Path) -> None:
    for name, mode in (("first", 0o600), ("second", 0o700)):
        (tmp_path / name).mkdir()
        tool = tmp_path / name / "my-tool"
        tool.write_text(f"#!/bin/sh\necho {name}\n")
        tool.chmod(mode)
    env = client.env({"PATH": f"{tmp_path}/first:second:/nowhere"})
    job = {"argv": ["my-tool"], "env": env, "cwd": str(tmp_path), "stdout": "out"}
    assert run(client, job)["state"] == "COMPLETED"
    assert (tmp_path / "out").read_text() == "second\n"


def test_script_without_interpreter_line_runs_with_the_shell(
    client: Client, tmp_path: Path
) -> None:
    script = tmp_path / "script"
    script.write_text('echo "$1" >"$2"\n')
    script.chmod(0o700)
    job = {"argv": [str(script), "a b", str(tmp_path / "out")]}
    assert run(client, job)["state"] == "COMPLETED"
    assert (tmp_path / "out").read_text() == "a b\n"


@pytest.mark.parametrize(
    ("change", "code", "named"),
    [
        ({"argv": ["no-such-tool"]}, 127, "no-such-tool"),
        ({"argv": ["/no/such/tool"]}, 127, "/no/such/tool"),
        ({"argv": ["{tmp}/plain"]}, 126, "/plain: Permission denied"),
        ({"argv": ["{tmp}/bad"]}, 127, "interpreter"),
        ({"argv": ["true", "a\0b"]}, None, "NUL"),
        ({"argv": ["true"], "cwd": "/no/such/dir"}, None, "directory /no/such/dir"),
        ({"argv": ["true"], "stdin": "/no/in"}, None, "stdin file /no/in: No such file"),
        ({"argv": ["true"], "stdout": "/no/dir/\udcff"}, None, "stdout file /no/dir/"),
        ({"argv": ["true"], "stderr": "/"}, None, "stderr file /: Is a directory"),
        ({"argv": ["true"], "env_set": {"A=B": "1"}}, None, "A=B"),
    ],
)
def test_what_cannot_start_fails_with_the_reason(
    client: Client, tmp_path: Path, change: dict[str, Any], code: int | None, named: str
) -> None:
    bad = tmp_path / "bad"
    bad.write_text("#!/no/such/interpreter\n")
    bad.chmod(0o700)
    (tmp_path / "plain").touch(0o600)
    job = {**change, "argv": [text.replace("{tmp}", str(tmp_path)) for text in change["argv"]]}
    result = run(client, job)
    assert (result["state"], result["reason"], result["exit_code"]) == ("FAILED", "launch", code)
    assert named in result["message"]
    assert run(client, sh("exit 0"))["state"] == "COMPLETED"


def test_signals_are_not_ignored_in_jobs(client: Client, tmp_path: Path) -> None:
    job = {"argv": ["grep", "Sig[IB]", "/proc/self/status"], "stdout": str(tmp_path / "out")}
    assert run(client, job)["state"] == "COMPLETED"
    masks = [line.split()[1] for line in (tmp_path / "out").read_text().splitlines()]
    # Signals 32 and 33 are glibc's own; its posix_spawn leaves them ignored.
    assert [int(mask, 16) & 0x7FFFFFFF for mask in masks] == [0, 0]


def test_job_leads_its_own_session_and_inherits_no_descriptor(
    client: Client, tmp_path: Path
) -> None:
    code = (
        "import json, os; print(json.dumps([os.getpid(), os.getsid(0), os.getpgrp(), "
        "[fd for fd in range(64) if os.path.exists('/proc/self/fd/%d' % fd)]]))"
    )
    job = {"argv": [sys.executable, "-c", code], "stdout": str(tmp_path / "out")}
    assert run(client, job)["state"] == "COMPLETED"
    pid, session, group, fds = json.loads((tmp_path / "out").read_text())
    assert pid == session == group
    assert fds == [0, 1, 2]


def test_hold_and_release(client: Client, tmp_path: Path) -> None:
    first, second, third = client.submit(
        [sh(f"echo {n} >>{tmp_path}/order", held=n == 1) for n in (1, 2, 3)]
    )
    client.wait([second, third], 10)
    assert client.hold([first, third, 99]) == [None, "the job is over", "there is no such job"]
    assert client.info(ids=[first])[0]["held"]
    assert client.release([first]) == [None]
    assert client.wait([first], 10)[first]["state"] == "COMPLETED"
    (running,) = client.submit([sh("sleep 1000")])
    until(lambda: client.info(ids=[running])[0]["state"] == "ACTIVE")
    assert client.hold([running]) == ["the job has started already"]
    assert client.release([running]) == ["the job is not held"]


def test_key_makes_submission_idempotent(client: Client, home: Path, tmp_path: Path) -> None:
    job = sh(f"echo x >>{tmp_path}/ran", key="once")
    (number,) = client.submit([job])
    assert client.submit([job, job]) == [number, number]
    assert client.wait([number], 10)[number]["state"] == "COMPLETED"
    with Client(home) as other:
        assert other.submit([job]) == [number]
        assert other.wait([number], 10)[number]["exit_code"] == 0
    assert (tmp_path / "ran").read_text() == "x\n"


def test_list_of_jobs(client: Client) -> None:
    done = client.submit([sh("true", key=f"done{n}") for n in range(5)])
    client.wait(done, 10)
    (live,) = client.submit([sh("sleep 1000")])
    assert [job["id"] for job in client.info()] == [live, *reversed(done)]
    assert [job["id"] for job in client.info(live=True)] == [live]
    assert [job["id"] for job in client.info(limit=2, before=done[-1])] == done[-2:-4:-1]
    assert [job["id"] for job in client.info(keys=["done1", "nope"])] == [done[1]]


def test_bad_requests_harm_nobody(client: Client) -> None:
    for op, fields in (
        ("nonsense", {}),
        ("submit", {"jobs": [{"key": "x"}]}),
        ("submit", {}),
        ("watch", {"ids": ["1"]}),
        ("cancel", {"ids": None}),
        ("cancel", {"ids": [1], "grace": float("nan")}),
        ("list", {"ids": [2**70]}),
        ("list", {"keys": ["\ud800"]}),
        ("env", {"id": "\ud800", "vars": {}}),
        ("env", {"id": "x", "vars": []}),
    ):
        with pytest.raises(KeeperError) as caught:
            client.request(op, **fields)
        assert caught.value.code == "invalid"
    assert run(client, sh("exit 0"))["state"] == "COMPLETED"


def test_two_thousand_jobs(client: Client) -> None:
    ids = client.submit([{"argv": ["/bin/true"]}] * 2000)
    assert len(set(ids)) == 2000
    result = client.wait(ids, 60)
    assert {result[number]["state"] for number in ids} == {"COMPLETED"}
