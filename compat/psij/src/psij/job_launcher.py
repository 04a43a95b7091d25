"""Launchers: see :mod:`exaworks.psij.job_launcher`."""

from exaworks.psij.job_launcher import (
    Launcher,
)

__all__ = [
    "Launcher",
]
