"""Which keys a profile may have, of what kind, and what to say if they are wrong."""

from __future__ import annotations

import datetime
import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from exaworks.core.sites import units

__all__ = ["PROFILE", "STATUSES", "Named", "Table", "check", "normalize"]

Check = Callable[[Any], None]
"""Raises :class:`ValueError` with what is wrong and how to write it instead."""

STATUSES: Final = ("active", "preview", "retired")


@dataclass(frozen=True)
class Table:
    """A table with known keys."""

    keys: Mapping[str, Table | Named | Check]


@dataclass(frozen=True)
class Named:
    """A table whose keys are names that the author chooses."""

    item: Table | Check


def _text(value: Any) -> None:
    if not isinstance(value, str) or not value.strip():
        raise ValueError('must be text, such as key = "text"')
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in value):
        raise ValueError("must be one line of text without control characters")


def _texts(value: Any) -> None:
    if not isinstance(value, list):
        raise ValueError('must be a list of texts, such as ["one", "two"]')
    for item in value:
        _text(item)


def _description(value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError('must be text, such as key = "text"')


def _lines(value: Any) -> None:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError('must be a list of lines, such as ["module load cray-python"]')
    if any("\0" in item for item in value):
        raise ValueError("must not contain NUL characters")


def _flag(value: Any) -> None:
    if not isinstance(value, bool):
        raise ValueError("must be true or false, without quotes")


def _at_least(least: int) -> Check:
    def whole(value: Any) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise ValueError(f"must be a whole number of at least {least}, without quotes")

    return whole


def _duration(value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError("must be a length of time with its unit, such as '24h', '2d', '30m'")
    units.parse_duration(value)


def _by_nodes(value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ValueError('must be a table, such as {"91" = "2h", "183" = "6h"}')
    for nodes, limit in value.items():
        if not re.fullmatch(r"[1-9]\d{0,8}", nodes, re.ASCII):
            raise ValueError(f"{nodes!r} must be a number of nodes, such as in {{91 = '2h'}}")
        _duration(limit)


def _memory(value: Any) -> None:
    if not isinstance(value, str):
        raise ValueError("must be a size with its unit, such as '512 GiB' or '512 GB'")
    units.parse_memory(value)


def _date(value: Any) -> None:
    if isinstance(value, datetime.datetime) or not isinstance(value, (str, datetime.date)):
        raise ValueError("must be a date, such as 2026-11-22")
    if isinstance(value, str):
        try:
            datetime.date.fromisoformat(value)
        except ValueError:
            raise ValueError(f"{value!r} is no date; write it like 2026-11-22") from None


def _status(value: Any) -> None:
    if value not in STATUSES:
        raise ValueError(f"must be one of {', '.join(map(repr, STATUSES))}")


def _word(value: Any) -> None:
    _text(value)
    if re.search(r"\s", value) or value.startswith("-"):
        raise ValueError(f"{value!r} must be one word that does not begin with '-'")


def _folder(value: Any) -> None:
    _text(value)
    if not value.startswith(("/", "~/", "$")):
        raise ValueError(f"{value!r} must begin with '/', '~/' or a variable such as '$SCRATCH'")


def _port(value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 < value < 65536:
        raise ValueError("must be a port number from 1 to 65535, without quotes")


def _attributes(value: Any) -> None:
    if not isinstance(value, Mapping):
        raise ValueError('must be a table, such as {"slurm.constraint" = "gpu"}')
    for name, item in value.items():
        if not re.fullmatch(r"[^.\s]+\.\S+", name):
            raise ValueError(
                f"{name!r} must name the executor and its option, such as 'slurm.constraint'"
            )
        if not isinstance(item, (str, int, float, bool)):
            raise ValueError(f"{name!r} must be text, a number, true or false")


_COUNT: Final = _at_least(1)

_QUEUE: Final = Table(
    {
        "choose": _flag,
        "custom_attributes": _attributes,
        "description": _description,
        "exclusive": _flag,
        "max_jobs": _COUNT,
        "max_nodes": _COUNT,
        "max_running_jobs": _COUNT,
        "max_walltime": _duration,
        "max_walltime_by_nodes": _by_nodes,
        "min_nodes": _COUNT,
        "min_walltime": _duration,
        "nodes": _texts,
    }
)
_SCHEDULER: Final = Table(
    {
        "choose_queue": _flag,
        "custom_attributes": _attributes,
        "default_queue": _text,
        "executor": _word,
        "launcher": _word,
        "other_queues": _flag,
        "queue_attribute": _word,
        "queues": Named(_QUEUE),
    }
)
_NODES: Final = Table(
    {
        "cores": _COUNT,
        "count": _COUNT,
        "description": _description,
        "gpu_model": _text,
        "gpus": _at_least(0),
        "local_scratch": _folder,
        "memory": _memory,
        "threads_per_core": _COUNT,
    }
)
PROFILE: Final = Table(
    {
        "account": _text,
        "account_required": _flag,
        "aliases": _texts,
        "date": _date,
        "default_scheduler": _text,
        "description": _description,
        "host": Table({"environment": Named(_text), "names": _texts}),
        "name": _word,
        "nodes": Named(_NODES),
        "notes": _texts,
        "remote_setup": _lines,
        "schedulers": Named(_SCHEDULER),
        "scratch": _folder,
        "setup": _lines,
        "source": _texts,
        "ssh": Table({"host": _word, "port": _port, "user": _word}),
        "status": _status,
        "title": _text,
        "verified": _flag,
        "work_directory": _folder,
    }
)
"""All that a profile may say. ``docs/sites.md`` describes each key."""


def check(value: Any, kind: Table | Named | Check, path: tuple[str, ...] = ()) -> Iterator[str]:
    """What is wrong with a value, each as ``key: problem and fix``."""
    where = ".".join(path)
    if not isinstance(kind, (Table, Named)):
        try:
            kind(value)
        except ValueError as problem:
            yield f"{where}: {problem}"
        return
    if not isinstance(value, Mapping):
        yield f"{where}: must be a table, such as [{where}]"
        return
    for key, item in value.items():
        if isinstance(kind, Named):
            yield from check(item, kind.item, (*path, key))
        elif key in kind.keys:
            yield from check(item, kind.keys[key], (*path, key))
        else:
            near = difflib.get_close_matches(key, kind.keys, 1)
            fix = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(kind.keys)}"
            yield f"{'.'.join((*path, key))}: there is no such key; {fix}"


def _flat(table: Mapping[str, Any], begin: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat.update(_flat(value, f"{begin}{key}."))
        else:
            flat[begin + key] = value
    return flat


def _address(text: str) -> dict[str, Any]:
    user, _, rest = text.removeprefix("ssh://").rpartition("@")
    if rest.startswith("["):  # an IPv6 address
        host, _, port = rest[1:].partition("]")
        port = port.removeprefix(":")
    else:
        host, _, port = rest.partition(":")
    address: dict[str, Any] = {"host": host}
    if user:
        address["user"] = user
    if port:
        address["port"] = int(port) if port.isascii() and port.isdigit() else port
    return address


def normalize(profile: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the short forms of a profile into the long one.

    ``ssh = "user@host:port"`` becomes a table, one text where several may stand becomes a list,
    and ``custom_attributes`` written with dotted keys become flat.
    """
    return {key: _normal(key, value) for key, value in profile.items()}


def _normal(key: str, value: Any) -> Any:
    if key == "ssh" and isinstance(value, str):
        return _address(value)
    if key in ("aliases", "source", "notes", "names", "setup", "remote_setup"):
        return [value] if isinstance(value, str) else value
    if key == "custom_attributes":
        return _flat(value) if isinstance(value, Mapping) else value
    if key == "nodes" and isinstance(value, str):  # of a queue
        return [value]
    if key == "date" and isinstance(value, datetime.date):
        return value if isinstance(value, datetime.datetime) else value.isoformat()
    if key == "environment":
        return value
    return normalize(value) if isinstance(value, Mapping) else value
