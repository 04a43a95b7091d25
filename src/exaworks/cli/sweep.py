"""Parameter files: each row becomes a job."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from exaworks.cli.errors import USAGE, Problem

__all__ = ["read_sweep"]


def read_sweep(path: Path) -> list[dict[str, str]]:
    """Read a parameter file; its name's ending says how.

    - ``.csv`` (RFC 4180) and ``.tsv``: the first line names the columns;
    - ``.json``: a list of objects; ``.jsonl``: an object in each line;
    - ``.txt``: each line that is not blank is the value of the one column ``line``.

    Returns:
        a dictionary from column to text for each row. Values of JSON that are no text are
        written as JSON, ``null`` as nothing.

    Raises:
        Problem: the file cannot be read as that; the message names the line or row.
    """
    readers = {
        ".csv": _read_table,
        ".tsv": _read_table,
        ".json": _read_json,
        ".jsonl": _read_json_lines,
        ".txt": _read_lines,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise _bad(path, f"has an unknown ending; known ones: {', '.join(readers)}")
    try:
        rows = reader(path)
    except OSError as problem:
        raise _bad(path, f"cannot be read: {problem.strerror}") from problem
    except UnicodeDecodeError as problem:
        raise _bad(path, f"is not UTF-8 text: {problem}") from problem
    if not rows:
        raise _bad(path, "has no rows")
    return rows


def _bad(path: Path, what: str) -> Problem:
    return Problem(f"The parameter file {path} {what}.", exit_code=USAGE)


def _read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
        try:
            header = [name.strip() for name in next(reader, [])]
            if not header:
                return []
            if len(set(header)) < len(header) or "" in header:
                raise _bad(path, f"must name each column once in its first line, not {header}")
            rows = []
            for row in reader:
                if not row:
                    continue
                if len(row) != len(header):
                    raise _bad(
                        path,
                        f"has {len(row)} values in line {reader.line_num}, "
                        f"but {len(header)} columns ({', '.join(header)})",
                    )
                rows.append(dict(zip(header, row, strict=True)))
            return rows
        except csv.Error as problem:
            raise _bad(path, f"is wrong in line {reader.line_num}: {problem}") from problem


def _read_lines(path: Path) -> list[dict[str, str]]:
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    return [{"line": line.rstrip("\r")} for line in lines if line.strip()]


def _read_json(path: Path) -> list[dict[str, str]]:
    data = _parse(path, path.read_text(encoding="utf-8-sig"), "")
    if not isinstance(data, list):
        raise _bad(path, "must hold a list of objects")
    return [_row(path, item, f"item {index}") for index, item in enumerate(data, 1)]


def _read_json_lines(path: Path) -> list[dict[str, str]]:
    lines = path.read_text(encoding="utf-8-sig").split("\n")
    return [
        _row(path, _parse(path, line, f" in line {number}"), f"line {number}")
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def _parse(path: Path, text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as problem:
        raise _bad(path, f"is not JSON{where}: {problem}") from problem


def _row(path: Path, item: Any, where: str) -> dict[str, str]:
    if not isinstance(item, dict):
        raise _bad(path, f"must hold objects, but {where} is {json.dumps(item)}")
    return {name: _text(value) for name, value in item.items()}


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)
