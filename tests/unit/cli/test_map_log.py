"""The log of ``exaworks map``, and when to stop."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from exaworks.cli.errors import USAGE, Problem
from exaworks.cli.mapping.halt import Halt
from exaworks.cli.mapping.joblog import Finished, JobLog

HEADER = "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"


def write(path: Path, *tasks: tuple[int, int, int, str], append: bool = False) -> None:
    log = JobLog(str(path), append)
    for seq, exit_value, signal, command in tasks:
        log.write(seq, ":", 1700000000.25, 1.5, 3, exit_value, signal, command)
    log.close()


def finished(path: Path, failed_too: bool = True) -> Finished:
    return Finished(str(path), failed_too)


def test_the_format_is_that_of_gnu_parallel(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, (1, 0, 0, "echo a"), (2, 3, 0, "b\tc\nd"), (3, 0, 9, "\udcff"))
    assert path.read_bytes() == HEADER.encode() + (
        b"1\t:\t1700000000.250\t     1.500\t0\t3\t0\t0\techo a\n"
        b"2\t:\t1700000000.250\t     1.500\t0\t3\t3\t0\tb\tc\0d\n"
        b"3\t:\t1700000000.250\t     1.500\t0\t3\t0\t9\t\xff\n"
    )


def test_what_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, (1, 0, 0, "a"), (2, 3, 0, "b\tc\nd"), (4, 0, 9, "d"), (5, -1, 0, "e"))
    commands = {1: "a", 2: "b\tc\nd", 3: "c", 4: "d", 5: "e"}
    log = finished(path)
    assert [seq for seq, command in commands.items() if log.has(seq, command)] == [1, 2, 4, 5]
    log = finished(path, failed_too=False)
    assert [seq for seq, command in commands.items() if log.has(seq, command)] == [1]
    write(path, (4, 0, 0, "d"), (1, 1, 0, "a"), append=True)  # the last word counts
    log = finished(path, failed_too=False)
    assert [seq for seq, command in commands.items() if log.has(seq, command)] == [4]


@pytest.mark.parametrize("cut", range(1, 60))
def test_a_line_that_was_not_written_to_its_end(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "log"
    write(path, (1, 0, 0, "a"), (2, 0, 0, "b"), (3, 0, 0, "c"))
    data = path.read_bytes()[:-cut]
    path.write_bytes(data)
    whole = max(0, data.count(b"\n") - 1)
    log = finished(path)
    assert [log.has(seq, "abc"[seq - 1]) for seq in (1, 2, 3)] == [
        seq <= whole for seq in (1, 2, 3)
    ]
    write(path, (9, 0, 0, "i"), append=True)
    lines = path.read_text().splitlines()
    assert [line.split("\t")[0] for line in lines[1:]] == [*map(str, range(1, whole + 1)), "9"]


def test_a_header_that_was_not_written_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(HEADER[:20])
    assert not finished(path).has(1, "a")
    write(path, (1, 0, 0, "a"), append=True)
    assert finished(path).has(1, "a")


def test_a_log_is_begun_anew_or_made(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert not finished(path).has(1, "a")
    write(path, (1, 0, 0, "a"), append=True)
    write(path, (2, 0, 0, "b"))
    assert not finished(path).has(1, "a")


def test_another_command_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "log"
    write(path, (1, 0, 0, "echo a"))
    with pytest.raises(Problem) as caught:
        finished(path).has(1, "echo b")
    assert caught.value.exit_code == USAGE
    assert "another command number 1" in caught.value.message
    assert "'echo b'" in caught.value.message


@pytest.mark.parametrize("text", ["#!/bin/sh\n", f"{HEADER}a\tb\n", f"{HEADER}1\t:\t0\t0\n", "\n"])
def test_a_file_that_is_no_log(tmp_path: Path, text: str) -> None:
    path = tmp_path / "log"
    path.write_text(text)
    with pytest.raises(Problem, match=r"is no log of tasks: line [12]"):
        finished(path)
    with pytest.raises(Problem, match="cannot be read"):
        finished(tmp_path)


@pytest.mark.parametrize(
    ("text", "now", "reached"),
    [
        ("never", False, []),
        ("soon", False, [1, 2, 3, 4]),
        ("now", True, [1, 2, 3, 4]),
        ("soon,fail=1", False, [1, 2, 3, 4]),
        ("now,fail=3", True, [3, 4]),
        ("now,fail=20%", True, [2, 3, 4]),
        ("soon,fail=33.3%", False, [4]),
    ],
)
def test_when_to_stop(text: str, now: bool, reached: list[int]) -> None:
    halt = Halt.parse(text)
    assert halt.now is now
    assert [failed for failed in range(5) if halt.reached(failed, 10, 10)] == reached


def test_a_percentage_of_nobody_knows_how_many() -> None:
    halt = Halt.parse("now,fail=10%")
    assert not halt.reached(2, None, 2)
    assert halt.reached(3, None, 30)
    assert not halt.reached(3, None, 31)


@pytest.mark.parametrize(
    "text", ["later", "now,fail", "now,fail=0", "now,fail=x", "soon,done=1", "soon,fail=1.5", "5%"]
)
def test_what_says_nothing(text: str) -> None:
    with pytest.raises(click.BadParameter, match="now,fail=3"):
        Halt.parse(text)
