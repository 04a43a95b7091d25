"""``exaworks map``, in processes of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from cli_program import Exaworks, runs

from patience import TIMEOUT, until

ENGINES = ["local", "inline"]
HEADER = [
    *("Seq", "Host", "Starttime", "JobRuntime", "Send", "Receive", "Exitval", "Signal", "Command")
]


def lines(text: str) -> list[str]:
    return sorted(text.splitlines())


def log_of(folder: Path) -> list[list[str]]:
    """The lines of the log, in order of their numbers."""
    found = [line.split("\t") for line in (folder / "log").read_text().splitlines()]
    assert found[0] == HEADER
    return sorted(found[1:], key=lambda cells: int(cells[0]))


# Arguments


@pytest.mark.parametrize("engine", ENGINES)
def test_combinations_in_order(exaworks: Exaworks, engine: str) -> None:
    words = ("-k", "--engine", engine, "echo {1}{2} {#}", ":::", "a", "b", ":::", "1", "2")
    assert exaworks("map", *words) == "a1 1\na2 2\nb1 3\nb2 4\n"


def test_linked_sources(exaworks: Exaworks) -> None:
    out = exaworks("map", "-k", "echo", "{2}-{1}", ":::", "a", "b", ":::+", "1", "2", "3")
    assert out == "1-a\n2-b\n"


def test_lines_of_standard_input(exaworks: Exaworks) -> None:
    out, _ = exaworks.both("map", "-k", "echo", "<{}>", text="a b\n\n$HOME")
    assert out == "<a b>\n<>\n<$HOME>\n"
    out, _ = exaworks.both("map", "-k", "-0", "-a", "-", "echo '<{}>'", text="a\nb\0c\0")
    assert out == "<a\nb>\n<c>\n"


def test_rows_of_a_table(exaworks: Exaworks, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('rate,file\n0.1,"a b.txt"\n0.2,c.txt\n')
    out = exaworks("map", "-k", "--from", "p.csv", "echo {rate} {file.} {2} {#}")
    assert out == "0.1 a b a b.txt 1\n0.2 c c.txt 2\n"


def test_tasks_run_while_inputs_come(exaworks: Exaworks, tmp_path: Path) -> None:
    process = exaworks.start("map", "touch", stdin=subprocess.PIPE)
    assert process.stdin is not None
    for name in ("first", "second"):
        process.stdin.write(name.encode() + b"\n")
        process.stdin.flush()
        until((tmp_path / name).exists)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0


def test_bytes_of_all_kinds(exaworks: Exaworks, tmp_path: Path) -> None:
    odd = [
        *(b"", b" ", b"'", b'"', b"\\", b"$(touch oops)", b"`touch oops`", b"\xff\xfe", b"-n"),
        *(b"\xc3\xa4", b"{}", b"{1}", b"*", b"~", b"a\tb", b"\r", b";touch oops", b"\x01"),
    ]
    (tmp_path / "odd").write_bytes(b"".join(each + b"\n" for each in odd))
    expected = b"".join(b"<%s>\n" % each for each in odd)
    for command in (
        ["printf '<%s>\\n' {}"],
        ["printf '<%s>\\n' \"{}\""],
        ["printf '<%s>\\n' '{}'"],
        ["printf", "<%s>\\n", "{}"],
    ):
        process = exaworks.start("map", "-k", *command, "::::", "odd")
        assert process.communicate(timeout=TIMEOUT) == (expected, b"")
    assert not (tmp_path / "oops").exists()


def test_shuffled(exaworks: Exaworks, tmp_path: Path) -> None:
    words = [str(n) for n in range(100)]
    out = exaworks("map", "-k", "--shuffle", "--joblog", "log", "echo {#} {}", ":::", *words)
    assert lines(out) == sorted(f"{n + 1} {n}" for n in range(100))
    assert out.splitlines() != sorted(out.splitlines(), key=lambda line: int(line.split()[0]))
    assert [cells[0] for cells in log_of(tmp_path)] == [str(n + 1) for n in range(100)]


# Output


def test_output_as_tasks_end_and_in_order(exaworks: Exaworks, tmp_path: Path) -> None:
    """The first task ends after the second."""
    script = "if [ {} = 1 ]; then until [ -e two ]; do sleep 0.05; done; else touch two; fi"
    first = f"{script}; echo {{}}; echo err >&2"
    assert exaworks("map", "-k", "-j2", first, ":::", "1", "2") == "1\n2\n"
    (tmp_path / "two").unlink()
    process = exaworks.start("map", "-j2", "if [ {} = 1 ]; then until [ -e go ]; do sleep 0.05; "
                             "done; fi; echo {}", ":::", "1", "2")  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == b"2\n"
    (tmp_path / "go").touch()
    assert process.communicate(timeout=TIMEOUT) == (b"1\n", b"")


def test_tags(exaworks: Exaworks) -> None:
    command = "echo {1}; echo {2} >&2; printf end"
    out, err = exaworks.both("map", "-k", "--tag", command, ":::", "a b", "c", ":::", "1")
    assert out == "a b 1\ta b\na b 1\tendc 1\tc\nc 1\tend"
    assert err == "a b 1\t1\nc 1\t1\n"


@pytest.mark.parametrize("order", [[], ["-k"], ["--tag"]])
def test_much_output(exaworks: Exaworks, tmp_path: Path, order: Sequence[str]) -> None:
    """All of it is printed, and no file is left."""
    (tmp_path / "tmp").mkdir()
    exaworks.environment["TMPDIR"] = str(tmp_path / "tmp")
    command = "yes {}23456789 | head -c 1000000; yes {} | head -c 200000 >&2"
    process = exaworks.start("map", *order, command, ":::", "1", "2", "3", "4")
    out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    label = 2 if order == ["--tag"] else 0
    assert len(out) == 4 * (1000000 + 100000 * label)
    assert len(err) == 4 * (200000 + 100000 * label)
    found = Counter(out.split(b"\n"))
    assert set(found.values()) == {100000, 1} or len(found) == 5
    if order == ["-k"]:
        assert out == b"".join(b"%d23456789\n" % n * 100000 for n in range(1, 5))
    assert list((tmp_path / "tmp").iterdir()) == []


def test_results_in_files(exaworks: Exaworks, tmp_path: Path) -> None:
    command = "echo {}; echo err {} >&2"
    out, err = exaworks.both("map", "-k", "--results", "r", command, ":::", "a", "b")
    assert (out, err) == ("a\nb\n", "err a\nerr b\n")
    assert (tmp_path / "r" / "2" / "stdout").read_text() == "b\n"
    assert (tmp_path / "r" / "1" / "stderr").read_text() == "err a\n"


def test_a_summary_as_json(exaworks: Exaworks, tmp_path: Path) -> None:
    command = "yes | head -c 100000; echo oops >&2; exit {}"
    words = ("--json", "--joblog", "log", "--results", "r", command, ":::", "0", "3")
    found = json.loads(exaworks("map", *words, code=1))
    assert (found["total"], found["completed"], found["failed"], found["skipped"]) == (2, 1, 1, 0)
    assert found["seconds"] > 0
    assert found["rate"] > 0
    assert found["cpu_seconds"] > 0
    (failure,) = found["failures"]
    assert (failure["seq"], failure["exit_code"], failure["signal"]) == (2, 3, None)
    assert failure["command"] == command.replace("{}", "3")
    assert "exited with code 3" in failure["message"]
    assert (tmp_path / "r" / "1" / "stdout").stat().st_size == 100000
    found = json.loads(exaworks("map", *words[:3], "--resume", *words[3:]))
    assert (found["total"], found["completed"], found["skipped"]) == (2, 0, 2)


def test_a_dry_run(exaworks: Exaworks, tmp_path: Path) -> None:
    out = exaworks("map", "--dry-run", "--joblog", "log", "touch {} | cat", ":::", "a b", "c")
    assert out == "touch 'a b' | cat\ntouch c | cat\n"
    out = exaworks("map", "--dry-run", "touch", "x{}", ":::", "a b", "c")
    assert out == "touch 'xa b'\ntouch xc\n"
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == []


def test_a_reader_that_goes_away(exaworks: Exaworks, tmp_path: Path) -> None:
    reader, writer = os.pipe()
    command = (
        "echo {}; if [ {} = 2 ]; then until [ -e go ]; do sleep 0.05; done; fi; "
        "if [ {} = 3 ]; then echo $$ > pid; exec sleep 600; fi"
    )
    process = exaworks.start("map", "-j3", command, ":::", "1", "2", "3", stdout=writer)
    os.close(writer)
    assert os.read(reader, 2) == b"1\n"
    os.close(reader)
    pid = until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    (tmp_path / "go").touch()
    _, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, err) == (141, b"")
    until(lambda: not runs(pid))


@pytest.mark.parametrize("given", [[], ["--no-progress"]])
def test_a_bar_on_a_terminal(exaworks: Exaworks, given: list[str]) -> None:
    controller, terminal = os.openpty()
    process = exaworks.start("map", *given, "echo {}; exit {}", ":::", "0", "3", stderr=terminal)
    os.close(terminal)
    out, _ = process.communicate(timeout=TIMEOUT)
    said = os.read(controller, 100000).decode()
    os.close(controller)
    assert lines(out.decode()) == ["0", "3"]
    assert "1 completed, 1 failed of 2" in said
    assert ("/2, " in said) is not given


# How tasks end


@pytest.mark.parametrize("engine", ENGINES)
def test_exit_codes(exaworks: Exaworks, tmp_path: Path, engine: str) -> None:
    words = ("--engine", engine, "--joblog", "log")
    assert exaworks.both("map", *words, "exit {}", ":::", "0", "0") == ("", "")
    assert exaworks.both("map", *words, "exit {}", ":::", "0", "3", "4", code=2) == ("", "")
    assert [cells[6:] for cells in log_of(tmp_path)] == [
        ["0", "0", "exit 0"], ["3", "0", "exit 3"], ["4", "0", "exit 4"]
    ]  # fmt: skip
    many = [str(n) for n in range(102)]
    exaworks("map", *words, "false", ":::", *many, code=101)


def test_a_task_that_is_ended_by_a_signal(exaworks: Exaworks, tmp_path: Path) -> None:
    _, err = exaworks.both("map", "--joblog", "log", "kill -9 $$; : {}", ":::", "a", code=1)
    assert "task 1: " in err
    assert "signal 9" in err
    assert log_of(tmp_path)[0][6:8] == ["0", "9"]


def test_a_task_that_cannot_be_started(exaworks: Exaworks, tmp_path: Path) -> None:
    _, err = exaworks.both("map", "--joblog", "log", "/no/such", "{}", ":::", "a", code=1)
    assert "/no/such" in err
    assert len(err.splitlines()) == 1
    assert log_of(tmp_path)[0][6:] == ["127", "0", "/no/such a"]


def test_a_task_that_takes_too_long(exaworks: Exaworks, tmp_path: Path) -> None:
    command = "trap 'exit 0' TERM; while :; do sleep 0.05; done; : {}"
    _, err = exaworks.both("map", "--time", "0.2s", "--joblog", "log", command, ":::", "a", code=1)
    assert "has run for 0.2 s" in err
    assert log_of(tmp_path)[0][6:8] == ["-1", "0"]


def test_what_tasks_get(exaworks: Exaworks, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    out = exaworks(
        *("map", "--chdir", "sub", "--env", "A=1 2", "--cores", "2", "-j1"),
        *("--engine-option", "gpus=1", "--gpus", "0.5"),
        *("echo $PWD $A $OMP_NUM_THREADS $CUDA_VISIBLE_DEVICES {}", ":::", "x"),
    )
    assert out == f"{tmp_path}/sub 1 2 2 0 x\n"


def test_retries(exaworks: Exaworks, tmp_path: Path) -> None:
    command = "echo x >> runs.{}; [ $(wc -l < runs.{}) = {} ]"
    exaworks("map", "--retries", "2", command, ":::", "1", "2", "3", "4", code=1)
    assert [len((tmp_path / f"runs.{n}").read_text()) // 2 for n in (1, 2, 3, 4)] == [1, 2, 3, 3]


def test_so_many_at_a_time(exaworks: Exaworks, tmp_path: Path) -> None:
    """Two meet each other, also if that takes more cores than there are; one is alone."""
    meet = "touch {}; until [ -e 1 ] && [ -e 2 ]; do sleep 0.05; done"
    exaworks("map", "-j2", "--cores", "100", meet, ":::", "1", "2")
    words = [str(n) for n in range(20)]
    exaworks("map", "-j1", "mkdir lock && rmdir lock; : {}", ":::", *words)


# Stopping


def test_halt_soon(exaworks: Exaworks, tmp_path: Path) -> None:
    words = [str(n) for n in range(10)]
    command = "echo {}; exit $(( {} > 2 ))"
    out, err = exaworks.both("map", "-j1", "--halt", "soon,fail=2", command, ":::", *words, code=2)
    assert out == "0\n1\n2\n3\n4\n"
    assert "stopped: 3 completed, 2 failed of 10" in err
    assert "--joblog FILE" in err


def test_halt_now(exaworks: Exaworks, tmp_path: Path) -> None:
    command = (
        "if [ {} = 1 ]; then until [ -s pid ]; do sleep 0.05; done; exit 3; fi; "
        "echo $$ > pid; exec sleep 600"
    )
    _, err = exaworks.both(
        *("map", "-j2", "--halt", "now,fail=1", "--joblog", "log", command, ":::", "1", "2", "3"),
        code=1,
    )
    pid = (tmp_path / "pid").read_text().strip()
    until(lambda: not runs(pid))
    assert [cells[0] for cells in log_of(tmp_path)] == ["1"]
    assert "give the same command with --resume" in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_ctrl_c_ends_the_tasks(exaworks: Exaworks, tmp_path: Path, number: int, code: int) -> None:
    command = "sleep 600 & echo $$ $! > pids.{}.new; mv pids.{}.new pids.{}; wait"
    process = exaworks.start("map", "-j2", "--joblog", "log", command, ":::", "1", "2", *["x"] * 50)
    pids = until(lambda: found if len(found := list(tmp_path.glob("pids.[12]"))) == 2 else None)
    begun = [pid for file in pids for pid in file.read_text().split()]
    assert all(runs(pid) for pid in begun)
    process.send_signal(number)
    out, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, out) == (code, b"")
    assert b"Traceback" not in err
    assert b"give the same command with --resume" in err
    for pid in begun:
        until(lambda pid=pid: not runs(pid))
    assert not (tmp_path / "pids.x").exists()
    assert log_of(tmp_path) == []


def test_tasks_have_time_to_end_after_ctrl_c(exaworks: Exaworks, tmp_path: Path) -> None:
    command = (
        "trap 'sleep 0.3; echo saved > saved; exit 0' TERM; touch ready; "
        "while :; do sleep 0.05; done; : {}"
    )
    process = exaworks.start("map", command, ":::", "1")
    until((tmp_path / "ready").exists)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert (tmp_path / "saved").exists()


def test_a_second_ctrl_c_does_not_wait_for_them(exaworks: Exaworks, tmp_path: Path) -> None:
    command = "trap 'touch asked' TERM; echo $$ > pid; while :; do sleep 0.05; done; : {}"
    process = exaworks.start("map", command, ":::", "1")
    until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    process.send_signal(signal.SIGINT)
    until((tmp_path / "asked").exists)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    pid = (tmp_path / "pid").read_text().strip()
    until(lambda: not runs(pid))


def test_ctrl_c_while_inputs_are_awaited(exaworks: Exaworks) -> None:
    process = exaworks.start("map", "echo", stdin=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"a\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"a\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(TIMEOUT) == 130
    assert process.stderr is not None
    assert b"Traceback" not in process.stderr.read()


# Going on


def test_going_on_after_kill_9(exaworks: Exaworks, tmp_path: Path) -> None:
    """Nothing that the log tells of is run again, and all is run."""
    words = [str(n) for n in range(300)]
    run = ("map", "-j2", "--joblog", "log", "--resume", "echo {} >> runs", ":::", *words)
    log = tmp_path / "log"
    for least in (20, 120):
        process = exaworks.start(*run)
        until(lambda least=least: log.exists() and log.read_bytes().count(b"\n") > least)
        process.kill()
        process.wait(TIMEOUT)
    with log.open("ab") as file:
        file.write(b"300\t:\t17")  # it was killed while it wrote
    before = {cells[8].split()[1] for cells in log_of_whole_lines(log)}
    noted = Counter((tmp_path / "runs").read_text().split())
    exaworks(*run)
    runs_of = Counter((tmp_path / "runs").read_text().split())
    assert set(runs_of) == set(words)
    assert {word: runs_of[word] for word in before} == {word: noted[word] for word in before}
    assert [cells[0] for cells in log_of(tmp_path)] == [str(n + 1) for n in range(300)]
    assert exaworks(*run) == ""
    assert Counter((tmp_path / "runs").read_text().split()) == runs_of


def log_of_whole_lines(log: Path) -> list[list[str]]:
    return [line.split("\t") for line in log.read_text().split("\n")[1:-1]]


def test_going_on_with_those_that_have_failed(exaworks: Exaworks, tmp_path: Path) -> None:
    run = ("map", "-k", "--joblog", "log", "echo {}; [ {} = 1 ] || [ -e well ]", ":::", "1", "2")
    assert exaworks(*run, "3", code=2) == "1\n2\n3\n"
    options = ("map", "-k", "--joblog", "log")
    assert exaworks(*options, "--resume", *run[4:], "3") == ""
    (tmp_path / "well").touch()
    assert exaworks(*options, "--resume-failed", *run[4:], "3") == "2\n3\n"
    assert exaworks(*options, "--resume-failed", *run[4:], "3", "4") == "4\n"


def test_another_command_than_that_of_the_log(exaworks: Exaworks) -> None:
    exaworks("map", "--joblog", "log", "echo {}", ":::", "1", "2")
    out, err = exaworks.both(
        "map", "--joblog", "log", "--resume", "echo no {}", ":::", "1", "2", code=2
    )
    assert out == ""
    assert "another command number 1" in err
    assert "'echo no 1'" in err


# Nodes that are still to come


def test_a_pool(exaworks: Exaworks) -> None:
    words = ("--engine", "pool", "--engine-option", "cores-per-node=1")
    grown = ("--engine-option", "min=0", "--engine-option", "max=2")
    assert exaworks("map", "-k", *words, *grown, "echo {}", ":::", "1", "2") == "1\n2\n"


@pytest.mark.parametrize("engine", ["allocation", "pool"])
def test_halt_knows_of_nodes_that_come_later(exaworks: Exaworks, engine: str) -> None:
    """While it is on, as many tasks are handed out as there are cores: first none, then two."""
    words = ("--engine", engine, "--engine-option", "cores-per-node=2", "--halt", "soon")
    both = "touch {}; while ! [ -e 1 -a -e 2 ]; do sleep 0.1; done; echo {}"
    assert exaworks("map", "-k", *words, both, ":::", "1", "2", "3") == "1\n2\n3\n"


# What is wrong with the command line


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["echo {nope}", ":::", "1"], "no such value. There are: {}, {#}, {1}"),
        (["echo {2}", ":::", "1"], "no such value"),
        ([":::", "1"], "What is to be run?"),
        (["--resume", "echo", ":::", "1"], "need --joblog"),
        (["--engine", "nope", "echo", ":::", "1"], "There is no engine 'nope'"),
        (["--engine-option", "nope=1", "echo", ":::", "1"], "nope"),
        (["--engine-option", "nope", "echo", ":::", "1"], "write KEY=VALUE"),
        (["--env", "A", "echo", ":::", "1"], "write NAME=VALUE"),
        (["--cores", "10000", "touch oops", ":::", "1"], "can never run here"),
        (["--gpus", "1.5", "touch oops", ":::", "1"], "gpus must be a whole number"),
        (["--launcher", "nope", "touch oops", ":::", "1"], "launcher"),
        (["--halt", "later", "echo", ":::", "1"], "now,fail=3"),
        (["echo $(( {} ))", ":::", "a b"], "cannot be quoted"),
        (["echo", "::::", "missing"], "missing cannot be read"),
        (["--from", "missing.csv", "echo"], "missing.csv cannot be read"),
    ],
)
def test_nothing_is_run_if_the_command_line_is_wrong(
    exaworks: Exaworks, tmp_path: Path, words: list[str], told: str
) -> None:
    out, err = exaworks.both("map", *words, code=2)
    assert out == ""
    assert told in err
    assert "Traceback" not in err
    assert not list(tmp_path.glob("oops*"))


def test_an_engine_that_cannot_be_used_here(exaworks: Exaworks) -> None:
    unusable = [each for each in exaworks.json("engines") if not each["usable"]]
    if not unusable:
        pytest.skip("all engines can be used here")
    name = unusable[0]["name"]
    _, err = exaworks.both("map", "--engine", name, "echo", ":::", "1", code=2)
    assert name in err
    assert str(unusable[0]["reason"])[:20] in err


def test_an_input_that_is_wrong_after_others(exaworks: Exaworks, tmp_path: Path) -> None:
    out, err = exaworks.both("map", "-k", "echo {}", text="1\n2\n\0\n", code=2)
    assert out == "1\n2\n"
    assert "Line 3 of standard input has a NUL character" in err


# As GNU parallel does it


@pytest.mark.gnu_parallel
@pytest.mark.skipif(shutil.which("parallel") is None, reason="no GNU parallel in PATH")
@pytest.mark.parametrize(
    "words",
    [
        ["echo {} {.} {/} {//} {/.} {#}", ":::", "/q/w.e.r", ".bashrc", "a.", "a.b/c", "d/", "/",
         "x/.y", "//a", "a//b/", "a/b.c/", "...", "/.x/y.tar.gz", "plain", "", "a b.c d"],
        ["echo {1.}-{2/} {}", ":::", "a.b", "c", ":::", "x/y", "z"],
        ["echo {1}{2}", ":::", "a", "b", ":::+", "1", "2", ":::", "x", "y"],
        ["echo", ":::", "$HOME", "a'b", "*", "\\", "`ls`"],
        ["echo ${HOME} {a,b} {}", ":::", "x"],
        ["--tag", "echo {}; echo {}", ":::", "x", "y"],
        ["--dry-run", "echo {} | cat", ":::", "x", "y"],
    ],
)  # fmt: skip
def test_the_same_as_gnu_parallel(exaworks: Exaworks, tmp_path: Path, words: list[str]) -> None:
    environment = {**exaworks.environment, "HOME": str(tmp_path), "PARALLEL_SHELL": "/bin/sh"}
    theirs = subprocess.run(
        ["parallel", "--will-cite", "-k", *words],
        env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True,
    )  # fmt: skip
    exaworks.environment["HOME"] = str(tmp_path)
    assert exaworks("map", "-k", *words) == theirs.stdout


@pytest.mark.gnu_parallel
@pytest.mark.skipif(shutil.which("parallel") is None, reason="no GNU parallel in PATH")
def test_gnu_parallel_goes_on_with_our_log(exaworks: Exaworks, tmp_path: Path) -> None:
    command = "echo {}; exit {}"
    exaworks("map", "--joblog", "log", command, ":::", "0", "1", "2", code=2)
    theirs = subprocess.run(
        ["parallel", "--will-cite", "-k", "--joblog", "log", "--resume-failed", command,
         ":::", "0", "1", "2", "0"],
        env={**exaworks.environment, "HOME": str(tmp_path)}, cwd=tmp_path,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert theirs.stdout == "1\n2\n0\n"
    out = exaworks("map", "--joblog", "log", "--resume", command, ":::", "0", "1", "2", "0", "0")
    assert out == "0\n"
