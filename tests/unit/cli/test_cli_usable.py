"""Which executor is chosen, and what is said of the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from exaworks.cli.errors import USAGE, Problem
from exaworks.cli.usable import choose_executor, executors

FakeSlurm = Callable[[str], None]


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """Puts programs of Slurm first in PATH; ``scontrol`` does what is asked for."""

    def make(scontrol: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        for name, body in (("sbatch", "true"), ("squeue", "true"), ("scontrol", scontrol)):
            (folder / name).write_text(f"#!/bin/sh\n{body}\n")
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")

    return make


def slurm_reason() -> str | None:
    (found,) = (one for one in executors() if one.name == "slurm")
    return found.reason


def test_local_can_always_be_used() -> None:
    (local,) = (one for one in executors() if one.name == "local")
    assert local.usable
    assert local.version


def test_without_slurm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "not in PATH" in (slurm_reason() or "")
    assert choose_executor(None) == "local"
    assert capsys.readouterr().err == ""


def test_with_a_slurm_that_answers(fake_slurm: FakeSlurm) -> None:
    fake_slurm("exit 0")
    assert slurm_reason() is None
    assert choose_executor(None) == "slurm"


def test_with_a_slurm_that_is_down(fake_slurm: FakeSlurm, capsys) -> None:  # type: ignore[no-untyped-def]
    fake_slurm("echo 'Slurmctld(primary) at head is DOWN'; exit 1")
    assert "DOWN" in (slurm_reason() or "")
    assert choose_executor(None) == "local"
    assert "this machine" in capsys.readouterr().err


def test_what_was_asked_for(monkeypatch: pytest.MonkeyPatch, fake_slurm: FakeSlurm) -> None:
    fake_slurm("exit 0")
    assert choose_executor("local") == "local"
    monkeypatch.setenv("EXAWORKS_EXECUTOR", "local")
    assert choose_executor(None) == "local"
    assert choose_executor("slurm") == "slurm"


def test_unknown_executors_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Problem, match="--executor is 'nqs'") as caught:
        choose_executor("nqs")
    assert caught.value.exit_code == USAGE
    assert "local" in (caught.value.hint or "")
    monkeypatch.setenv("EXAWORKS_EXECUTOR", "nqs")
    with pytest.raises(Problem, match="EXAWORKS_EXECUTOR is 'nqs'"):
        choose_executor(None)


def test_the_command(exaworks, fake_slurm: FakeSlurm) -> None:  # type: ignore[no-untyped-def]
    fake_slurm("exit 1")
    data = {one["name"]: one for one in json.loads(exaworks("executors", "--json").stdout)}
    assert data["local"]["usable"]
    assert data["local"]["default"]
    assert not data["slurm"]["usable"]
    assert data["slurm"]["reason"]
    table = exaworks("executors").stdout
    assert "local *" in table
    assert data["slurm"]["reason"] in table
