"""Lengths of time, sizes of memory, and TOML as it is written."""

from __future__ import annotations

import sys
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.core.sites import toml_text
from exaworks.core.sites.units import (
    format_duration,
    format_memory,
    parse_duration,
    parse_memory,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("24h", 86400),
        ("2d", 172800),
        ("90 min", 5400),
        ("90m", 5400),
        ("1d 12h", 129600),
        ("1d12h", 129600),
        ("30 s", 30),
        ("1-02:03:04", 93784),
        ("24:00:00", 86400),
        (" 1h ", 3600),
    ],
)
def test_lengths_of_time(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "24", "1:30", "h", "-1h", "1.5h", "0h", "00:00:00", "1 day"])
def test_what_is_no_length_of_time(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse_duration(text)


@given(st.integers(1, 10**8))
def test_lengths_of_time_come_back(seconds: int) -> None:
    assert parse_duration(format_duration(timedelta(seconds=seconds))).total_seconds() == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1 KiB", 1024),
        ("1kB", 1000),
        ("512 GiB", 512 * 2**30),
        ("512 GB", 512 * 10**9),
        ("1.5 TiB", 3 * 2**39),
        ("0.1 GB", 10**8),
        ("7 B", 7),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize("text", ["", "512", "512G", "512 gib", "GiB", "-1 GiB", "0 GiB", "1,5 GB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        parse_memory(text)


@given(st.integers(1, 2**60))
def test_sizes_come_back(size: int) -> None:
    assert parse_memory(format_memory(size)) == size


_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
_values = st.booleans() | st.integers(-(2**63), 2**63 - 1) | _text | st.lists(_text, max_size=3)
_tables = st.recursive(
    st.dictionaries(_text, _values, max_size=4),
    lambda inner: st.dictionaries(_text, inner | _values, max_size=4),
    max_leaves=10,
)


@given(_tables)
def test_what_is_written_is_read_back(table: dict[str, Any]) -> None:
    assert tomllib.loads(toml_text.dump(table)) == table


@given(_tables, _text, _text)
def test_comments_change_nothing(table: dict[str, Any], above: str, beside: str) -> None:
    paths = {(key,): above for key in [*table, "missing"]}
    text = toml_text.dump(table, paths, {(key,): beside for key in table})
    assert tomllib.loads(text) == table


@given(st.text(max_size=20))
def test_any_text_can_be_written(text: str) -> None:
    written = toml_text.dump({"key": text}, {("key",): text}, {("key",): text})
    assert tomllib.loads(written)["key"] == "".join(
        "�" if "\ud800" <= letter <= "\udfff" else letter for letter in text
    )


def test_what_toml_has_no_form_for() -> None:
    with pytest.raises(TypeError, match="no form"):
        toml_text.value_text(None)
