"""{} and its like in commands."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exaworks.cli.errors import USAGE, Problem
from exaworks.cli.mapping.templates import Template

BYTES = st.binary(max_size=20).map(lambda data: os.fsdecode(data.replace(b"\0", b"")))
NASTY = st.text(st.sampled_from("a b'\"\\$`;&|(){}[]<>*?~#!%=\n\t-"), max_size=12)
VALUE = NASTY | BYTES | st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


def words(
    template: Sequence[str], *values: str, names: Sequence[str] = (), seq: int = 1
) -> list[str]:
    return Template(template, len(values), names).fill(seq, values)[0]


def line(template: str, *values: str, names: Sequence[str] = (), seq: int = 1) -> str:
    command, text = Template([template], len(values), names).fill(seq, values)
    assert command == ["/bin/sh", "-c", text]
    return text


def output(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stderr == b""
    return os.fsdecode(done.stdout)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/q/w.e.r", "/q/w.e w.e.r /q w.e"),
        (".bashrc", " .bashrc . "),
        ("a.", "a a. . a"),
        ("a.b/c", "a.b/c c a.b c"),
        ("d/", "d/  . "),
        ("/", "/  / "),
        ("", "  . "),
        ("x/.y", "x/ .y x "),
        ("//a", "//a a / a"),
        ("a//b/", "a//b/  a "),
    ],
)
def test_parts_of_paths(path: str, expected: str) -> None:
    assert words(["echo", "{.} {/} {//} {/.}"], path) == ["echo", expected]
    assert words(["echo", "{1.} {1/} {1//} {1/.}"], path) == ["echo", expected]
    assert words(["echo", "{f.} {f/} {f//} {f/.}"], path, names=["f"]) == ["echo", expected]


def test_several_values() -> None:
    assert line("f {2}-{1} {#}", "a", "b c", seq=7) == "f 'b c'-a 7"
    assert line("f {}", "a", "b c") == "f a 'b c'"
    assert line("f {.}", "a.x", "b c.y") == "f a 'b c'"
    assert words(["f", "{}", "x{}"], "a", "b c") == ["f", "a", "b c", "xa b c"]


def test_names_of_columns() -> None:
    names = ["rate", "learning rate", "2020", "a.b"]
    values = ["0.1", "5", "x", "y.z"]
    command = ["f", "{rate}", "{learning rate}", "{2020}", "{a.b}", "{a.b.}", "{2}"]
    assert words(command, *values, names=names) == ["f", "0.1", "5", "x", "y.z", "y", "5"]


def test_without_replacement_string_the_argument_comes_last() -> None:
    assert line("wc -l", "a b") == "wc -l 'a b'"
    assert words(["wc", "-l"], "a b") == ["wc", "-l", "a b"]
    assert words(["mv", "-v"], "a b", "c") == ["mv", "-v", "a b", "c"]


@pytest.mark.parametrize(
    "text",
    ["${HOME}", "{a,b}", "{ print $1 }", "{print $1}", '{"a": 1}', "{-1}", "{..}", "${1}", "${#}",
     "{1..3}", "{{.ID}}", "{$x}", "{", "}", "{%}"],
)  # fmt: skip
def test_other_braces_stay(text: str) -> None:
    assert words(["f", text, "{}"], "x") == ["f", text, "x"]
    assert line(f"f '{text}' {{}}", "x") == f"f '{text}' x"


@pytest.mark.parametrize("text", ["{nope}", "{2}", "{0}", "{2/.}", "{nope.}"])
def test_an_unknown_name_is_an_error_that_names_the_others(text: str) -> None:
    for template in ([f"f {text} {{}}"], ["f", text]):
        with pytest.raises(Problem) as caught:
            Template(template, 1, ["rate"])
        assert caught.value.exit_code == USAGE
        assert text in caught.value.message
        assert "{}, {#}, {1}, {rate}" in caught.value.message
        assert "{ name }" in (caught.value.hint or "")


@given(VALUE, VALUE)
@example("'; echo oops; '", '"; echo oops; "')
@example("$(echo oops)`echo oops`", "-n")
@settings(max_examples=60, deadline=None)
def test_any_value_arrives_in_a_line_of_shell_as_it_is(first: str, second: str) -> None:
    template = (
        'x="$(printf %s. {1})"; y={2} # it\'s {#}\n'
        'printf \'%s\\037\' {1} \'<{1}>\' "<{2}>" a{2}b "$(printf %s. "{1}")" "$x" "$y"'
        " $(printf '%s' '{2}' | wc -c) \"\\\"{1}\" '\"{2}' \"$( (printf %s. '{1}') )\""
    )
    expected = [
        first, f"<{first}>", f"<{second}>", f"a{second}b", f"{first}.", f"{first}.", second,
        str(len(os.fsencode(second))), f'"{first}', f'"{second}', f"{first}.",
    ]  # fmt: skip
    assert output(["/bin/sh", "-c", line(template, first, second)]) == "".join(
        f"{each}\x1f" for each in expected
    )


@given(VALUE)
@settings(max_examples=40, deadline=None)
def test_any_value_is_a_word(value: str) -> None:
    assert words(["printf", "%s|{}", "{}"], value) == ["printf", f"%s|{value}", value]
    assert Template(["printf", "%s"], 1).fill(1, [value])[1].startswith("printf %s")


@pytest.mark.parametrize(
    "template",
    ["echo `echo {}`", "echo `echo '{}'`", "echo $(( {} ))", "echo ${x:-{}}", 'echo "${x:-{}}"',
     "cat <<X\n{}\nX\n", "echo \\{}", "echo ${}", "echo $'{}'", "((x={})); echo", "echo # {}",
     'echo "$(case a in a) echo {};; esac)"', 'echo "$((1+(2*{})))"', "echo `a\\`b` {}"],
)  # fmt: skip
def test_where_nothing_can_be_quoted_only_plain_values_are_taken(template: str) -> None:
    assert line(template, "17") == template.replace("{}", "17")
    for value in ("a b", "$(echo oops)", "'", "a\nb"):
        with pytest.raises(Problem, match="cannot be quoted") as caught:
            line(template, value)
        assert "variable" in (caught.value.hint or "")


@pytest.mark.parametrize(
    "template",
    ["echo $((1+2)) {}", "echo `ls` {}", "echo ${x%.*} {}", "cat <<<{}", "echo a#b {}",
     "echo $# {}", "case a in a) echo {};; esac", "echo \\' {}", "(echo {})", "echo $(ls) {}"],
)  # fmt: skip
def test_behind_these_values_are_quoted(template: str) -> None:
    assert line(template, "a b") == template.replace("{}", "'a b'")
