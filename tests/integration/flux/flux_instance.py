"""Starting and stopping instances of Flux."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path


def why_no_flux() -> str | None:
    """Why there is no Flux to test with; ``None`` if there is one."""
    if shutil.which("flux") is None:
        return "NO FLUX: there is no command `flux` in PATH, so nothing of Flux is tested"
    return None


class Instance:
    """An instance of two brokers on this machine. Its address is in ``uri`` once it is entered."""

    def __init__(self, folder: Path, *options: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.options = options
        self.uri = ""
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        # Its initial program tells the address and ends when its standard input does.
        self._process = subprocess.Popen(
            [
                "flux", "start", "--test-size=2", "--test-exit-mode=leader",
                f"--test-rundir={self._rundir()}", f"-Sstatedir={self._statedir()}", *self.options,
                "sh", "-c", 'echo "$FLUX_URI"; flux getattr broker.pid; cat >/dev/null',
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={k: v for k, v in os.environ.items() if k != "FLUX_URI"},
        )  # fmt: skip
        assert self._process.stdout is not None
        self.uri = self._process.stdout.readline().strip()
        self.broker = int(self._process.stdout.readline())
        assert self.uri.startswith("local://")

    def _rundir(self) -> Path:
        path = self.folder / "run"
        path.mkdir(exist_ok=True)
        return path

    def _statedir(self) -> Path:
        path = self.folder / "state"
        path.mkdir(exist_ok=True)
        return path

    def stop(self) -> None:
        """Shut it down in good order."""
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=30)
            self._end(process)

    def kill(self) -> None:
        """Kill its brokers, without warning."""
        process, self._process = self._process, None
        assert process is not None
        os.kill(self.broker, signal.SIGKILL)
        self._end(process)

    def _end(self, process: subprocess.Popen[str]) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(ValueError, BrokenPipeError):
            process.communicate()

    def flux(self, *words: str) -> str:
        """What a command of Flux prints."""
        done = subprocess.run(
            ["flux", *words],
            env={**os.environ, "FLUX_URI": self.uri},
            stdout=subprocess.PIPE,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout

    def __enter__(self) -> Instance:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()
