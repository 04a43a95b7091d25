"""``exaworks run`` on this machine."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cli_program import Exaworks, runs

from patience import TIMEOUT, until

BYTES = """
import os, sys
for stream, seed in ((1, b"out"), (2, b"err")):
    data = b"".join(hashlib.sha256(seed + str(n).encode()).digest() for n in range(4000))
    os.write(stream, data[:1000])
    rest = data[1000:]
    while rest:
        rest = rest[os.write(stream, rest):]
"""


def only_job(exaworks: Exaworks) -> dict[str, object]:
    (job,) = exaworks.json("jobs")
    return dict(job)


def test_output_error_and_exit_code(exaworks: Exaworks) -> None:
    out, err = exaworks.both("run", "--", "sh", "-c", "echo out; echo err >&2; exit 3", code=3)
    assert (out, err) == ("out\n", "err\n")
    job = only_job(exaworks)
    assert (job["state"], job["exit_code"], job["name"]) == ("FAILED", 3, "sh")


def test_a_job_that_is_well(exaworks: Exaworks) -> None:
    assert exaworks.both("run", "true") == ("", "")
    assert only_job(exaworks)["state"] == "COMPLETED"


def test_output_arrives_byte_by_byte(exaworks: Exaworks) -> None:
    process = exaworks.start("run", "--", sys.executable, "-c", "import hashlib" + BYTES)
    out, err = process.communicate(timeout=TIMEOUT)
    for got, seed in ((out, b"out"), (err, b"err")):
        data = b"".join(hashlib.sha256(seed + str(n).encode()).digest() for n in range(4000))
        assert got == data
    assert process.returncode == 0


def test_output_arrives_while_the_job_runs(exaworks: Exaworks, tmp_path: Path) -> None:
    script = "echo one; until [ -e go ]; do sleep 0.05; done; echo two >&2; echo three"
    process = exaworks.start("run", "--", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"one\n"
    assert process.poll() is None
    (tmp_path / "go").touch()
    out, err = process.communicate(timeout=TIMEOUT)
    assert (out, err, process.returncode) == (b"three\n", b"two\n", 0)


def test_notes_if_asked_for(exaworks: Exaworks) -> None:
    out, err = exaworks.both("run", "-v", "--name", "a\nb", "--", "sh", "-c", "exit 4", code=4)
    assert out == ""
    assert r"job 1 (local " in err
    assert r"submitted: a\nb" in err
    assert "FAILED with exit code 4" in err


@pytest.mark.parametrize(("number", "code"), [(signal.SIGSEGV, 139), (signal.SIGKILL, 137)])
def test_a_job_ended_by_a_signal(exaworks: Exaworks, number: int, code: int) -> None:
    exaworks("run", "--", "sh", "-c", f"ulimit -c 0; kill -{int(number)} $$", code=code)
    assert only_job(exaworks)["signal"] == number


def test_a_job_that_cannot_be_started(exaworks: Exaworks) -> None:
    out, err = exaworks.both("run", "--", "/no/such/program", code=127)
    assert out == ""
    assert "/no/such/program" in err
    assert len(err.splitlines()) == 1
    assert "/no/such/program" in exaworks("explain", "1")


def test_a_job_that_runs_out_of_time(exaworks: Exaworks) -> None:
    _, err = exaworks.both("run", "--time", "0.3s", "--", "sleep", "600", code=124)
    assert "FAILED" in err
    text = exaworks("explain", "1")
    assert "local says: exceeded its duration of 0.3 s" in text
    assert "--time" in text


def test_a_job_that_is_refused(exaworks: Exaworks) -> None:
    out, err = exaworks.both("run", "--launcher", "nope", "--", "true", code=3)
    assert out == ""
    assert "launcher is 'nope'" in err
    assert len(err.splitlines()) <= 2
    assert exaworks.json("jobs") == []
    assert list((exaworks.home / "cli" / "output").iterdir()) == []


def test_files_that_were_there_before_are_not_taken_for_output(
    exaworks: Exaworks, tmp_path: Path
) -> None:
    (tmp_path / "out").write_text("of yesterday\n")
    assert exaworks("run", "--stdout", "out", "--", "echo", "of today") == "of today\n"
    assert (tmp_path / "out").read_text() == "of today\n"
    assert exaworks("run", "--stdout", "out", "--", "/no/such/program", code=127) == ""


def test_both_streams_in_one_file_are_shown_once(exaworks: Exaworks, tmp_path: Path) -> None:
    arguments = ["--stdout", "all", "--stderr", "all", "--", "sh", "-c", "echo a; echo b >&2"]
    assert exaworks.both("run", *arguments) == ("a\nb\n", "")


def test_the_surroundings_of_the_job(exaworks: Exaworks, tmp_path: Path) -> None:
    (tmp_path / "input").write_text("typed\n")
    (tmp_path / "sub").mkdir()
    script = "cat; pwd; echo $A ${B-unset} ${EXAWORKS_HOME-clean}"
    out = exaworks(
        *("run", "-C", "sub", "--stdin", str(tmp_path / "input"), "-E", "A=1 2", "--clean-env"),
        *("--", "/bin/sh", "-c", script),
    )
    assert out == f"typed\n{tmp_path}/sub\n1 2 unset clean\n"


def test_ctrl_c_stops_the_job(exaworks: Exaworks) -> None:
    process = exaworks.start("run", "--", "sh", "-c", "echo $$; exec sleep 600")
    assert process.stdout is not None
    pid = process.stdout.readline().decode().strip()
    assert runs(pid)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert b"Traceback" not in err
    assert not runs(pid)
    assert only_job(exaworks)["state"] == "CANCELED"


def test_a_job_may_end_well_after_ctrl_c(exaworks: Exaworks) -> None:
    script = "trap 'echo saved; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
    process = exaworks.start("run", "--", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=TIMEOUT)
    assert out == b"saved\n"
    assert process.returncode == 130


def test_sigterm_stops_the_job(exaworks: Exaworks) -> None:
    process = exaworks.start("run", "--", "sh", "-c", "echo $$; exec sleep 600")
    assert process.stdout is not None
    pid = process.stdout.readline().decode().strip()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == 143
    assert not runs(pid)


def test_a_second_ctrl_c_leaves_the_job_and_tells_where_it_is(exaworks: Exaworks) -> None:
    script = "trap 'echo asked >> asked' TERM; echo $$; while :; do sleep 0.05; done"
    process = exaworks.start("run", "--", "sh", "-c", script)
    assert process.stdout is not None
    pid = process.stdout.readline().decode().strip()
    process.send_signal(signal.SIGINT)
    until((exaworks.folder / "asked").exists)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert runs(pid)
    assert b"exaworks status 1" in err
    assert b"exaworks logs -f 1" in err
    assert exaworks.state("1") == "ACTIVE"


def test_a_job_whose_reader_goes_away_is_stopped(exaworks: Exaworks) -> None:
    reader, writer = os.pipe()
    script = "echo $$ > pid; while :; do echo line; sleep 0.02; done"
    process = exaworks.start("run", "--", "sh", "-c", script, stdout=writer)
    os.close(writer)
    assert os.read(reader, 5) == b"line\n"
    os.close(reader)
    _, err = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, err) == (141, b"")
    pid = (exaworks.folder / "pid").read_text().strip()
    until(lambda: not runs(pid))


def test_killing_the_program_does_not_harm_the_job(exaworks: Exaworks, tmp_path: Path) -> None:
    script = "echo begun; until [ -e go ]; do sleep 0.05; done; echo done; exit 5"
    process = exaworks.start("run", "--", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    process.kill()
    process.wait(TIMEOUT)
    assert exaworks.state("1") == "ACTIVE"
    (tmp_path / "go").touch()
    assert exaworks("wait", "1", code=1) == "1 FAILED with exit code 5\n"
    assert exaworks("logs", "1") == "begun\ndone\n"


def test_staging_and_cleanup(exaworks: Exaworks, tmp_path: Path) -> None:
    (tmp_path / "data").write_text("payload")
    (tmp_path / "job").mkdir()
    exaworks(
        *("run", "-C", "job", "--stage-in", "data:in", "--stage-out", "out:result:on-success"),
        *("--cleanup", "in", "--", "sh", "-c", "tr a-z A-Z < in > out"),
    )
    assert (tmp_path / "result").read_text() == "PAYLOAD"
    assert sorted(p.name for p in (tmp_path / "job").iterdir()) == ["out"]


def test_several_processes(exaworks: Exaworks) -> None:
    script = "echo x"
    out = exaworks("run", "-n", "3", "--launcher", "multiple", "--", "sh", "-c", script)
    assert out == "x\nx\nx\n"
    out, err = exaworks.both("run", "-n", "3", "--", "sh", "-c", script)
    assert out == "x\n"
    assert "--launcher" in err


def test_on_a_terminal_there_are_notes(exaworks: Exaworks) -> None:
    controller, terminal = os.openpty()
    process = exaworks.start("run", "--", "sh", "-c", "echo out; exit 3", stderr=terminal)
    os.close(terminal)
    out, _ = process.communicate(timeout=TIMEOUT)
    said = os.read(controller, 10000).decode()
    os.close(controller)
    assert out == b"out\n"
    assert "submitted" in said
    assert "FAILED with exit code 3" in said
    assert process.returncode == 3


def test_the_program_under_its_own_name(exaworks: Exaworks) -> None:
    program = Path(sys.executable).parent / "exaworks"
    done = subprocess.run(
        [program, "run", "--", "echo", "hello"],
        env=exaworks.environment,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, b"hello\n")
