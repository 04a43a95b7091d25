"""What all tests share."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

# What must be there: a test that needs no more than that fails where it would be skipped. What a
# test needs is told by those of its markers that are described so in pyproject.toml.
REQUIRED = set(filter(None, os.environ.get("EXAWORKS_TEST_REQUIRE", "").split(",")))


# A shell's background command ignores these, and so would all programs that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    marks = {mark.name for mark in item.iter_markers()}
    needs = {
        name
        for name, _, about in (line.partition(": ") for line in item.config.getini("markers"))
        if name in marks and about.startswith("needs ")
    }
    if report.skipped and needs and needs <= REQUIRED:
        report.outcome = "failed"
        report.longrepr = f"{', '.join(sorted(needs))} is required here, but: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def _session_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exaworks-home")


@pytest.fixture(autouse=True)
def _isolated_home(_session_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test touches the files of the user who runs it."""
    monkeypatch.setenv("EXAWORKS_HOME", str(_session_home))
    monkeypatch.setenv("EXAWORKS_KEEPER_IDLE", "3")


@pytest.fixture
def local_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder of the test's own, and so a keeper of its own."""
    home = tmp_path / "exaworks-home"
    monkeypatch.setenv("EXAWORKS_HOME", str(home))
    monkeypatch.setenv("EXAWORKS_KEEPER_IDLE", "0.5")
    return home
