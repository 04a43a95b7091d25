"""{name} in specifications."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.cli.errors import USAGE, Problem
from exaworks.cli.templates import fill, fill_spec
from exaworks.psij import JobSpec, StageIn, StageOut
from exaworks.psij.serialize import spec_to_dict

TEXT = st.text(alphabet=st.sampled_from("{}$ab1_ \"'\n"), max_size=30) | st.text(max_size=30)


def escape(text: str) -> str:
    return text.replace("{", "{{").replace("}", "}}")


@given(TEXT)
def test_doubled_braces_are_literal(text: str) -> None:
    assert fill(escape(text), {}, "arguments[0]") == text


@given(TEXT, TEXT, TEXT)
def test_a_value_is_taken_as_it_is(before: str, value: str, after: str) -> None:
    # A dollar sign before the brace would make it a reference to a variable.
    template = f"{escape(before)} {{x}}{escape(after)}"
    assert fill(template, {"x": value}, "name") == f"{before} {value}{after}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{i}", "7"),
        ("out-{i}.txt", "out-7.txt"),
        ("${i}", "${i}"),
        ("${HOME}/{i}", "${HOME}/7"),
        ("{${HOME}}", None),
        ("awk '{{print $1}}'", "awk '{print $1}'"),
        ('{{"a": {{"b": {i}}}}}', '{"a": {"b": 7}}'),
        ("a } b", "a } b"),
        ("{learning rate}", "0.1"),
    ],
)
def test_what_is_a_template(text: str, expected: str | None) -> None:
    values = {"i": "7", "learning rate": "0.1"}
    if expected is None:
        with pytest.raises(Problem):
            fill(text, values, "name")
    else:
        assert fill(text, values, "name") == expected


@pytest.mark.parametrize(
    ("text", "named"),
    [("{nope}", "{nope}"), ("{print $1}", "{print $1}"), ("{}", "{}"), ("{", "}")],
)
def test_an_unknown_name_is_an_error_that_says_what_to_do(text: str, named: str) -> None:
    with pytest.raises(Problem) as caught:
        fill(text, {"i": "0", "rate": "1"}, "arguments[2]")
    assert caught.value.exit_code == USAGE
    assert named in caught.value.message
    assert "arguments[2]" in caught.value.message
    assert "{i}, {rate}" in caught.value.message
    assert "{{" in (caught.value.hint or "")


def test_every_field_that_says_so_is_filled_in() -> None:
    spec = JobSpec(
        "/bin/{i}",
        ["a{i}", "{{i}}"],
        directory="/d/{i}",
        name="n{i}",
        environment={"K{i}": "v{i}"},
        stdin_path="in{i}",
        stdout_path="out{i}",
        stderr_path="err{i}",
        pre_launch="/pre{i}",
        post_launch="/post{i}",
        stage_in=[StageIn("/s{i}", "t{i}")],
        stage_out=[StageOut("s{i}", "/t{i}")],
        cleanup=["c{i}"],
    )
    filled = fill_spec(spec_to_dict(spec), {"i": "5"})
    assert filled == JobSpec(
        "/bin/5",
        ["a5", "{i}"],
        directory="/d/5",
        name="n5",
        environment={"K{i}": "v5"},
        stdin_path="in5",
        stdout_path="out5",
        stderr_path="err5",
        pre_launch="/pre5",
        post_launch="/post5",
        stage_in=[StageIn("/s5", "t5")],
        stage_out=[StageOut("s5", "/t5")],
        cleanup=["c5"],
    )
