"""How values are written into templates."""

from __future__ import annotations

import shlex
from pathlib import Path

__all__ = ["bash_escape"]


def bash_escape(o: object) -> str:
    """A value as one word of shell: numbers as they are, paths absolute, the rest quoted."""
    if isinstance(o, (int, float)):
        return str(o)
    return shlex.quote(str(o.absolute() if isinstance(o, Path) else o))
