"""The launcher ``aprun``: see :mod:`exaworks.psij.launchers.simple`."""

from exaworks.psij.launchers.simple import AprunLauncher

__all__ = ["AprunLauncher"]
