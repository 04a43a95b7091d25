"""Ids of jobs and addresses of instances."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij.executors.flux.address import Address, find_address
from exaworks.psij.executors.flux.jobid import job_number, native_id

# From `flux job id` of Flux 0.88.
SAME = ["fKTQ4Ty", "ƒKTQ4Ty", "12113149952", "0x2d2000000", "0000.0002.d200.0000"]


@pytest.mark.parametrize("text", SAME)
def test_forms_of_an_id(text: str) -> None:
    assert job_number(text) == 12113149952
    assert native_id(12113149952) == "fKTQ4Ty"


@pytest.mark.parametrize(
    "text", ["", "f", "no id at all", "f0", "fl", "-1", "9" * 30, "fzzzzzzzzzzzz", "12 ", "²"]
)
def test_what_is_no_id(text: str) -> None:
    assert job_number(text) is None


@given(st.integers(0, 2**63 - 1))
def test_all_numbers(number: int) -> None:
    assert job_number(native_id(number)) == number
    assert job_number(str(number)) == number


@given(st.text())
def test_any_text_is_an_id_or_none(text: str) -> None:
    number = job_number(text)
    assert number is None or 0 <= number < 2**63


def test_where_an_instance_is() -> None:
    assert find_address(None, {}) == Address("local:///run/flux/local", "/run/flux/local")
    environ = {"FLUX_URI": "local:///tmp/x/local-0"}
    assert find_address(None, environ).path == "/tmp/x/local-0"
    assert find_address("local:///a%20b", environ).path == "/a b"
    assert find_address("/a b", environ).path == "/a b"


def test_far_instance() -> None:
    found = find_address("ssh://me@there:22/run/my flux/local", {})
    assert found.remote
    assert found.shell == ("ssh", "-p", "22", "me@there")
    assert found.command is not None
    assert found.command[:-1] == found.shell
    assert found.command[-1] == (
        """exec env PATH="$PATH":'/run/my flux/bin':/usr/bin flux relay '/run/my flux/local'"""
    )
    environ = {"FLUX_SSH": "/opt/ssh", "FLUX_SSH_RCMD": "/opt/flux"}
    found = find_address("ssh://there/run/local", environ)
    assert found.command == ("/opt/ssh", "there", "exec /opt/flux relay /run/local")


@pytest.mark.parametrize(
    "url",
    ["local://", "local://host/x", "ssh://host", "ssh:///x", "ssh://-oProxyCommand=x/y",
     "ssh://-x@h/y", "ssh://h:port/y", "http://h/y", "ssh://h/y?z", "x", "local:///a%00b"],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match=r"address|[Pp]ort"):
        find_address(url, {})
