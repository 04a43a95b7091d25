"""The launcher ``srun``: see :mod:`exaworks.psij.launchers.simple`."""

from exaworks.psij.launchers.simple import SrunLauncher

__all__ = ["SrunLauncher"]
