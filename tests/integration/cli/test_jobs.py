"""Jobs that are submitted, watched and managed by different processes."""

from __future__ import annotations

import json
import os
import re
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cli_program import Exaworks, runs

from patience import TIMEOUT, until

WAITS = "echo begun; until [ -e go ]; do sleep 0.05; done; echo done"


def test_from_submission_to_the_end(exaworks: Exaworks, tmp_path: Path) -> None:
    assert exaworks("submit", "--name", "mine", "--", "sh", "-c", WAITS) == "1\n"
    until(lambda: exaworks.state("1") == "ACTIVE")
    (job,) = exaworks.json("jobs")
    assert (job["name"], job["executor"], job["exit_code"]) == ("mine", "local", None)
    assert job["run_time"] >= 0
    table = exaworks("jobs")
    assert table.splitlines()[0].split() == [
        *("ID", "NATIVE", "EXECUTOR", "NAME", "STATE", "EXIT", "AGE", "RUN", "REASON")
    ]
    assert table.splitlines()[1].split()[:5] == ["1", job["native_id"], "local", "mine", "ACTIVE"]
    assert exaworks("logs", "1") == "begun\n"
    assert "runs, for " in exaworks("explain", "1")
    (tmp_path / "go").touch()
    assert exaworks("wait", "1") == "1 COMPLETED\n"
    assert exaworks("logs", "1") == "begun\ndone\n"
    assert "COMPLETED" in exaworks("status", "1")
    assert "ended well" in exaworks("explain", "1")


def test_ids_of_all_kinds(exaworks: Exaworks) -> None:
    exaworks("submit", "--count", "2", "--", "true")
    exaworks("wait", "1", "2")
    first, second = exaworks.json("jobs")
    for text in ("2", f"local:{second['native_id']}", second["uuid"], second["uuid"][:9]):
        assert [job["id"] for job in exaworks.json("status", text)] == [2]
    assert [job["id"] for job in exaworks.json("status", "1", first["uuid"], "2")] == [1, 2]
    _, err = exaworks.both("status", "1", "77", "nope", code=2)
    assert "'77', 'nope'" in err
    for command in ("wait", "logs", "cancel", "hold", "release", "explain", "forget"):
        _, err = exaworks.both(command, "77", code=2)
        assert "No job is known as '77'" in err


def test_arrays(exaworks: Exaworks, tmp_path: Path) -> None:
    script = 'echo "$0 $EXAWORKS_INDEX ${HOME:+home}"'
    ids = exaworks(
        *("submit", "--count", "3", "--name", "n{i}", "--stdout", "out-{i}"),
        *("-E", "X={i}", "--", "sh", "-c", script.replace("{", "{{").replace("}", "}}"), "arg{i}"),
    )
    assert ids == "1\n2\n3\n"
    exaworks("wait", *ids.split())
    assert [job["name"] for job in exaworks.json("jobs")] == ["n0", "n1", "n2"]
    for index in range(3):
        assert (tmp_path / f"out-{index}").read_text() == f"arg{index} {index} home\n"


