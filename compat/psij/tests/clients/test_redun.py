"""redun-psij, from PyPI, runs a workflow on the drop-in."""

import os
import subprocess
import sys
from pathlib import Path

from client_tools import need_client

need_client("redun_psij")

CONFIG = "{ tools: { default: { executor: '%s', job_attributes: { duration: { minutes: 5 } } } } }"

WORKFLOW = """
from redun import File, Scheduler, task
from redun_psij import Job1Spec, run_job_1

redun_namespace = "drop_in"

@task()
def double(number: int) -> File:
    return run_job_1(Job1Spec(
        tool="double", args=["/bin/sh", "-c", f"echo $((2 * {number})) > {number}.txt"],
        stdout_path=f"{number}.out", stderr_path=f"{number}.err", expected_path=f"{number}.txt",
    ))

@task()
def total(files: list[File]) -> int:
    return sum(int(file.read()) for file in files)

@task()
def main() -> int:
    return total([double(number) for number in range(4)])

print("total", Scheduler().run(main()))
"""


def test_workflow(backend: str, tmp_path: Path) -> None:
    (tmp_path / "psij-executor.jsonnet").write_text(CONFIG % backend)
    (tmp_path / "workflow.py").write_text(WORKFLOW)
    done = subprocess.run(
        [sys.executable, "workflow.py"], cwd=tmp_path, capture_output=True, text=True, timeout=280,
        env={**os.environ, "PSIJ_EXECUTOR_CONFIG_PATH": str(tmp_path)},
    )  # fmt: skip
    assert "total 12" in done.stdout, done.stdout + done.stderr
