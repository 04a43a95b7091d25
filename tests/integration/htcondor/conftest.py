"""A real HTCondor for the tests; they know the pool of tests/clusters/condor.sh."""

from __future__ import annotations

from pathlib import Path

import pytest
from htcondor_pool import why_no_htcondor


@pytest.fixture(scope="session", autouse=True)
def _htcondor() -> None:
    reason = why_no_htcondor()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run where they were submitted from, and may leave core files there."""
    monkeypatch.chdir(tmp_path)
