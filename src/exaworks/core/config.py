"""Where ExaWorks keeps its files, and switches from the environment."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["flag", "home"]


def home() -> Path:
    """The folder for everything ExaWorks keeps for this user.

    ``EXAWORKS_HOME`` if set, else ``~/.exaworks``. On a cluster it must be on a file system that
    login and compute nodes share. The folder is not made here.
    """
    given = os.environ.get("EXAWORKS_HOME")
    return Path(given).absolute() if given else Path.home() / ".exaworks"


def flag(name: str) -> bool:
    """Whether the environment variable ``name`` switches something on.

    Unset, empty, ``0``, ``false``, ``no`` and ``off`` mean no; anything else means yes.
    """
    return os.environ.get(name, "").lower() not in ("", "0", "false", "no", "off")
