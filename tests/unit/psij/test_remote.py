"""Text for another machine, and jobs in terms of its files, without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exaworks.psij import InvalidJobException, JobSpec, StageIn, StageOut, StagingMode
from exaworks.psij.executors.batch.prepare import downloads, for_machine
from exaworks.psij.remote import Address, make_runner, shell
from exaworks.psij.runner import LocalRunner
from exaworks.psij.script import quote

SHELLS = [s for s in ("sh", "bash", "tcsh", "zsh", "fish") if shutil.which(s)]
MARK = "exaworks-0123456789abcdef"
texts = st.binary(max_size=60).filter(lambda b: b"\0" not in b).map(os.fsdecode) | st.text(
    "${}AB'\"\\ \n`!*~#;&|<>()[]%\t=-^?", max_size=40
)


def run(shell_name: str, line: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """As sshd does: the command line goes to the login shell with -c."""
    return subprocess.run([shell_name, "-c", line], input=data, capture_output=True, timeout=30)


@pytest.mark.parametrize("login", SHELLS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(texts, max_size=4), data=st.binary(max_size=50))
def test_any_login_shell_understands_it(login: str, words: list[str], data: bytes) -> None:
    body = "for i; do printf '%s\\0' \"$i\"; done; cat; exit 7"
    text = f"set -- {' '.join(map(quote, words))}\n{body}"
    done = run(login, shell.encode(shell.framed(MARK, [], text)), data)
    reply = shell.read_reply(MARK, done.stdout, done.stderr)
    assert reply == shell.Reply(7, b"".join(os.fsencode(w) + b"\0" for w in words) + data, b"")


def test_noise_of_the_login_is_left_out() -> None:
    text = shell.framed(MARK, ["echo welcome; echo warning >&2"], "echo answer; echo oh >&2")
    done = run("sh", shell.encode(text))
    assert shell.read_reply(MARK, b"motd\n" + done.stdout, done.stderr) == shell.Reply(
        0, b"answer\n", b"oh\n"
    )


@given(cut=st.integers(min_value=0, max_value=200))
def test_an_answer_that_was_cut_short_has_no_end(cut: int) -> None:
    done = run("sh", shell.encode(shell.framed(MARK, [], "echo answer; echo oh >&2")))
    whole = done.stderr.rstrip(b"\n")
    if cut < len(whole):
        assert shell.read_reply(MARK, done.stdout, whole[:cut]).code is None


def test_variables() -> None:
    text = shell.variables({"B": "x y'$"}, ["A", "SQ_*", "NOT_THERE"])
    done = subprocess.run(
        ["sh", "-c", f"{text}env"],
        env={"A": "1", "SQ_FORMAT": "2", "SQX": "3", "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
    )
    seen = set(done.stdout.split("\n"))
    assert {"B=x y'$", "SQX=3"} <= seen
    assert not {"A=1", "SQ_FORMAT=2"} & seen


def test_a_missing_command_is_told_from_one_that_ends_with_127() -> None:
    missing = run("sh", shell.encode(shell.framed(MARK, [], shell.call(["no-such-command"]))))
    assert shell.read_reply(MARK, missing.stdout, missing.stderr) == shell.Reply(127, b"", b"")


def test_what_must_happen_once(tmp_path: Path) -> None:
    stem = str(tmp_path / "a folder" / "token")
    text = shell.once(f"cat >>'{tmp_path}/got'; echo answer; exit 5", stem, 3, 5)
    line = shell.encode(shell.framed(MARK, [], text))
    cut = run("sh", line, b"ab")  # the connection was lost before all of the input was there
    assert shell.read_reply(MARK, cut.stdout, cut.stderr).code is None
    assert not (tmp_path / "got").exists()
    for _ in range(3):
        done = run("sh", line, b"abc")
        assert shell.read_reply(MARK, done.stdout, done.stderr) == shell.Reply(5, b"answer\n", b"")
    assert (tmp_path / "got").read_bytes() == b"abc"
    files, folder = shell.once_files(stem)
    for file in files:
        os.unlink(file)
    os.rmdir(folder)
    assert os.listdir(tmp_path / "a folder") == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("ssh://Login.Site", Address("Login.Site")),
        ("ssh://me@host:2222/", Address("host", "me", 2222)),
        ("ssh://a%40b@host", Address("host", "a@b")),
        ("ssh://[::1]:22", Address("::1", None, 22)),
    ],
)
def test_addresses(url: str, expected: Address) -> None:
    assert Address.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    ["http://h", "ssh://", "ssh:h", "ssh://-oProxyCommand=x", "ssh://-u@h", "ssh://h:port",
     "ssh://u:secret@h", "ssh://h/folder", "ssh://h?x=1", "ssh://h;rm", "ssh://a b"],
)  # fmt: skip
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ValueError, match=r"ssh://|password") as problem:
        make_runner(url, 1)
    assert "secret" not in str(problem.value)


def test_no_address_is_this_machine() -> None:
    assert isinstance(make_runner(None, 1), LocalRunner)


def test_a_job_in_terms_of_another_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a", "b"):
        (tmp_path / name).touch()
    spec = JobSpec(
        "x",
        directory="~/d",
        stdout_path="out",
        stderr_path="~/err",
        pre_launch="setup.sh",
        stage_in={
            StageIn("a", "in1"),
            StageIn(tmp_path / "b", "in2", StagingMode.MOVE),
            StageIn("file://far/data", "in3", StagingMode.LINK),
        },
        stage_out={
            StageOut("o1", "here"),
            StageOut("o2", "file://far/there"),
            StageOut("o3", tmp_path / "o3", mode=StagingMode.LINK),
        },
    )
    done, transfers = for_machine(spec, "/home/me")
    assert str(spec.directory) == "~/d"
    assert (str(done.directory), str(done.stdout_path)) == ("/home/me/d", "out")
    assert (str(done.stderr_path), str(done.pre_launch)) == ("/home/me/err", "/home/me/setup.sh")
    assert transfers.uploads == [str(tmp_path / "a"), str(tmp_path / "b")]
    assert transfers.moved == [str(tmp_path / "b")]
    assert transfers.downloads == downloads(spec) == [str(tmp_path / "here"), str(tmp_path / "o3")]
    assert {str(s.source): s.mode for s in done.stage_in} == {
        "exaworks-staged:in/0": StagingMode.COPY,
        "exaworks-staged:in/1": StagingMode.COPY,
        "/data": StagingMode.LINK,
    }
    assert {str(s.target): s.mode for s in done.stage_out} == {
        "exaworks-staged:out/0": StagingMode.COPY,
        "exaworks-staged:out/1": StagingMode.COPY,
        "/there": StagingMode.COPY,
    }
    spec.stage_in = {StageIn("nowhere", "x")}
    with pytest.raises(InvalidJobException, match=r"nowhere.*file://"):
        for_machine(spec, "/home/me")
