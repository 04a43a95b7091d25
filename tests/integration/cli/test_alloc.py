"""exaworks alloc: a command or a shell in an allocation."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from patience import until

ALLOC = [sys.executable, "-m", "exaworks.cli", "alloc", "-e", "local", "--cores-per-node", "1"]


def alloc(*words: str, data: str = "") -> subprocess.CompletedProcess[str]:
    """Run a command in an allocation."""
    return subprocess.run([*ALLOC, *words], input=data, capture_output=True, text=True, timeout=120)


def test_streams_and_exit_code(tmp_path: Path) -> None:
    done = alloc("--", "sh", "-c", 'cat; echo "$0" >&2; exit 7', "it's", data="some\ninput\n")
    assert (done.stdout, done.stderr, done.returncode) == ("some\ninput\n", "it's\n", 7)
    assert alloc("--", "sh", "-c", "kill -9 $$").returncode == 137
    assert alloc("--", "pwd").stdout == f"{os.getcwd()}\n"


def test_much_goes_both_ways() -> None:
    data = "0123456789" * 300_000
    done = alloc("--", "cat", data=data)
    assert done.returncode == 0
    assert done.stdout == data


def test_what_cannot_be_run() -> None:
    done = alloc("--", "nosuchprogram")
    assert done.returncode == 127  # as a shell
    assert "Error: cannot execute nosuchprogram: No such file" in done.stderr
    done = alloc("--engine", "nosuch", "--", "true")
    assert "There is no engine 'nosuch'" in done.stderr
    assert done.returncode == 1


def test_a_shell_in_a_terminal(tmp_path: Path) -> None:
    """With a terminal of its own, of the size that is here; ctrl-C goes to what runs there."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.environ.update({"SHELL": "/bin/sh", "PS1": "there> "})
        os.execv(sys.executable, ALLOC)
    seen = b""

    def read_until(pattern: bytes) -> bytes:
        nonlocal seen
        limit = time.monotonic() + 60
        while not re.search(pattern, seen):
            assert time.monotonic() < limit, seen
            seen += os.read(terminal, 4096)
        found, seen = seen, b""
        return found

    began = read_until(rb"there> $|# $|\$ $")
    assert re.search(rb"waiting for local job [^\r]*, 0 of 1 nodes, 0s", began)
    os.write(terminal, b"tty; stty size; echo $((6*7))\n")
    assert b"/dev/pts/" in read_until(rb"\b42\r\n")
    os.write(terminal, b"echo go''ing; sleep 600\n")
    read_until(rb"going\r\n")
    os.write(terminal, b"\x03")
    os.write(terminal, b"echo al''ive\n")
    read_until(rb"alive\r\n")
    os.write(terminal, b"exit 5\n")
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 5


def test_what_cannot_be_run_in_a_terminal() -> None:
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [*ALLOC, "--", "nosuchprogram"])
    seen = b""
    with contextlib.suppress(OSError):  # that is how the end of a terminal looks
        while data := os.read(terminal, 4096):
            seen += data
    _, status = os.waitpid(pid, 0)
    os.close(terminal)
    assert b"\ncannot execute nosuchprogram: No such file or directory\r" in seen
    assert b"Traceback" not in seen
    assert os.waitstatus_to_exitcode(status) == 127


def test_a_signal_goes_to_the_command(tmp_path: Path) -> None:
    begun = tmp_path / "begun"
    text = f"trap 'exit 9' INT; echo >{begun}; while :; do sleep 0.1; done"
    with subprocess.Popen([*ALLOC, "--", "sh", "-c", text], stdin=subprocess.DEVNULL) as run:
        until(begun.exists)
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == 9


def test_nothing_is_left_if_it_is_killed(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    text = f"echo $$ >{pids}.new; mv {pids}.new {pids}; sleep 600"
    with subprocess.Popen([*ALLOC, "--", "sh", "-c", text], stdin=subprocess.DEVNULL) as run:
        until(pids.exists)
        run.kill()
    there = Path(f"/proc/{pids.read_text().strip()}")
    until(lambda: not there.exists())