def test_sweeps(exaworks: Exaworks, tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('rate,tag\n0.1,"a b"\n0.2,$HOME\n')
    ids = exaworks("submit", "--sweep", "p.csv", "--", "echo", "{rate}", "{tag}", "{i}").split()
    exaworks("wait", *ids)
    assert [exaworks("logs", id) for id in ids] == ["0.1 a b 0\n", "0.2 $HOME 1\n"]
    _, err = exaworks.both("submit", "--sweep", "p.csv", "--", "echo", "{color}", code=2)
    assert "no column {color}" in err
    assert "{rate}, {tag}" in err
    assert len(exaworks.json("jobs")) == 2


def test_specifications_from_a_file(exaworks: Exaworks, tmp_path: Path) -> None:
    specs = [
        {"executable": "echo", "arguments": ["{}"], "name": "first"},
        {"executable": "pwd", "attributes": {"duration": "60 s"}},
    ]
    (tmp_path / "jobs.json").write_text(json.dumps(specs))
    assert exaworks("submit", "--file", "jobs.json", "--quiet") == "1\n2\n"
    exaworks("wait", "1", "2")
    assert [exaworks("logs", id) for id in "12"] == ["{}\n", f"{tmp_path}\n"]
    assert exaworks("submit", "--file", "-", text=json.dumps(specs[0])) == "3\n"
    (told,) = json.loads(exaworks("submit", "--json", "--file", "-", text=json.dumps(specs[1])))
    assert (told["id"], told["name"], told["executor"]) == (4, "pwd", "local")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "What is to be run?"),
        (["--file", "x", "true"], "cannot be combined"),
        (["--file", "x", "--nodes", "2"], "--nodes cannot be combined"),
        (["--count", "2", "--sweep", "x.csv", "true"], "cannot be combined"),
        (["--file", "missing.json"], "No such file"),
        (["--file", "broken.json"], "broken.json is not JSON"),
        (["--file", "list.json"], "list.json, item 1: a job specification has the unknown key"),
        (["--file", "empty.json"], "holds no job"),
        (["--sweep", "missing.csv", "true"], "No such file"),
        (["--executor", "nope", "true"], "no such executor"),
    ],
)
def test_mistakes_in_submissions(
    exaworks: Exaworks, tmp_path: Path, arguments: list[str], told: str
) -> None:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "empty.json").write_text("[]")
    (tmp_path / "list.json").write_text('[{"executable": "true"}, {"exe": "true"}]')
    _, err = exaworks.both("submit", *arguments, code=2)
    assert told in err
    assert "Traceback" not in err
    assert exaworks.json("jobs") == []


def test_waiting(exaworks: Exaworks, tmp_path: Path) -> None:
    exaworks("submit", "--", "sh", "-c", WAITS)
    exaworks("submit", "--", "sh", "-c", "exit 3")
    assert exaworks("wait", "--any", "1", "2", code=1) == "2 FAILED with exit code 3\n"
    out, err = exaworks.both("wait", "--timeout", "0.2s", "1", "2", code=124)
    assert out == "2 FAILED with exit code 3\n"
    assert "1 of 2 jobs have not ended" in err
    waiting = exaworks.start("wait", "1")
    (tmp_path / "go").touch()
    out_bytes, _ = waiting.communicate(timeout=TIMEOUT)
    assert (waiting.returncode, out_bytes) == (0, b"1 COMPLETED\n")
    assert exaworks("wait", "--quiet", "1", "2", code=1) == ""


def test_ctrl_c_ends_the_waiting_only(exaworks: Exaworks) -> None:
    exaworks("submit", "--", "sh", "-c", WAITS)
    waiting = exaworks.start("logs", "-f", "1")
    assert waiting.stdout is not None
    assert waiting.stdout.readline() == b"begun\n"
    waiting.send_signal(signal.SIGINT)
    _, err = waiting.communicate(timeout=TIMEOUT)
    assert (waiting.returncode, err) == (130, b"")
    assert exaworks.state("1") == "ACTIVE"


def test_logs(exaworks: Exaworks, tmp_path: Path) -> None:
    script = "echo one; echo two; echo bad >&2; until [ -e go ]; do sleep 0.05; done; echo three"
    exaworks("submit", "--", "sh", "-c", script)
    following = exaworks.start("logs", "-f", "--lines", "1", "1")
    assert following.stdout is not None
    until(lambda: exaworks("logs", "--stderr", "1") == "bad\n")
    assert exaworks("logs", "--lines", "1", "1") == "two\n"
    assert exaworks("logs", "--lines", "0", "1") == ""
    assert exaworks.both("logs", "--both", "1") == ("one\ntwo\n", "bad\n")
    (tmp_path / "go").touch()
    out, _ = following.communicate(timeout=TIMEOUT)
    assert following.returncode == 0
    assert out.endswith(b"two\nthree\n")
    assert exaworks("logs", "-f", "1") == "one\ntwo\nthree\n"


