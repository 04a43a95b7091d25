"""``{name}`` in a job specification, replaced by a value for each job of a sweep or array."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from exaworks.cli.errors import USAGE, Problem

if TYPE_CHECKING:
    from exaworks.psij import JobSpec

__all__ = ["fill", "fill_spec"]

# The first alternative is a reference to a variable of the job's environment; it stays as it is.
_TOKEN: Final = re.compile(r"(\$\{[A-Za-z_]\w*\})|\{\{|\}\}|\{([^{}]*)\}|\{", re.ASCII)
_TEXTS: Final = (
    "executable",
    "name",
    "directory",
    "stdin_path",
    "stdout_path",
    "stderr_path",
    "pre_launch",
    "post_launch",
)


def fill(text: str, values: Mapping[str, str], field: str) -> str:
    """Replace each ``{name}`` in ``text`` by the value of that name.

    ``{{`` and ``}}`` stand for literal braces. ``${NAME}`` is left alone.

    Args:
        text: the template.
        values: the names that may be used.
        field: where the text comes from, for the message.

    Raises:
        Problem: the text uses a name that does not exist.
    """

    def replace(token: re.Match[str]) -> str:
        whole = token[0]
        if token[1] is not None:
            return whole
        if whole in ("{{", "}}"):
            return whole[0]
        if token[2] in values:
            return values[token[2]]
        known = ", ".join(f"{{{name}}}" for name in values)
        wrong = "a '{' without its '}'" if token[2] is None else f"no column {whole}"
        raise Problem(
            f"{field} is {text!r}: there is {wrong}. Columns: {known}.",
            "Write literal braces twice: {{ and }}.",
            USAGE,
        )

    return _TOKEN.sub(replace, text)


def fill_spec(data: Mapping[str, Any], values: Mapping[str, str]) -> JobSpec:
    """A specification with all templates in it filled in.

    Arguments, values of the environment, paths (also those staged and cleaned up), the
    executable and the name are templates.

    Args:
        data: the specification as a dictionary, see :mod:`exaworks.psij.serialize`.
        values: the names that may be used.

    Raises:
        Problem: it uses a name that does not exist.
    """
    from exaworks.psij.serialize import spec_from_dict

    filled = dict(data)
    for key in _TEXTS:
        if isinstance(filled.get(key), str):
            filled[key] = fill(filled[key], values, key)
    for key in ("arguments", "cleanup"):
        if filled.get(key) is not None:
            filled[key] = [
                fill(item, values, f"{key}[{index}]") if isinstance(item, str) else item
                for index, item in enumerate(filled[key])
            ]
    if filled.get("environment") is not None:
        filled["environment"] = {
            name: fill(value, values, f"environment[{name!r}]") if isinstance(value, str) else value
            for name, value in filled["environment"].items()
        }
    for key in ("stage_in", "stage_out"):
        if filled.get(key) is not None:
            filled[key] = [
                {
                    name: fill(value, values, f"{key} {name}")
                    if name in ("source", "target") and isinstance(value, str)
                    else value
                    for name, value in item.items()
                }
                for item in filled[key]
            ]
    return spec_from_dict(filled)
