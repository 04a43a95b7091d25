"""A real OAR for the tests; they know the nodes of tests/clusters/oar.sh."""

from __future__ import annotations

from pathlib import Path

import pytest
from oar_system import why_no_oar


@pytest.fixture(scope="session", autouse=True)
def _oar() -> None:
    reason = why_no_oar()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run where they were submitted from, and may leave core files there."""
    monkeypatch.chdir(tmp_path)
