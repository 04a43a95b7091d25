"""Launchers."""

from exaworks.psij.launchers.mpi import MpirunLauncher as MPILauncher
from exaworks.psij.launchers.simple import (
    AprunLauncher,
    JsrunLauncher,
    SingleLauncher,
    SrunLauncher,
)
from psij.launchers.multiple import MultipleLauncher
from psij.launchers.script_based_launcher import ScriptBasedLauncher

__all__ = [
    "AprunLauncher",
    "JsrunLauncher",
    "MPILauncher",
    "MultipleLauncher",
    "ScriptBasedLauncher",
    "SingleLauncher",
    "SrunLauncher",
]
