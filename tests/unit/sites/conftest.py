"""What the tests of site profiles share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def _no_other_profiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only profiles that come with the package, and those that a test writes."""
    for name in ("home", "system", "project"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("EXAWORKS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EXAWORKS_SITES_SYSTEM", str(tmp_path / "system"))
    monkeypatch.chdir(tmp_path / "project")


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file, such as ``home/sites.toml``, and returns its path."""

    def make(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return make
