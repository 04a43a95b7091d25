"""What the unit tests of the command line share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from exaworks.cli.app import application
from exaworks.cli.store import Store

Exaworks = Callable[..., Result]


@pytest.fixture(autouse=True)
def _own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXAWORKS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("EXAWORKS_EXECUTOR", raising=False)
    monkeypatch.delenv("EXAWORKS_DEBUG", raising=False)


@pytest.fixture
def store() -> Iterator[Store]:
    opened = Store()
    yield opened
    opened.close()


@pytest.fixture
def exaworks() -> Exaworks:
    """Runs a command line in this process."""

    def run(*arguments: str, **more: str) -> Result:
        return CliRunner().invoke(application, list(arguments), **more)

    return run
