"""The program, with real executors."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_program import Exaworks


@pytest.fixture
def exaworks(tmp_path: Path) -> Iterator[Exaworks]:
    """The program, with jobs on this machine."""
    program = Exaworks(tmp_path, "local")
    yield program
    program.end()


@pytest.fixture
def on_slurm(tmp_path: Path) -> Iterator[Exaworks]:
    """The program, with jobs on a real Slurm."""
    if (
        shutil.which("scontrol") is None
        or subprocess.run(["scontrol", "ping"], capture_output=True, check=False).returncode
    ):
        pytest.skip("no Slurm answers here")
    program = Exaworks(tmp_path, "slurm")
    yield program
    program.end()
