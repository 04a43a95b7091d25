"""Environments for jobs of schedulers that do not hand them on as they are.

The script of such a job carries the environment of whoever submitted it behind its end, in
comments. It must lie in a file (:attr:`SchedulerAdapter.script_file`), which only its owner can
read.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["INHERIT", "carrying"]

INHERIT = """eval "$(LC_ALL=C command -p sed -n 's/^#ENVIRONMENT //p' "$0")\""""
"""For the beginning of a job script: take over the environment that it carries."""

_SUBMIT = """\
{ echo; export -p | LC_ALL=C sed 's/^/#ENVIRONMENT /'; } >>"$1" || exit 1
shift
exec "$@"
"""


def carrying(path: str, script: bytes, words: Sequence[str]) -> tuple[str, ...]:
    """A command that submits a script, and lets it carry its own environment before.

    Args:
        path: where the script lies.
        script: what is in it; if it does not take over an environment, it gets none.
        words: the command that submits.
    """
    if INHERIT.encode() not in script:
        return tuple(words)
    return ("/bin/sh", "-c", _SUBMIT, words[0], path, *words)
