"""What importing the package does, and does not do."""

import subprocess
import sys
from pathlib import Path

import pytest

PROBE = """
import sys, threading, os, signal
before = set(sys.modules)
import exaworks.psij
mine = {m for m in set(sys.modules) - before if m.startswith("exaworks.")}
tops = {".".join(m.split(".")[:2]) for m in mine}
assert tops <= {"exaworks.core", "exaworks.psij"}, tops
assert threading.active_count() == 1
assert os.listdir("/proc/self/task") == [str(os.getpid())]
assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
for heavy in ("asyncio", "subprocess", "socket", "importlib.metadata", "packaging", "sqlite3"):
    assert heavy not in sys.modules, heavy
for name in exaworks.psij.__all__:
    getattr(exaworks.psij, name)
"""


def test_import_has_no_side_effects() -> None:
    result = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


def test_import_without_a_home_directory() -> None:
    """As in a container that runs under the number of a user who has no account."""
    code = (
        "import os, pwd\n"
        "def nobody(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = nobody\n"
        "os.environ.pop('HOME', None); os.environ.pop('EXAWORKS_HOME', None)\n"
        "import exaworks.psij\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")


def test_home_without_a_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    from exaworks.core import config

    monkeypatch.delenv("EXAWORKS_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("none")))
    with pytest.raises(OSError, match="set EXAWORKS_HOME"):
        config.home()
