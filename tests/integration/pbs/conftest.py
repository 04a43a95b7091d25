"""A real PBS for the tests: PBS Pro, OpenPBS or Torque, whatever the commands in PATH belong to."""

from __future__ import annotations

from pathlib import Path

import pytest
from pbs_system import why_no_pbs


@pytest.fixture(scope="session", autouse=True)
def _pbs() -> None:
    reason = why_no_pbs()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run where they were submitted from, and may leave core files there."""
    monkeypatch.chdir(tmp_path)
