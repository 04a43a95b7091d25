"""Which executors can be used here, and why the others cannot."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import click

from exaworks.cli.errors import USAGE, Problem
from exaworks.psij import JobExecutor

__all__ = ["Usability", "choose_executor", "default_executor", "executors"]

_PREFERRED: Final = "slurm"
_FALLBACK: Final = "local"

SLURM_TIMEOUT: Final = 3.0
"""Seconds that Slurm's controller may take to answer."""


@dataclass(frozen=True)
class Usability:
    """Whether an executor can be used here.

    Attributes:
        name: its name.
        version: its version, if it could be loaded.
        reason: why it cannot be used; ``None`` if it can.
        installed: whether what it needs seems to be installed, so that a problem may pass.
    """

    name: str
    version: str | None
    reason: str | None
    installed: bool = True

    @property
    def usable(self) -> bool:
        """Whether it can be used."""
        return self.reason is None


def executors() -> list[Usability]:
    """All executors, in order of name; aliases are left out."""
    found: dict[object, Usability] = {}
    for name in sorted(JobExecutor.get_executor_names()):
        try:
            executor = JobExecutor.get_instance(name)
        except ValueError as problem:
            found[name] = Usability(name, None, str(problem), installed=False)
            continue
        if type(executor) not in found:
            found[type(executor)] = _examine(executor)
    return sorted(found.values(), key=lambda usability: usability.name)


def choose_executor(given: str | None) -> str:
    """The executor to submit to.

    Args:
        given: the one that was asked for; ``None``: ``EXAWORKS_EXECUTOR``, else ``slurm`` if it
            can be used here, else ``local``.

    Raises:
        Problem: there is none of that name.
    """
    source = "--executor"
    if given is None and os.environ.get("EXAWORKS_EXECUTOR"):
        given, source = os.environ["EXAWORKS_EXECUTOR"], "EXAWORKS_EXECUTOR"
    if given is not None:
        if given not in JobExecutor.get_executor_names():
            known = ", ".join(sorted(JobExecutor.get_executor_names()))
            raise Problem(
                f"{source} is {given!r}, but there is no such executor.",
                f"There are: {known}.",
                USAGE,
            )
        return given
    if shutil.which("sbatch") is None:
        return _FALLBACK
    slurm = _examine(JobExecutor.get_instance(_PREFERRED))
    if slurm.reason is not None and slurm.installed:
        click.echo(
            f"Note: Slurm does not answer, so the job goes to this machine ({slurm.reason})",
            err=True,
        )
    return _PREFERRED if slurm.usable else _FALLBACK


def default_executor(found: Sequence[Usability]) -> str:
    """The executor that :func:`choose_executor` would choose."""
    usable = [one.name for one in found if one.usable]
    return os.environ.get("EXAWORKS_EXECUTOR") or (
        _PREFERRED if _PREFERRED in usable else _FALLBACK
    )


def _examine(executor: JobExecutor) -> Usability:
    reason, installed = executor.unusable(), True
    if reason is None and executor.name == _PREFERRED:
        reason, installed = _slurm()
    return Usability(executor.name, str(executor.version), reason, installed)


def _slurm() -> tuple[str | None, bool]:
    """Why Slurm cannot be used, if so; and whether it is set up here at all."""
    missing = [name for name in ("sbatch", "squeue") if shutil.which(name) is None]
    if missing:
        return f"{' and '.join(missing)} not found in PATH", False
    try:
        done = subprocess.run(
            ["scontrol", "ping"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SLURM_TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"the controller has not answered within {SLURM_TIMEOUT:g} s", True
    except OSError as problem:
        return f"scontrol cannot be run: {problem}", False
    if done.returncode == 0:
        return None, True
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    telling = [line for line in lines if "fatal:" in line or "DOWN" in line] or lines
    words = telling[0] if telling else f"exit code {done.returncode}"
    return f"scontrol ping: {words}", "configuration source" not in words
