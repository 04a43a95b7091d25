"""Version and system configuration, as an API and as a command."""

from __future__ import annotations

import json
import os
import platform
import stat
from pathlib import Path

import pytest

import exaworks as package
from exaworks.core.system import system_info


def test_what_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXAWORKS_PSIJ_ALL_STATES", "1")
    info = system_info()
    assert info["exaworks"] == package.__version__
    assert info["python"]["version"] == platform.python_version()
    assert info["packages"]["click"]
    assert info["platform"]["hostname"] == os.uname().nodename
    assert info["platform"]["cpus"] >= info["platform"]["usable_cpus"] >= 1
    assert info["paths"]["home"] == str(tmp_path / "home")
    assert Path(info["paths"]["package"], "core", "system.py").exists()
    assert info["environment"]["EXAWORKS_PSIJ_ALL_STATES"] == "1"
    assert "PATH" not in info["environment"]
    assert json.loads(json.dumps(info)) == info


@pytest.mark.parametrize(
    ("body", "version"),
    [
        ("echo slurm-wlm 99.1; echo more", "slurm-wlm 99.1"),
        ("exit 1", None),
        ("exec sleep 60", None),
    ],
)
def test_programs_are_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, body: str, version: str | None
) -> None:
    program = tmp_path / "sbatch"
    program.write_text(f"#!/bin/sh\n{body}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("exaworks.core.system._TIMEOUT", 0.5)
    assert system_info()["tools"]["slurm"] == {"path": str(program), "version": version}


def test_programs_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert system_info()["tools"] == {}


def test_the_command(exaworks, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    data = json.loads(exaworks("info", "--json").stdout)
    assert data["exaworks"] == package.__version__
    assert data["executors"]["local"]["usable"] is True
    assert data["paths"]["jobs"] == str(tmp_path / "home" / "cli" / "jobs.db")
    text = exaworks("info").stdout
    for part in (package.__version__, data["paths"]["work"], data["platform"]["hostname"], "local"):
        assert part in text
