"""pydra's PSI/J worker, from PyPI, runs tasks on the drop-in."""

import os
import subprocess
import sys
from pathlib import Path

from client_tools import need_client

need_client("pydra")

PROGRAM = """
import sys
import pydra

@pydra.mark.task
def add(a, b):
    return a + b

if __name__ == "__main__":
    task = add(a=2, b=3, cache_dir=sys.argv[2])
    with pydra.Submitter(plugin="psij-" + sys.argv[1]) as submitter:
        task(submitter=submitter)
    print("result", task.result().output.out)
"""


def test_task(backend: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "program.py", backend, str(tmp_path / "cache")], cwd=tmp_path,
        capture_output=True, text=True, timeout=280, env={**os.environ, "PATH": path},
    )  # fmt: skip
    assert "result 5" in done.stdout, done.stdout + done.stderr
