"""What ``exaworks map`` runs a command for."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from exaworks.cli.errors import USAGE, Problem
from exaworks.cli.mapping.inputs import Inputs, choose_inputs, split_command


def inputs(*words: str, end: bytes = b"\n") -> Inputs:
    return choose_inputs(split_command(["echo", *words], end)[1], [], None, end)


def rows(*words: str, end: bytes = b"\n") -> list[tuple[str, ...]]:
    return list(inputs(*words, end=end))


def table(path: Path) -> Inputs:
    return choose_inputs([], [], path, b"\n")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["::: a b"], ["a", "b"]),
        (["::: a b ::: 1 2"], ["a1", "a2", "b1", "b2"]),
        (["::: a b :::+ 1 2"], ["a1", "b2"]),
        (["::: a b c :::+ 1 2"], ["a1", "b2"]),
        (["::: a b :::+ 1 2 ::: x y"], ["a1x", "a1y", "b2x", "b2y"]),
        (["::: x y ::: a b :::+ 1 2"], ["xa1", "xb2", "ya1", "yb2"]),
        (["::: a :::"], []),
        ([":::"], []),
    ],
)
def test_sources_are_combined(words: Sequence[str], expected: list[str]) -> None:
    given = words[0].split(" ")
    assert ["".join(row) for row in rows(*given)] == expected
    assert inputs(*given).count() == len(expected)


def test_the_command_ends_where_the_sources_begin() -> None:
    command, groups = split_command(["echo", "{}", ":::", "a", "-x", "--"], b"\n")
    assert command == ["echo", "{}"]
    assert [list(source) for source in groups[0]] == [["a", "-x", "--"]]
    assert split_command(["echo"], b"\n") == (["echo"], [])


def test_lines_of_files(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_bytes(b"a b\n\n  c\r\nlast")
    second.write_bytes(b"1\n2\n")
    lines = [("a b",), ("",), ("  c\r",), ("last",)]
    assert rows("::::", str(first)) == lines
    assert inputs("::::", str(first)).count() == 4
    assert len(rows("::::", str(first), str(second))) == 8
    assert rows(":::", "x", "y", "::::+", str(second)) == [("x", "1"), ("y", "2")]
    assert list(choose_inputs([], [str(second)], None, b"\n")) == [("1",), ("2",)]


def test_a_file_of_arguments_comes_first(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("1\n2\n")
    groups = split_command(["echo", ":::", "a", "b"], b"\n")[1]
    found = list(choose_inputs(groups, [str(file)], None, b"\n"))
    assert found == [("1", "a"), ("1", "b"), ("2", "a"), ("2", "b")]


def test_lines_may_be_any_bytes(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\xff\xfe\n\xc3\xa4\n")
    assert [os.fsencode(value) for (value,) in rows("::::", str(file))] == [
        b"\xff\xfe",
        b"\xc3\xa4",
    ]


def test_lines_that_end_with_nul(tmp_path: Path) -> None:
    file = tmp_path / "file"
    names = [b"a\nb", b"c" * 300_000, b"", b"\n\n"]
    file.write_bytes(b"\0".join(names) + b"\0")
    assert [os.fsencode(value) for (value,) in rows("::::", str(file), end=b"\0")] == names
    file.write_bytes(b"\0".join(names) + b"\0last")
    assert rows("::::", str(file), end=b"\0")[-1] == ("last",)


def test_only_the_first_source_is_not_kept(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    os.write(writer, b"1\n2\n")
    stream = iter(inputs("::::", f"/dev/fd/{reader}", ":::", "a"))
    assert next(stream) == ("1", "a")  # although there may be more
    assert inputs("::::", f"/dev/fd/{reader}").count() is None
    os.close(writer)
    assert next(stream) == ("2", "a")
    os.close(reader)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("p.csv", "rate,name\n0.1,a b\n"),
        ("p.tsv", "rate\tname\n0.1\ta b\n"),
        ("p.jsonl", '{"rate": 0.1, "name": "a b"}\n'),
        ("p.json", '[{"rate": 0.1, "name": "a b"}]'),
    ],
)
def test_rows_of_a_table(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    found = table(tmp_path / name)
    assert (found.names, list(found)) == (("rate", "name"), [("0.1", "a b")])
    assert (found.width, found.count()) == (2, 1)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": 1, "b": 2}\n{"a": 1}\n', "Row 2 of {} has no 'b'"),
        ('{"a": "\\u0000"}\n', "Row 1 of {} has a value that no argument can have"),
        ('{"a": "\\ud800"}\n', "Row 1 of {} has a value that no argument can have"),
        ("", "has no rows"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "p.jsonl"
    path.write_text(text)
    with pytest.raises(Problem) as caught:
        table(path)
    assert told.format(path) in caught.value.message
    assert caught.value.exit_code == USAGE


def test_what_is_wrong_with_sources_is_named(tmp_path: Path) -> None:
    with pytest.raises(Problem, match=r"no source before :::\+"):
        split_command(["echo", ":::+", "a"], b"\n")
    with pytest.raises(Problem, match="only once"):
        inputs("::::", "-", "-")
    with pytest.raises(Problem, match="cannot be combined"):
        choose_inputs(split_command(["echo", ":::", "a"], b"\n")[1], [], Path("p.csv"), b"\n")
    with pytest.raises(Problem, match="missing cannot be read: No such file"):
        rows("::::", str(tmp_path / "missing"))
    (tmp_path / "nul").write_bytes(b"a\nb\0c\n")
    with pytest.raises(Problem, match=r"Line 2 of .*nul has a NUL character") as caught:
        rows("::::", str(tmp_path / "nul"))
    assert "--null" in (caught.value.hint or "")
