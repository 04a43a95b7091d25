"""Which executors can be used here, and why the others cannot."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import click

from exaworks.cli.errors import USAGE, Problem
from exaworks.psij import JobExecutor

__all__ = ["Usability", "choose_executor", "default_executor", "executors"]

_PREFERRED: Final = "slurm"
_FALLBACK: Final = "local"

_NOT_SET_UP: Final = "configuration source"
"""What Slurm's commands say where they are installed but belong to no cluster."""


@dataclass(frozen=True)
class Usability:
    """Whether an executor can be used here.

    Attributes:
        name: its name.
        version: its version, if it could be loaded.
        reason: why it cannot be used; ``None`` if it can.
    """

    name: str
    version: str | None
    reason: str | None

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
            found[name] = Usability(name, None, str(problem))
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
    if slurm.reason is not None and _NOT_SET_UP not in slurm.reason:
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
    return Usability(executor.name, str(executor.version), executor.unusable())
