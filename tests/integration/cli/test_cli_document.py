"""The examples of docs/cli.md are run, in order, in one shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from cli_program import Exaworks

DOCUMENT = Path(__file__).parents[3] / "docs" / "cli.md"


def examples() -> list[tuple[str, str]]:
    """The commands, each with what it is said to print."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"```console\n(.*?)```", DOCUMENT.read_text(), re.DOTALL):
        for line in block.splitlines():
            if line.startswith("$ "):
                found.append((line[2:], ""))
            else:
                command, printed = found[-1]
                found[-1] = (command, f"{printed}{line}\n")
    return found


def fits(printed: str, expected: str) -> bool:
    """Whether output is as expected, where ``...`` stands for anything."""
    pattern = ".*".join(re.escape(part) for part in expected.split("..."))
    return re.fullmatch(pattern.replace(r".*\n", ".*\n?"), printed, re.DOTALL) is not None


def test_what_the_document_shows(exaworks: Exaworks) -> None:
    commands = examples()
    assert len(commands) > 20
    # A mark after each command, which leaves its exit code for the next one.
    script = "".join(
        f"{command}\n{{ status=$?; echo '@@@'; (exit $status); }}\n" for command, _ in commands
    )
    folder = str(Path(sys.executable).parent)
    done = subprocess.run(
        ["bash"],
        input=script,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=exaworks.folder,
        env={**exaworks.environment, "PATH": f"{folder}:{os.environ['PATH']}"},
        check=False,
    )
    outputs = done.stdout.split("@@@\n")
    assert len(outputs) == len(commands) + 1, done.stdout
    for (command, expected), printed in zip(commands, outputs, strict=False):
        assert fits(printed, expected), f"$ {command}\n{printed}but not:\n{expected}"
