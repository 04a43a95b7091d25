"""Where ExaWorks keeps its files, and switches from the environment."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["flag", "home"]


def home() -> Path:
    """The folder for everything ExaWorks keeps for this user.

    ``EXAWORKS_HOME`` if set, else ``~/.exaworks``. On a cluster it must be on a file system that
    login and compute nodes share. The folder is not made here.

    Raises:
        OSError: the variable is not set, and the user has no home directory.
    """
    given = os.environ.get("EXAWORKS_HOME")
    if given:
        return Path(given).absolute()
    try:
        return Path.home() / ".exaworks"
    except RuntimeError as problem:
        raise OSError(
            "there is no home directory to keep files of ExaWorks in; set EXAWORKS_HOME to a folder"
        ) from problem


def flag(name: str) -> bool:
    """Whether the environment variable ``name`` switches something on.

    Unset, empty, ``0``, ``false``, ``no`` and ``off`` mean no; anything else means yes.
    """
    return os.environ.get(name, "").lower() not in ("", "0", "false", "no", "off")
