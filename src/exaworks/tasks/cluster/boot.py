"""How an agent is started: what to run, and what it is told."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import exaworks

__all__ = ["SETTINGS", "Boot", "read_settings", "run_agent"]

SETTINGS = "EXAWORKS_AGENT"
"""The variable that tells an agent where its engine is, and their secret: JSON in Base64."""

_COMMAND = (
    "import sys; sys.path[:0] = [sys.argv.pop(1)]; "
    "from exaworks.tasks.cluster.agent import main; main()"
)
_TAIL = 2000


@dataclass(frozen=True)
class Boot:
    """What a source needs to start agents.

    Attributes:
        settings: what agents are told.
        failed: to be called, from any thread, with the reason when the source has ended, or cannot
            bring agents (any more).
        python: the interpreter on the nodes.
    """

    settings: Mapping[str, Any]
    failed: Callable[[str], None]
    python: str

    def words(self) -> list[str]:
        """The command that is an agent."""
        package = os.path.dirname(os.path.dirname(os.path.abspath(exaworks.__file__)))
        return [self.python, "-c", _COMMAND, package]

    def environment(self, **settings: Any) -> dict[str, str]:
        """The variables that it needs.

        Args:
            settings: further ones for this agent: ``cores``, ``gpus``, ``memory``, ``name``,
                ``parent`` (it ends when its standard input does).
        """
        text = json.dumps({**self.settings, **settings})
        return {SETTINGS: base64.b64encode(text.encode()).decode()}


def read_settings() -> dict[str, Any]:
    """What this agent was told; the variable goes, so that no task can read it.

    Raises:
        SystemExit: it was told nothing.
    """
    text = os.environ.pop(SETTINGS, None)
    if text is None:
        raise SystemExit(f"an agent is started by an engine, which sets {SETTINGS}")
    settings: dict[str, Any] = json.loads(base64.b64decode(text))
    return settings


def run_agent(words: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run an agent as a child of this process, and wait for its end: for workers of other systems.

    The agent ends when this process does, in whatever way.

    Returns:
        why it has ended: nothing, if it was told to.
    """
    with subprocess.Popen(
        words,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
    ) as process:
        assert process.stderr is not None
        said = process.stderr.read()
        code = process.wait()
    if code == 0:
        return ""
    text = said.decode("utf-8", "replace").strip()
    return f"an agent has exited with code {code}: {text[-_TAIL:]}"
