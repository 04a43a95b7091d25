"""What all tests share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def _session_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exaworks-home")


@pytest.fixture(autouse=True)
def _isolated_home(_session_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the files of the user who runs it."""
    monkeypatch.setenv("EXAWORKS_HOME", str(_session_home))
    monkeypatch.setenv("EXAWORKS_KEEPER_IDLE", "3")


@pytest.fixture
def local_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A home folder of the test's own, and so a keeper of its own."""
    home = tmp_path / "exaworks-home"
    monkeypatch.setenv("EXAWORKS_HOME", str(home))
    monkeypatch.setenv("EXAWORKS_KEEPER_IDLE", "0.5")
    yield home
