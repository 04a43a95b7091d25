"""The root command: help, errors, exit codes, what is imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import click
import pytest

import exaworks as package
from exaworks.cli.app import COMMANDS, application

HEAVY = ("rich", "sqlite3", "exaworks.psij", "asyncio", "subprocess")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(exaworks, name: str) -> None:  # type: ignore[no-untyped-def]
    result = exaworks(name, "--help")
    assert result.exit_code == 0
    command = application.get_command(click.Context(application), name)
    assert command is not None
    assert command.name == name
    assert command.help is not None
    assert command.help.split("\n")[0] == COMMANDS[name]
    assert "Examples:" in result.stdout
    assert f"  exaworks {name}" in result.stdout or f"(exaworks {name}" in result.stdout
    assert re.search(r"\bPrints?\b|printed", result.stdout)
    assert max(map(len, result.stdout.splitlines())) <= 100
    for option in command.params:
        if isinstance(option, click.Option):
            assert option.help, option


def test_the_root_help_lists_every_command(exaworks) -> None:  # type: ignore[no-untyped-def]
    result = exaworks("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in result.stdout


def test_version(exaworks) -> None:  # type: ignore[no-untyped-def]
    result = exaworks("--version")
    assert (result.exit_code, result.stdout) == (0, f"exaworks {package.__version__}\n")


def test_unknown_commands_and_options(exaworks) -> None:  # type: ignore[no-untyped-def]
    result = exaworks("job")
    assert result.exit_code == 2
    assert "No such command 'job'. Did you mean 'jobs'?" in result.stderr
    assert exaworks("zzz").exit_code == 2
    assert "Did you mean" not in exaworks("zzz").stderr
    assert exaworks("jobs", "--nope").exit_code == 2
    assert exaworks().exit_code == 2


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys, click\n"
        "before = set(sys.modules)\n"
        "from exaworks.cli.app import application\n"
        "application.main(['--help'], standalone_mode=False)\n"
        f"found = [m for m in set(sys.modules) - before if m.startswith({HEAVY!r})]\n"
        "assert not found, found\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "explain" in done.stdout


def test_help_is_quick() -> None:
    spent = []
    for _ in range(5):
        child = subprocess.Popen(
            [sys.executable, "-m", "exaworks.cli", "--help"], stdout=subprocess.DEVNULL
        )
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        assert child.returncode == 0
        spent.append(usage.ru_utime + usage.ru_stime)
    assert min(spent) < 0.15


def test_the_installed_program() -> None:
    program = Path(sysconfig.get_path("scripts")) / "exaworks"
    done = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, f"exaworks {package.__version__}\n")


@pytest.mark.parametrize(
    ("failure", "code", "told"),
    [
        ("exaworks.psij.SubmitException('no answer')", 1, "Error: no answer"),
        ("OSError(28, 'No space left', 'file')", 1, "Error: [Errno 28] No space left: 'file'"),
        ("RuntimeError('boom')", 1, "Error: unexpected RuntimeError: boom"),
        ("KeyboardInterrupt()", 130, ""),
        ("click.Abort()", 130, ""),
    ],
)
@pytest.mark.parametrize("debug", [False, True])
def test_failures_are_told_in_a_line_or_two(
    failure: str, code: int, told: str, debug: bool
) -> None:
    program = (
        "import sys, click, exaworks.psij, exaworks.cli.store\n"
        "from exaworks.cli.app import application\n"
        f"def fail(*_, **__): raise {failure}\n"
        "exaworks.cli.store.Store = fail\n"
        "application.main(sys.argv[1:])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, *(["--debug"] if debug else []), "jobs"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code
    assert told in done.stderr
    assert done.stdout == ""
    if code == 1:
        assert ("Traceback" in done.stderr) is debug
    if not debug:
        assert len(done.stderr.splitlines()) <= 2


def test_debug_is_heard_after_the_command_and_from_the_environment(
    exaworks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "home").write_text("not a folder")
    assert "Traceback" not in exaworks("jobs").stderr
    assert "Traceback" in exaworks("jobs", "--debug").stderr
    monkeypatch.setenv("EXAWORKS_DEBUG", "1")
    assert "Traceback" in exaworks("jobs").stderr


def test_nobody_reads_any_more() -> None:
    """As with ``| head``: no message, and no second one when Python ends."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "exaworks.cli", "info"],
        stdout=writer,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(exaworks, shell: str) -> None:  # type: ignore[no-untyped-def]
    result = exaworks("completion", shell)
    assert result.exit_code == 0
    assert "_EXAWORKS_COMPLETE" in result.stdout
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=result.stdout, text=True, check=True)


def complete(words: str) -> list[str]:
    """What bash would offer."""
    done = subprocess.run(
        [sys.executable, "-c", "from exaworks.cli import main; main()"],
        env={
            **os.environ,
            "_EXAWORKS_COMPLETE": "bash_complete",
            "COMP_WORDS": words,
            "COMP_CWORD": str(len(words.split()) - (not words.endswith(" "))),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_completion(store) -> None:  # type: ignore[no-untyped-def]
    from exaworks.psij import Job, JobSpec

    store.add([Job(JobSpec("x")) for _ in range(12)], "local", None, None)
    assert complete("exaworks e") == ["explain", "executors", "engines"]
    assert complete("exaworks run --executor lo") == ["local"]
    assert complete("exaworks status 1") == ["12", "11", "10", "1"]
    assert "12" not in complete("exaworks status 12 1")
    assert "--older-than" in complete("exaworks forget --o")
