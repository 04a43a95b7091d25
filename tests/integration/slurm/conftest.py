"""A real Slurm for the tests; they know the partitions and nodes of tests/clusters/slurm.sh."""

from __future__ import annotations

from pathlib import Path

import pytest
from slurm_cluster import why_no_slurm


@pytest.fixture(scope="session", autouse=True)
def _slurm() -> None:
    reason = why_no_slurm()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run where they were submitted from, and may leave core files there."""
    monkeypatch.chdir(tmp_path)