def test_logs_of_a_job_that_wrote_nothing(exaworks: Exaworks, tmp_path: Path) -> None:
    exaworks("run", "--stdout", "out", "true")
    assert exaworks.both("logs", "1") == ("", "")
    assert (
        "job 1 (local 1) is COMPLETED and has written nothing"
        in exaworks.both("logs", "-v", "1")[1]
    )
    (tmp_path / "out").unlink()
    _, err = exaworks.both("logs", "1", code=1)
    assert f"is COMPLETED; there is no file {tmp_path}/out" in err


def test_cancelling(exaworks: Exaworks, tmp_path: Path) -> None:
    ids = exaworks("submit", "--count", "3", "--", "sh", "-c", "echo $$; exec sleep 600").split()
    exaworks("submit", "--", "true")
    exaworks("wait", "4")
    pids = [until(lambda id=id: exaworks("logs", id, code=0).strip()) for id in ids]
    assert "job 4 (local 4) had ended: COMPLETED" in exaworks("cancel", "1", "4")
    assert exaworks("wait", "1", code=1).startswith("1 CANCELED")
    assert "2 (local 2) was asked to stop" in exaworks("cancel", "--all")
    exaworks("wait", *ids, code=1)
    assert not any(runs(pid) for pid in pids)
    assert {job["state"] for job in exaworks.json("jobs")} == {"CANCELED", "COMPLETED"}
    assert exaworks("cancel", "--all") == ""
    assert exaworks.both("cancel", code=2)[0] == ""
    assert exaworks.both("cancel", "1", "--all", code=2)[0] == ""


def test_cancelling_all_asks_first_on_a_terminal(exaworks: Exaworks) -> None:
    exaworks("submit", "--count", "2", "--", "sleep", "600")
    for answer, code in ((b"n\n", 130), (b"y\n", 0)):
        controller, terminal = os.openpty()
        process = exaworks.start("cancel", "--all", stdin=terminal)
        os.close(terminal)
        os.write(controller, answer)
        _, err = process.communicate(timeout=TIMEOUT)
        os.close(controller)
        assert b"Cancel all 2 jobs that have not ended?" in err
        assert process.returncode == code
        if code:
            assert exaworks.state("1") == "ACTIVE"
    exaworks("wait", "1", "2", code=1)


def test_a_job_that_runs_cannot_be_held(exaworks: Exaworks) -> None:
    exaworks("submit", "--", "sleep", "600")
    until(lambda: exaworks.state("1") == "ACTIVE")
    for command in ("hold", "release"):
        out, err = exaworks.both(command, "1", code=1)
        assert out == ""
        assert f"cannot {command} job" in err


def test_filters_and_limits(exaworks: Exaworks) -> None:
    exaworks("submit", "--count", "4", "--name", "a-{i}", "--", "true")
    exaworks("submit", "--count", "2", "--name", "b-{i}", "--", "false")
    exaworks("wait", *"123456", code=1)

    def ids(*arguments: str) -> list[int]:
        return [job["id"] for job in exaworks.json("jobs", *arguments)]

    assert ids() == [1, 2, 3, 4, 5, 6]
    assert ids("--limit", "2") == [5, 6]
    assert ids("--state", "failed") == [5, 6]
    assert ids("--state", "completed", "--limit", "1") == [4]
    assert ids("-s", "FAILED", "-s", "COMPLETED", "--name", "?-1") == [2, 6]
    assert ids("--executor", "slurm") == []
    out, err = exaworks.both("jobs", "--limit", "2")
    assert len(out.splitlines()) == 3
    assert "4 older jobs are not shown; --all shows them" in err
    assert len(exaworks("jobs", "--limit", "2", "--all").splitlines()) == 7
    assert "there are: SUBMITTING" in exaworks.both("jobs", "-s", "done", code=2)[1]
    assert exaworks.both("jobs", "--name", "zzz") == ("", "No such jobs.\n")


