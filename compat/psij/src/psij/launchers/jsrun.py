"""The launcher ``jsrun``: see :mod:`exaworks.psij.launchers.simple`."""

from exaworks.psij.launchers.simple import JsrunLauncher

__all__ = ["JsrunLauncher"]
