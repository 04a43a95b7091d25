"""Each test gets a home of its own; whatever it started there is gone afterwards."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from keeper_client import Client
from keeper_helpers import processes_with

from patience import until

TEST_VARIABLE = "EXAWORKS_KEEPER_TEST"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(TEST_VARIABLE, str(tmp_path))
    for name in ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID", "EXAWORKS_JOB_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path / "home"
    text = str(tmp_path)

    def none_left() -> bool:
        found = processes_with(text)
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        return not found

    until(none_left)


@pytest.fixture
def client(home: Path) -> Iterator[Client]:
    with Client(home) as connection:
        yield connection