def test_watching_without_a_terminal(exaworks: Exaworks, tmp_path: Path) -> None:
    exaworks("submit", "--name", "w", "--", "sh", "-c", f"{WAITS}; exit 2")
    watching = exaworks.start("jobs", "--watch")
    assert watching.stdout is not None
    lines = [watching.stdout.readline()]
    while lines[-1] != b"1 ACTIVE w\n":
        lines.append(watching.stdout.readline())
    (tmp_path / "go").touch()
    out, _ = watching.communicate(timeout=TIMEOUT)
    assert (watching.returncode, out) == (0, b"1 FAILED exit=2 w\n")


def test_forgetting(exaworks: Exaworks) -> None:
    exaworks("submit", "--count", "3", "--", "true")
    exaworks("submit", "--", "sleep", "600")
    exaworks("wait", "1", "2", "3")
    output = exaworks.home / "cli" / "output"
    assert len(list(output.iterdir())) == 4
    assert exaworks("forget", "1") == "1 job forgotten\n"
    assert "has not ended" in exaworks.both("forget", "4", code=2)[1]
    assert exaworks("forget", "--finished", "--older-than", "30d") == "0 jobs forgotten\n"
    assert exaworks("forget", "--finished") == "2 jobs forgotten\n"
    assert [job["id"] for job in exaworks.json("jobs")] == [4]
    assert len(list(output.iterdir())) == 1
    exaworks("cancel", "4")
    exaworks("wait", "4", code=1)
    assert exaworks("forget", "4") == "1 job forgotten\n"
    assert exaworks.both("forget", code=2)[0] == ""


def test_eight_submissions_at_once(exaworks: Exaworks) -> None:
    def submit(number: int) -> list[str]:
        return exaworks("submit", "--count", "5", "--", "echo", f"{number}-{{i}}").split()

    with ThreadPoolExecutor(8) as pool:
        ids = [id for part in pool.map(submit, range(8)) for id in part]
    assert sorted(map(int, ids)) == list(range(1, 41))
    exaworks("wait", *ids)
    jobs = exaworks.json("jobs", "--all")
    assert len({job["native_id"] for job in jobs}) == 40
    written = {Path(job["stdout"]).read_text() for job in jobs}
    assert written == {f"{number}-{i}\n" for number in range(8) for i in range(5)}


def on_terminal(exaworks: Exaworks, *arguments: str, **environment: str) -> str:
    """What a command prints when its output is a terminal."""
    controller, terminal = os.openpty()
    exaworks.environment.update({"TERM": "xterm", "COLUMNS": "100", **environment})
    process = exaworks.start(*arguments, stdout=terminal)
    os.close(terminal)
    parts = []
    try:
        while part := os.read(controller, 65536):
            parts.append(part)
    except OSError:  # the other side was closed
        pass
    os.close(controller)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    return b"".join(parts).decode()


def test_colours(exaworks: Exaworks) -> None:
    exaworks("submit", "--count", "2", "--name", "x" * 300, "--", "true")
    exaworks("wait", "1", "2")
    assert "\x1b[" not in exaworks("jobs")
    coloured = on_terminal(exaworks, "jobs")
    assert "\x1b[32mCOMPLETED" in coloured
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in coloured.splitlines()) <= 100
    assert "\x1b[32m" in on_terminal(exaworks, "status", "1")
    for command in ("jobs", "status"):
        plain = on_terminal(
            exaworks, command, *(["1"] if command == "status" else []), NO_COLOR="1"
        )
        assert "COMPLETED" in plain
        assert "\x1b[3" not in plain


def test_a_name_cannot_move_the_cursor(exaworks: Exaworks) -> None:
    exaworks("submit", "--name", "evil\x1b[2J[bold]\n", "--", "true")
    exaworks("wait", "1")
    for shown in (exaworks("jobs"), exaworks("status", "1"), on_terminal(exaworks, "jobs")):
        assert "\x1b[2J" not in shown
        assert r"evil\x1b[2J[bold]\n" in shown
