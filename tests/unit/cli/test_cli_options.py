"""From options to a specification."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

import pytest

from exaworks.cli.commands import script as script_module
from exaworks.cli.options import JobOptions
from exaworks.psij import (
    JobAttributes,
    JobSpec,
    ResourceSpecV1,
    StageIn,
    StageOut,
    StageOutFlags,
)


def spec_of(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> JobSpec:
    """The specification that a command line describes."""
    found = []

    def keep(
        self: JobOptions, executor: str, command: tuple[str, ...], base: Path | None
    ) -> JobSpec:
        found.append(original(self, executor, command, base))
        return found[-1]

    original = JobOptions.spec
    monkeypatch.setattr(JobOptions, "spec", keep)
    script_module.command.main(["-e", "local", *arguments], standalone_mode=False)
    (spec,) = found
    return spec


def test_nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(monkeypatch, "echo", "-n", "--", "x")
    assert spec == JobSpec("echo", ["-n", "--", "x"], directory=Path.cwd())
    assert spec.resources is None
    assert not spec.attributes.duration_given


def test_everything_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_HERE", "taken")
    spec = spec_of(
        monkeypatch,
        *("--name", "N", "-N", "2", "-n", "8", "--processes-per-node", "4", "-c", "3"),
        *("-g", "1", "-m", "4G", "--exclusive", "-t", "1:30:00", "-q", "Q", "-A", "A"),
        *("--reservation", "R", "--attr", "qos=high", "--attr", "slurm.exclusive"),
        *("-E", "A=1=2", "-E", "FROM_HERE", "-E", "EMPTY=", "--clean-env", "-C", "/d"),
        *("--stdin", "in", "--stdout", "/o", "--stderr", "e", "--launcher", "multiple"),
        *("--pre-launch", "/pre", "--post-launch", "/post", "--stage-in", "/a:b"),
        *("--stage-out", "c:/d:on-success", "--cleanup", "tmp", "--cleanup", "x"),
        *("--", "prog", "--name", "of the program"),
    )
    assert spec == JobSpec(
        "prog",
        ["--name", "of the program"],
        directory="/d",
        name="N",
        inherit_environment=False,
        environment={"A": "1=2", "FROM_HERE": "taken", "EMPTY": ""},
        stdin_path="in",
        stdout_path="/o",
        stderr_path="e",
        resources=ResourceSpecV1(2, 8, 4, 3, 1, True, 4 * 1024**3),
        attributes=JobAttributes(
            timedelta(hours=1, minutes=30),
            "Q",
            "A",
            "R",
            {"local.qos": "high", "slurm.exclusive": None},
        ),
        pre_launch="/pre",
        post_launch="/post",
        launcher="multiple",
        stage_in=[StageIn("/a", "b")],
        stage_out=[StageOut("c", "/d", StageOutFlags.ON_SUCCESS)],
        cleanup=["tmp", "x"],
    )


def test_paths_are_seen_from_here(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, exaworks: object
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = spec_of(monkeypatch, "-C", "sub", "--pre-launch", "pre.sh", "true")
    assert spec.directory == tmp_path / "sub"
    assert spec.pre_launch == tmp_path / "pre.sh"


def test_the_options_that_were_given_can_be_named() -> None:
    assert JobOptions().given() == []
    options = JobOptions(processes_per_node=2, env=("A=1",), gpus=0, exclusive=True)
    assert options.given() == ["--processes-per-node", "--gpus", "--exclusive", "--env"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--memory", "lots"], "no size"),
        (["--time", "soon"], "Unknown walltime"),
        (["--env", "NOT_SET_ANYWHERE"], "is not set here"),
        (["--env", "=1"], "has no name"),
        (["--nodes", "0"], "not in the range"),
        (["--stage-out", "x"], "is not SRC:DST"),
        (["--attr", "=x"], "has no name"),
    ],
)
def test_mistakes_are_named(exaworks, arguments: list[str], told: str) -> None:  # type: ignore[no-untyped-def]
    result = exaworks("submit", "-e", "local", *arguments, "--", "true")
    assert result.exit_code == 2
    assert told in result.stderr
    assert arguments[0] in result.stderr


def test_values_that_contradict_each_other(exaworks) -> None:  # type: ignore[no-untyped-def]
    arguments = ["--nodes", "2", "--processes", "5", "--processes-per-node", "2"]
    result = exaworks("submit", "-e", "local", *arguments, "--", "true")
    assert result.exit_code == 2
    assert "process_count" in result.stderr
    assert "Traceback" not in result.stderr
    assert json.loads(exaworks("jobs", "--json").stdout) == []
