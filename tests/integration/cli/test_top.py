"""``exaworks top``, with engines in other programs, on pipes and on a terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli_program import Exaworks

from patience import TIMEOUT, until

PROGRAM = """
import os, signal, sys
from exaworks.tasks import LocalEngine

def wait(path):
    with open(path) as file:
        file.read()

def fail(text):
    raise ValueError(text)

engine, more = LocalEngine(2), []
print(engine.id, flush=True)
for line in sys.stdin:
    print(eval(line), flush=True)
for each in (engine, *more):
    each.shutdown()
"""

ESCAPE = re.compile(rb"\x1b(?:\[[0-9;?]*[a-zA-Z]|[()][A-Z0-9])")


class Program:
    """A program with an engine, which does what it is told."""

    def __init__(self, exaworks: Exaworks) -> None:
        path = exaworks.folder / "program.py"
        path.write_text(PROGRAM)
        self.process = subprocess.Popen(
            [sys.executable, path],
            env=exaworks.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.engine = self._answer()

    def _answer(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def do(self, text: str) -> str:
        """Let it evaluate an expression; what came out of it."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n")
        self.process.stdin.flush()
        return self._answer()

    def end(self) -> None:
        """Let it end."""
        self.process.communicate(timeout=TIMEOUT)


class Terminal:
    """``exaworks top`` on a terminal of its own."""

    def __init__(self, exaworks: Exaworks, *arguments: str) -> None:
        command = [sys.executable, "-m", "exaworks.cli", "top", *arguments]
        environment = {
            **exaworks.environment,
            "TERM": "xterm-256color",
            "PYTHONIOENCODING": "utf-8",
        }
        for name in ("COLUMNS", "LINES"):  # they would win over the size that it has
            environment.pop(name, None)
        # Both ends are open here: so the terminal stays, and its settings can be read.
        self.fd, self.other = pty.openpty()
        self.resize(80, 24)
        self.before = termios.tcgetattr(self.other)
        self.process = subprocess.Popen(
            [sys.executable, "-c", ON_TERMINAL, *command],
            env=environment,
            stdin=self.other,
            stdout=self.other,
            stderr=self.other,
            start_new_session=True,
        )
        self.shown = b""

    def resize(self, width: int, height: int) -> None:
        """Give it another size."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def read(self, timeout: float) -> None:
        """Take in what is shown, if there is something within some seconds."""
        if select.select([self.fd], [], [], timeout)[0]:
            self.shown += os.read(self.fd, 1 << 16)

    def until(self, pattern: str) -> str:
        """Wait until something new is shown that fits; returns that."""
        limit = time.monotonic() + TIMEOUT
        while True:
            text = ESCAPE.sub(b"", self.shown).decode("utf-8", "replace").replace("\r", "")
            found = re.search(pattern, text, re.DOTALL)
            if found:
                self.shown = b""
                return found[0]
            assert time.monotonic() < limit, text
            self.read(1.0)

    def press(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.fd, keys)

    def ended(self) -> int:
        """Wait for the end; the exit code."""
        while self.process.poll() is None:
            self.read(0.05)
        while select.select([self.fd], [], [], 0)[0]:
            self.read(0)
        assert b"\x1b[?1049l" in self.shown
        assert termios.tcgetattr(self.other) == self.before
        return self.process.returncode

    def close(self) -> None:
        """End it, whatever it does."""
        self.process.kill()
        self.process.wait()
        os.close(self.fd)
        os.close(self.other)


# Makes the terminal the one whose ctrl-C it gets.
ON_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def program(exaworks: Exaworks) -> Iterator[Program]:
    started = Program(exaworks)
    yield started
    started.process.kill()
    started.end()


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    opened: list[Terminal] = []
    yield opened
    for terminal in opened:
        terminal.close()


def snapshots(exaworks: Exaworks) -> list[Any]:
    found: list[Any] = exaworks.json("top")
    return found


def gate(path: Path) -> str:
    """An expression for two tasks that run until the gate is opened, and one that waits."""
    os.mkfifo(path)
    return f"[engine.submit(wait, {str(path)!r}).id for _ in range(3)]"


def open_gate(path: Path, program: Program) -> None:
    """Let these tasks end."""
    while program.do("engine.drain(0)") == "False":
        # A reader that opens it after we have closed it waits for another writer.
        fd = os.open(path, os.O_RDWR)
        time.sleep(0.01)
        os.close(fd)


def test_engines_of_two_programs(exaworks: Exaworks, program: Program, tmp_path: Path) -> None:
    other = Program(exaworks)
    program.do(gate(tmp_path / "gate"))
    other.do("engine.submit(fail, 'a reason').exception()")
    until(lambda: len(snapshots(exaworks)) == 2)
    until(lambda: any(each["failed"] for each in snapshots(exaworks)))
    first, second = snapshots(exaworks)
    assert [first["id"], second["id"]] == [program.engine, other.engine]
    assert [first["pid"], second["pid"]] == [program.process.pid, other.process.pid]
    assert first["program"] == "program.py"
    assert (first["running"], first["waiting"], first["nodes"][0]["free_cores"]) == (2, 1, 0)
    (failure,) = second["failures"]
    assert (failure["title"], failure["message"]) == ("fail", "ValueError: a reason")
    for arguments in ((), ("--once",)):
        head, *rows = exaworks("top", *arguments).splitlines()
        assert head.split() == [
            *("ENGINE", "NODES", "CORES", "WAITING", "RUNNING", "DONE", "FAILED", "RATE"),
            "PROGRAM",
        ]
        assert [row.split()[:7] for row in rows] == [
            [program.engine, "1", "2/2", "1", "2", "0", "0"],
            [other.engine, "1", "0/2", "0", "0", "0", "1"],
        ]
    (only,) = exaworks.json("top", "--engine", other.engine)
    assert only["id"] == other.engine
    _, err = exaworks.both("top", "--engine", "nope", code=2)
    assert program.engine in err
    assert other.engine in err
    open_gate(tmp_path / "gate", program)
    other.end()
    assert [each["id"] for each in snapshots(exaworks)] == [program.engine]
    program.end()
    assert snapshots(exaworks) == []


def test_a_killed_program_leaves_nothing(exaworks: Exaworks, program: Program) -> None:
    until(lambda: snapshots(exaworks))
    # A child of the program has a copy of the socket, unless that is closed.
    child = int(program.do("os.fork() or signal.pause()"))
    try:
        program.process.kill()
        program.process.wait(TIMEOUT)
        (folder,) = (exaworks.home / "engines").iterdir()
        assert [each.name for each in folder.iterdir()] == [f"{program.engine}.sock"]
        out, err = exaworks.both("top", "--json")
        assert (out, err) == ("[]\n", "")
        assert list(folder.iterdir()) == []
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_stopped_program(exaworks: Exaworks, program: Program) -> None:
    until(lambda: snapshots(exaworks))
    program.process.send_signal(signal.SIGSTOP)
    _, err = exaworks.both("top", "--once")
    assert err == f"{program.engine} does not answer: its program is stopped or very busy\n"
    program.process.send_signal(signal.SIGCONT)
    until(lambda: snapshots(exaworks))


def test_live(
    exaworks: Exaworks, program: Program, terminals: list[Terminal], tmp_path: Path
) -> None:
    terminals.append(terminal := Terminal(exaworks, "--interval", "0.1"))
    terminal.until(r"0 waiting  0 running  0 completed  0 failed.*1 engine   q quits")
    program.do(gate(tmp_path / "gate"))
    terminal.until(r"2/2 100%.*1 waiting  2 running  0 completed")
    open_gate(tmp_path / "gate", program)
    screen = terminal.until(rf"╭─ {program.engine}  program.py.*3 completed.*q quits")
    assert all(len(line) <= 80 for line in screen.splitlines())
    assert "ENGINE" not in screen
    program.do("engine.submit(fail, 'a reason').exception()")
    terminal.until(r"1 failed.*failed  4 fail: ValueError: a reason")
    # It takes the new size at once.
    terminal.resize(40, 6)
    terminal.until(r"\n│ tasks   0 waiting  0 running  3 com… │\n")
    program.end()
    terminal.until(r"No engine runs on this machine")
    terminal.press(b"xq")
    assert terminal.ended() == 0


def test_many_engines_live(exaworks: Exaworks, program: Program, terminals: list[Terminal]) -> None:
    program.do("more.extend(LocalEngine(1) for _ in range(5))")
    terminals.append(terminal := Terminal(exaworks, "-i", "0.1"))
    screen = terminal.until(r"ENGINE +NODES.*6 engines")
    assert screen.count(program.engine.rpartition("-")[0]) == 6
    terminal.press(b"q")
    assert terminal.ended() == 0


@pytest.mark.parametrize(("number", "code"), [(None, 0), (signal.SIGINT, 0), (signal.SIGTERM, 143)])
def test_ctrl_c_and_signals(
    exaworks: Exaworks, terminals: list[Terminal], number: signal.Signals | None, code: int
) -> None:
    # It would look again in an hour.
    terminals.append(terminal := Terminal(exaworks, "--interval", "3600"))
    terminal.until("No engine runs on this machine.*q quits")
    if number is None:
        terminal.press(b"\x03")
    else:
        terminal.process.send_signal(number)
    assert terminal.ended() == code


def test_one_engine_live_until_it_ends(
    exaworks: Exaworks, program: Program, terminals: list[Terminal]
) -> None:
    other = Program(exaworks)
    until(lambda: len(snapshots(exaworks)) == 2)
    terminals.append(terminal := Terminal(exaworks, "--interval", "0.1", "--engine", other.engine))
    screen = terminal.until("╭.*1 engine   q quits")
    assert program.engine not in screen
    other.end()
    assert terminal.ended() == 0
    assert f"{other.engine} has ended\r\n".encode() in terminal.shown


def test_a_terminal_that_goes_away_ends_it(exaworks: Exaworks, terminals: list[Terminal]) -> None:
    terminals.append(terminal := Terminal(exaworks, "--interval", "3600"))
    terminal.until("q quits")
    os.close(terminal.fd)
    os.close(terminal.other)
    terminal.fd, terminal.other = pty.openpty()  # for close()
    assert terminal.process.wait(TIMEOUT) != 1
