"""The launcher ``single``: see :mod:`exaworks.psij.launchers.simple`."""

from exaworks.psij.launchers.simple import SingleLauncher

__all__ = ["SingleLauncher"]
