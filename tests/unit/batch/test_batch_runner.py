"""Running commands on this machine."""

import os
import sys
import time
from pathlib import Path

import pytest

from exaworks.psij.runner import Command, LocalRunner

runner = LocalRunner(timeout=30)


def test_input_and_output() -> None:
    result = runner.run(Command(("sh", "-c", "cat; echo err >&2; exit 3"), b"in\xff"))
    assert (result.returncode, os.fsencode(result.stdout)) == (3, b"in\xff")
    assert result.stderr == "err\n"
    assert not result.ok
    assert result.complaint() == "err"


def test_arguments_of_any_bytes() -> None:
    word = os.fsdecode(b"a \xff'\"\n$x")
    assert runner.run(Command(("printf", "%s", word))).stdout == word


def test_a_missing_program() -> None:
    result = runner.run(Command(("no-such-program-anywhere",)))
    assert result.missing
    assert not result.unanswered
    assert "no-such-program-anywhere" in result.complaint()


def test_a_program_that_cannot_be_executed(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    result = runner.run(Command((str(tmp_path / "x"),)))
    assert not result.ok
    assert not result.missing
    assert result.complaint()


def test_a_program_that_hangs() -> None:
    before = time.monotonic()
    result = runner.run(Command(("sh", "-c", "echo said; exec sleep 60"), timeout=0.3))
    assert time.monotonic() - before < 30
    assert result.unanswered
    assert (result.returncode, result.stdout) == (None, "said\n")
    assert "in time" in result.complaint()


def test_a_program_whose_children_keep_its_output_open() -> None:
    before = time.monotonic()
    result = runner.run(Command(("sh", "-c", "sleep 60 & echo said"), timeout=0.5))
    assert time.monotonic() - before < 30
    assert result.unanswered


def test_a_child_in_a_session_of_its_own_cannot_make_us_wait() -> None:
    before = time.monotonic()
    result = runner.run(Command(("sh", "-c", "setsid sleep 8 & echo said; wait"), timeout=0.5))
    assert time.monotonic() - before < 7
    assert (result.unanswered, result.stdout) == (True, "said\n")


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SQUEUE_A", "SQUEUE_B", "SBATCH_WAIT", "SBATCH_WAIT4SWITCH"):
        monkeypatch.setenv(name, "1")
    command = Command(
        (
            sys.executable,
            "-c",
            "import os; print(sorted(n for n in os.environ if n[:2] in ('SQ', 'SB', 'XY')))",
        ),
        environment={"XYZ": "x"},
        unset=("SQUEUE_*", "SBATCH_WAIT"),
    )
    assert runner.run(command).stdout.strip() == "['SBATCH_WAIT4SWITCH', 'XYZ']"


def test_files(tmp_path: Path) -> None:
    path = str(tmp_path / "new" / "x")
    assert runner.read_many([path]).get(path) is None
    assert runner.read_folder(str(tmp_path / "new")) == []
    runner.write(path, b"0123456789")
    file = runner.read_many([path]).get(path)
    assert file is not None
    assert (file.name, file.data) == ("x", b"0123456789")
    tail = runner.read_many([path], last=3).get(path)
    assert tail is not None
    assert tail.data == b"789"
    assert [f.name for f in runner.read_folder(str(tmp_path / "new"))] == ["x"]
    assert runner.folders(str(tmp_path)) == ["new"]
    assert runner.folders(str(tmp_path / "none")) == []
    runner.remove([path, str(tmp_path / "none")])
    assert runner.read_many([path]).get(path) is None
