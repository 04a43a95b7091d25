"""Parameter files."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exaworks.cli.errors import USAGE, Problem
from exaworks.cli.sweep import read_sweep

CELL = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10)


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


@given(st.lists(st.tuples(CELL, CELL), min_size=1, max_size=5), st.sampled_from([".csv", ".tsv"]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tables_give_back_what_was_written(
    tmp_path: Path, rows: list[tuple[str, str]], ending: str
) -> None:
    path = tmp_path / f"params{ending}"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter="\t" if ending == ".tsv" else ",")
        writer.writerow(["first", "second"])
        writer.writerows(rows)
    assert read_sweep(path) == [{"first": a, "second": b} for a, b in rows]


@given(st.lists(st.dictionaries(CELL, CELL, max_size=3), min_size=1, max_size=4))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_json_gives_back_what_was_written(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    assert read_sweep(write(tmp_path, "p.json", json.dumps(rows))) == rows
    lines = "\n".join(json.dumps(row) for row in rows)
    assert read_sweep(write(tmp_path, "p.jsonl", lines)) == rows


def test_values_of_json_become_text(tmp_path: Path) -> None:
    row = {"a": 1, "b": 0.5, "c": True, "d": None, "e": [1, 2], "f": "x"}
    found = read_sweep(write(tmp_path, "p.json", json.dumps([row])))
    assert found == [{"a": "1", "b": "0.5", "c": "true", "d": "", "e": "[1, 2]", "f": "x"}]


def test_lines_of_text(tmp_path: Path) -> None:
    path = write(tmp_path, "names.txt", "a b\n\n  c\u2028d  \r\nlast")
    assert read_sweep(path) == [{"line": "a b"}, {"line": "  c\u2028d  "}, {"line": "last"}]


def test_a_byte_order_mark_is_no_part_of_the_first_column(tmp_path: Path) -> None:
    path = tmp_path / "excel.csv"
    path.write_bytes(b"\xef\xbb\xbfrate,size\r\n1,2\r\n")
    assert read_sweep(path) == [{"rate": "1", "size": "2"}]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("p.xls", "", "unknown ending"),
        ("p.csv", "", "no rows"),
        ("p.csv", "a,b\n", "no rows"),
        ("p.csv", "a,a\n1,2\n", "name each column once"),
        ("p.csv", "a,\n1,2\n", "name each column once"),
        ("p.csv", "a,b\n1,2\n3\n", "1 values in line 3"),
        ("p.csv", "a,b\n1,2,3\n", "3 values in line 2"),
        ("p.json", "{}", "list of objects"),
        ("p.json", "[1]", "item 1 is 1"),
        ("p.json", "[", "not JSON"),
        ("p.jsonl", '{"a": 1}\nx', "in line 2"),
        ("p.txt", "\n\n", "no rows"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, name: str, text: str, told: str) -> None:
    path = write(tmp_path, name, text)
    with pytest.raises(Problem) as caught:
        read_sweep(path)
    assert told in caught.value.message
    assert str(path) in caught.value.message
    assert caught.value.exit_code == USAGE


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="cannot be read: No such file"):
        read_sweep(tmp_path / "missing.csv")
    (tmp_path / "latin.csv").write_bytes(b"a\n\xe4\n")
    with pytest.raises(Problem, match="not UTF-8"):
        read_sweep(tmp_path / "latin.csv")
