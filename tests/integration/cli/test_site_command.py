"""``exaworks site``, as a user runs it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from cli_program import Exaworks

MINE = """
title = "Mine"
host = {{names = ["*"]}}
scratch = "{scratch}"
work_directory = "$NOT_SET_ANYWHERE/work"
[schedulers.local]
"""


@pytest.fixture(autouse=True)
def _no_system_profiles(exaworks: Exaworks, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = exaworks.folder / "system"
    exaworks.environment["EXAWORKS_SITES_SYSTEM"] = str(folder)
    monkeypatch.setenv("EXAWORKS_SITES_SYSTEM", str(folder))


def write(program: Exaworks, name: str, text: str) -> Path:
    path = program.home / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def findings(program: Exaworks, name: str, code: int = 0) -> dict[str, dict[str, Any]]:
    return {
        one["what"]: one for one in json.loads(program("site", "check", name, "--json", code=code))
    }


def test_list(exaworks: Exaworks) -> None:
    write(exaworks, "sites/mine.toml", MINE.format(scratch="/"))
    broken = write(exaworks, "sites/broken.toml", "titel = 1\n[schedulers.local]\n")
    out, err = exaworks.both("site", "list")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert lines["frontier"].split()[1:4] == ["slurm", "2026-07-07", "no"]
    assert lines["mine"].startswith("mine *")
    assert f"{broken}: titel: there is no such key; did you mean 'title'?" in err
    listed = {one["name"]: one for one in json.loads(exaworks("site", "list", "--json"))}
    assert listed["mine"]["here"]
    assert not listed["frontier"]["here"]
    assert listed["frontier"]["executors"] == ["slurm"]
    assert "titel" in listed["broken"]["problem"]


def test_show_says_where_values_are_from(exaworks: Exaworks) -> None:
    own = write(
        exaworks, "sites.toml", '[frontier]\naccount = "abc123"\nssh = "me@frontier.test"\n'
    )
    out = exaworks("site", "show", "frontier")
    assert f'account = "abc123"  # {own}\n' in out
    assert 'launcher = "srun"  # shipped: frontier.toml\n' in out
    shown = json.loads(exaworks("site", "show", "FRONTIER", "--json"))
    assert shown["url"] == "ssh://me@frontier.test"
    assert shown["profile"]["account"] == "abc123"
    assert shown["origins"]["account"] == str(own)
    assert shown["origins"]["schedulers.slurm.launcher"] == "shipped: frontier.toml"


def test_what_is_shown_can_be_loaded(exaworks: Exaworks) -> None:
    out = exaworks("site", "show", "archer2")
    write(exaworks, "sites/copy.toml", out.replace('"archer2"', '"copy"', 1))
    one, other = (
        json.loads(exaworks("site", "show", name, "--json"))["profile"]
        for name in ("archer2", "copy")
    )
    assert other.pop("name") == "copy"
    assert one == other


def test_unknown_and_broken_sites(exaworks: Exaworks) -> None:
    _, err = exaworks.both("site", "show", "fronteer", code=2)
    assert err.startswith("Error: There is no site 'fronteer'. Did you mean 'frontier'?")
    write(exaworks, "sites.toml", "[frontier]\naccount = 1\n")
    for command in ("show", "check"):
        _, err = exaworks.both("site", command, "frontier", code=1)
        assert f"{exaworks.home / 'sites.toml'}: account: must be text" in err


def test_check_on_the_site(exaworks: Exaworks) -> None:
    write(exaworks, "sites/mine.toml", MINE.format(scratch=exaworks.folder))
    found = findings(exaworks, "mine")
    assert {what: one["verdict"] for what, one in found.items()} == {
        "profile": "ok",
        "this machine": "ok",
        "scheduler local": "ok",
        "scratch": "ok",
        "work_directory": "warn",
    }
    assert found["work_directory"]["detail"] == "$NOT_SET_ANYWHERE is not set here"


def test_check_finds_what_is_wrong(exaworks: Exaworks) -> None:
    text = MINE.format(scratch="/not/there").replace("[sch", "account_required = true\n[sch")
    write(exaworks, "sites/mine.toml", text + 'launcher = "fly"\n[schedulers.x]\n')
    write(exaworks, "sites.toml", '[mine]\ndefault_scheduler = "local"\n')
    found = findings(exaworks, "mine", code=1)
    failed = {what for what, one in found.items() if one["verdict"] == "fail"}
    assert failed == {"account", "scheduler x", "scratch"}
    assert all(found[what]["fix"] for what in failed)
    out = exaworks("site", "check", "mine", code=1)
    assert "there is no launcher 'fly'" in out
    assert out.splitlines()[0].split() == ["CHECK", "VERDICT", "FOUND", "TO", "DO"]


def test_check_of_a_site_that_cannot_be_reached(exaworks: Exaworks) -> None:
    text = 'ssh = {host = "127.0.0.1", port = 1}\n[schedulers.local]\n'
    write(exaworks, "sites/far.toml", text)
    found = findings(exaworks, "far", code=1)
    assert found["connection"]["verdict"] == "fail"
    assert found["connection"]["fix"]


def test_detect_without_a_scheduler(exaworks: Exaworks) -> None:
    exaworks.environment["PATH"] = str(exaworks.folder)
    _, err = exaworks.both("site", "detect", code=1)
    assert err.startswith("Error: No scheduler on this machine tells about itself.\n")


# -- on a real Slurm


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


@pytest.mark.slurm
def test_detect_on_slurm(on_slurm: Exaworks) -> None:
    exaworks = on_slurm
    out, err = exaworks.both("site", "detect", "--name", "mine", "--write")
    file = exaworks.home / "sites" / "mine.toml"
    assert (out, err) == ("", f"Wrote {file}\n")
    shown = json.loads(exaworks("site", "show", "mine", "--json"))
    assert shown["here"]
    scheduler = shown["profile"]["schedulers"]["slurm"]
    partitions = said("sinfo", "-h", "-o", "%R").split()
    assert sorted(scheduler["queues"]) == sorted(partitions)
    default = [name[:-1] for name in said("sinfo", "-h", "-o", "%P").split() if name[-1] == "*"]
    assert [scheduler["default_queue"]] == default
    nodes = set(said("sinfo", "-h", "-N", "-o", "%N").split())
    assert sum(node["count"] for node in shown["profile"]["nodes"].values()) == len(nodes)
    printed = exaworks("site", "detect", "--name", "mine")
    assert printed == file.read_text()
    detected = json.loads(exaworks("site", "detect", "--json", "--name", "mine"))
    assert detected == shown["profile"]


@pytest.mark.slurm
def test_a_detected_profile_passes_its_check(on_slurm: Exaworks) -> None:
    exaworks = on_slurm
    exaworks.both("site", "detect", "--name", "mine", "--write")
    found = findings(exaworks, "mine")
    assert found["scheduler slurm"]["verdict"] == "ok"
    assert found["queue debug"]["verdict"] == "ok"
    write(
        exaworks,
        "sites.toml",
        "[mine.schedulers.slurm.queues.gone]\n"
        '[mine.schedulers.slurm.queues.debug]\nmax_walltime = "9d"\n',
    )
    found = findings(exaworks, "mine", code=1)
    assert found["queue gone"]["verdict"] == "fail"
    assert found["queue debug"]["verdict"] == "warn"
    assert "max_walltime is 30m there" in found["queue debug"]["detail"]


@pytest.mark.slurm
def test_detect_overwrites_nothing(on_slurm: Exaworks) -> None:
    exaworks = on_slurm
    file = write(exaworks, "sites/mine.toml", "# by hand\n")
    _, err = exaworks.both("site", "detect", "--name", "mine", "--write", code=1)
    assert str(file) in err
    assert file.read_text() == "# by hand\n"
    exaworks.both("site", "detect", "--name", "mine", "--write", "--force")
    assert "[schedulers.slurm]" in file.read_text()
    assert list(file.parent.iterdir()) == [file]
