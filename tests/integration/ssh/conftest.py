"""A real sshd for the tests: tests/clusters/sshd.sh."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "clusters" / "sshd.sh"


@pytest.fixture(autouse=True)
def _sshd(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = os.environ.get("EXAWORKS_TEST_SSH_CONFIG")
    if config is None or subprocess.run([SCRIPT, "status"]).returncode:
        pytest.skip(f"there is no sshd here: run '{SCRIPT} start' and eval \"$({SCRIPT} env)\"")
    monkeypatch.setenv("EXAWORKS_SSH", f"ssh -F {config}")
    monkeypatch.chdir(tmp_path)
