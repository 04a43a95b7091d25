"""What the tests of the drop-in share."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

REQUIRED = set(filter(None, os.environ.get("EXAWORKS_TEST_REQUIRE", "").split(",")))


def slurm_problem() -> str | None:
    try:
        done = subprocess.run(
            ["sinfo", "-h"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        return str(problem)
    return None if done.returncode == 0 and done.stdout else f"sinfo says: {done.stderr}"


@pytest.fixture(params=["local", "slurm"])
def backend(request: pytest.FixtureRequest) -> str:
    """Each executor that clients are tried on."""
    if request.param == "slurm" and (problem := slurm_problem()):
        if "slurm" in REQUIRED:
            pytest.fail(f"Slurm is required here, but not usable: {problem}")
        pytest.skip(f"no Slurm cluster to test on: {problem}")
    return str(request.param)


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAWORKS_HOME", str(tmp_path / "exaworks"))
    monkeypatch.setenv("EXAWORKS_KEEPER_IDLE", "0.5")
