"""What the tests of batch executors share."""

import os
from pathlib import Path

import pytest
from batch_fakes import FakeSlurm


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    """A stand-in for Slurm's commands, first in ``PATH``."""
    fake = FakeSlurm(tmp_path / "fake slurm")
    monkeypatch.setenv("PATH", f"{fake.folder / 'bin'}:{os.environ['PATH']}")
    return fake
