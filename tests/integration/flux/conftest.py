"""A real Flux for the tests: an instance of two brokers, started by ``flux start``.

The tests start instances of their own as well, so ``flux`` must be in PATH.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from flux_instance import Instance, why_no_flux


@pytest.fixture(scope="session", autouse=True)
def _flux() -> None:
    reason = why_no_flux()
    if reason is not None:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def instance(_flux: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance that all tests share."""
    with Instance(tmp_path_factory.mktemp("flux")) as started:
        yield started


@pytest.fixture
def own_instance(_flux: None, tmp_path: Path) -> Iterator[Instance]:
    """An instance of the test's own, to be harmed."""
    with Instance(tmp_path / "flux") as started:
        yield started


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run where they were submitted from, and may leave files there."""
    monkeypatch.chdir(tmp_path)
