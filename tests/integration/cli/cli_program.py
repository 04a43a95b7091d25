"""The program as a user runs it, for tests: in processes of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from patience import TIMEOUT


def runs(pid: str) -> bool:
    """Whether a process runs (a dead one that was not yet waited for does not)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class Exaworks:
    """Runs ``exaworks`` in a folder, with a home folder of its own."""

    def __init__(self, folder: Path, executor: str) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.environment = {
            **os.environ,
            "EXAWORKS_HOME": str(self.home),
            "EXAWORKS_EXECUTOR": executor,
            "EXAWORKS_KEEPER_IDLE": "0.5",
        }
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str, **more: Any) -> subprocess.Popen[bytes]:
        """Start a command and do not wait for it."""
        options = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            **more,
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "exaworks.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            start_new_session=True,
            **options,
        )
        self._started.append(process)
        return process

    def __call__(self, *arguments: str, code: int = 0, **more: Any) -> str:
        """Run a command, check its exit code, and return what it printed."""
        return self.both(*arguments, code=code, **more)[0]

    def both(self, *arguments: str, code: int = 0, text: str | None = None) -> tuple[str, str]:
        """Like a call; returns what it printed to standard output and to standard error."""
        pipe = subprocess.DEVNULL if text is None else subprocess.PIPE
        process = self.start(*arguments, stdin=pipe)
        out, err = process.communicate(None if text is None else text.encode(), timeout=TIMEOUT)
        assert process.returncode == code, (arguments, process.returncode, out, err)
        return out.decode(), err.decode()

    def json(self, *arguments: str) -> Any:
        """What a command prints as JSON."""
        return json.loads(self(*arguments, "--json"))

    def state(self, id: str) -> str:
        """The state of a job."""
        return str(self.json("status", id)[0]["state"])

    def end(self) -> None:
        """End all that was started: programs, and jobs that have not ended."""
        for process in self._started:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
            process.communicate()
        if (self.home / "cli" / "jobs.db").exists():
            self.start("cancel", "--all", "--yes").communicate(timeout=TIMEOUT)
