"""A real Grid Engine for the tests; they know the queues of tests/clusters/gridengine.sh."""

from __future__ import annotations

from pathlib import Path

import pytest
from grid_engine_cluster import why_no_grid_engine


@pytest.fixture(scope="session", autouse=True)
def _grid_engine() -> None:
    reason = why_no_grid_engine()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run where they were submitted from, and may leave core files there."""
    monkeypatch.chdir(tmp_path)
