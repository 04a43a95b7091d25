"""Executors and launchers by name and version."""

import sys
from pathlib import Path

import pytest

from exaworks.core.plugins import Registry
from exaworks.psij import Descriptor, JobExecutor, Launcher


def registry() -> Registry:
    return Registry("thing", [
        Descriptor("a", "0.9", "collections.deque"),
        Descriptor("a", "0.10", "collections.Counter", aliases=["b"]),
        Descriptor("broken", "1", "no.such.module.Class"),
    ], "things")  # fmt: skip


@pytest.mark.parametrize(
    ("name", "constraint", "cls"),
    [
        ("a", None, "Counter"), ("b", None, "Counter"), ("a", "(< 0.10)", "deque"),
        ("a", ">= 0.1, != 0.10", "deque"), ("a", "(>0.1)", "Counter"),
    ],
)  # fmt: skip
def test_the_newest_match_is_taken(name: str, constraint: str | None, cls: str) -> None:
    assert registry().find(name, constraint)[1].__name__ == cls


@pytest.mark.parametrize(
    ("name", "constraint", "words"),
    [
        ("c", None, "no thing 'c'; there are: a, b, broken"),
        ("a", "> 1", "No version of the thing 'a' satisfies '> 1'; there are: 0.9, 0.10"),
        ("a", "new", "not a version constraint"),
        ("broken", None, "cannot be loaded: No module named 'no'"),
    ],
)
def test_errors(name: str, constraint: str | None, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        registry().find(name, constraint)


def test_one_name_and_version_is_one_class() -> None:
    things = registry()
    things.register(Descriptor("a", "0.9", "collections.deque"))
    with pytest.raises(ValueError, match="already is a thing 'a'"):
        things.register(Descriptor("a", "0.9", "collections.Counter"))


def test_built_in_names() -> None:
    assert {"local", "slurm"} <= JobExecutor.get_executor_names()
    assert {"single", "multiple", "mpirun", "mpiexec", "srun"} <= Launcher.get_launcher_names()


def test_plugins_of_third_parties(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_hpc.py").write_text(
        "from exaworks.psij import Descriptor, Launcher\n"
        "class L(Launcher):\n"
        "    def get_launch_command(self, job): return ['acme', job.spec.executable]\n"
        "LAUNCHERS = [Descriptor('acme', '1.0', 'acme_hpc.L')]\n"
    )
    info = tmp_path / "acme-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[exaworks.psij.launchers]\nacme = acme_hpc:LAUNCHERS\nbad = acme_hpc:NONE\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    things = Registry("launcher", [], "exaworks.psij.launchers")
    assert things.names() == {"acme"}
    assert things.find("acme")[1].__module__ == "acme_hpc"
    monkeypatch.delitem(sys.modules, "acme_hpc", raising=False)
