"""Values of options."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.cli import values
from exaworks.psij import StageIn, StageOut, StageOutFlags, StagingMode


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("512M", 512 * 1024**2),
        ("4G", 4 * 1024**3),
        ("4 GiB", 4 * 1024**3),
        ("4gb", 4 * 1024**3),
        ("1.5k", 1536),
        ("2T", 2 * 1024**4),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert values.memory(text) == expected


@pytest.mark.parametrize("text", ["", "G", "-1G", "4X", "4GG", "1,5G", "nan"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no size"):
        values.memory(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("0.5", 0.5), ("90s", 90), ("10m", 600), ("1h 30m", 5400), ("30d", 2592000)],
)
def test_durations(text: str, expected: float) -> None:
    assert values.duration(text) == expected


@pytest.mark.parametrize("text", ["", "m", "-1", "1x", "1h30", "1:30"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(click.BadParameter, match="no duration"):
        values.duration(text)


def test_walltimes() -> None:
    assert values.walltime("1:30:00") == timedelta(hours=1, minutes=30)
    assert values.walltime("90") == timedelta(minutes=90)
    with pytest.raises(click.BadParameter, match="Unknown walltime"):
        values.walltime("soon")


@given(st.text(min_size=1).filter(lambda t: "=" not in t), st.text())
def test_assignments(name: str, value: str) -> None:
    assert values.assignment(f"{name}={value}", "--env") == (name, value)
    assert values.assignment(name, "--env") == (name, None)


def test_an_assignment_needs_a_name() -> None:
    with pytest.raises(click.BadParameter, match="has no name"):
        values.assignment("=x", "--env")


@pytest.mark.parametrize(
    ("text", "source", "target", "mode"),
    [
        ("in.dat", "{cwd}/in.dat", "in.dat", StagingMode.COPY),
        ("/a/b/in.dat", "/a/b/in.dat", "in.dat", StagingMode.COPY),
        ("/a:b", "/a", "b", StagingMode.COPY),
        ("/a:b:link", "/a", "b", StagingMode.LINK),
        ("file:///a:b:move", "file:///a", "b", StagingMode.MOVE),
        ("~/a:b", "{home}/a", "b", StagingMode.COPY),
    ],
)
def test_stage_in(text: str, source: str, target: str, mode: StagingMode) -> None:
    source = source.format(cwd=os.getcwd(), home=Path.home())
    assert values.stage_in(text) == StageIn(source, target, mode)


@pytest.mark.parametrize(
    ("text", "target", "flags", "mode"),
    [
        ("a:/b", "/b", StageOutFlags.ALWAYS, StagingMode.COPY),
        ("a:b", "{cwd}/b", StageOutFlags.ALWAYS, StagingMode.COPY),
        ("a:/b:on-error", "/b", StageOutFlags.ON_ERROR, StagingMode.COPY),
        (
            "a:/b:if-present,on-success,move",
            "/b",
            StageOutFlags.IF_PRESENT | StageOutFlags.ON_SUCCESS,
            StagingMode.MOVE,
        ),
    ],
)
def test_stage_out(text: str, target: str, flags: StageOutFlags, mode: StagingMode) -> None:
    target = target.format(cwd=os.getcwd())
    assert values.stage_out(text) == StageOut("a", target, flags, mode)


@pytest.mark.parametrize("text", ["", ":b", "a::copy", "a:b:c:d"])
def test_what_is_no_staging(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not"):
        values.stage_in(text)


def test_unknown_words_of_staging_are_named() -> None:
    with pytest.raises(click.BadParameter, match="'never' is unknown; known: if-present"):
        values.stage_out("a:b:never")
    with pytest.raises(click.BadParameter, match="'on-error' is unknown; known: copy"):
        values.stage_in("a:b:on-error")
