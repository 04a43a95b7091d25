"""The examples of tasks run on more than one engine, and come to what is known."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "tasks"
GUIDE = ROOT / "docs" / "write-an-engine.md"
# More cores than there may be, so that tasks meet.
ENGINES = {
    "local": ["--engine-option", "workers=6", "--engine-option", "bind=false"],
    "allocation": [
        "--engine",
        "allocation",
        *("--engine-option", "executor=local"),
        *("--engine-option", "cores_per_node=6"),
        *("--engine-option", "bind=false"),
    ],
}

engines = pytest.mark.parametrize("engine", sorted(ENGINES))


def call(words: list[str], folder: Path, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **variables},
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run(name: str, engine: str, folder: Path, *words: str) -> str:
    """What an example prints that has come to the right result."""
    output = call(
        [str(EXAMPLES / f"{name}.py"), *ENGINES[engine], *words],
        folder,
        OMPI_ALLOW_RUN_AS_ROOT="1",
        OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
    )
    assert output.splitlines()[-1] == "as it should be"
    return output


@engines
def test_parameter_sweep(engine: str, tmp_path: Path) -> None:
    output = run("parameter_sweep", engine, tmp_path, "--points", "151", "--output", "out.csv")
    assert "exponent at r = 4.0: 0.69" in output
    with open(tmp_path / "out.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["r"] for row in rows] == [f"{2.5 + 0.01 * n:.6f}" for n in range(151)]
    periods = {row["r"]: int(row["period"]) for row in rows}
    # R. May, 1976: 2 from 3, 4 from 3.449, and 3 from 3.828
    assert [periods[f"{r:.6f}"] for r in (2.9, 3.2, 3.5, 3.84)] == [1, 2, 4, 3]
    for row in rows:
        assert float(row["exponent"]) < 0.05 or row["period"] == "0"


@pytest.mark.mpi
@pytest.mark.skipif(shutil.which("mpirun") is None, reason="there is no mpirun")
@engines
def test_mpi_ensemble(engine: str, tmp_path: Path) -> None:
    output = run("mpi_ensemble", engine, tmp_path)
    assert "5 members of 2 ranks, joined by MPI" in output
    assert "the least energy is -0.5000 Hartree" in output


@engines
def test_mpi_ensemble_without_mpi(engine: str, tmp_path: Path) -> None:
    words = ["--members", "3", "--ranks", "3", "--launcher", "multiple"]
    output = run("mpi_ensemble", engine, tmp_path, *words)
    assert "3 members of 3 ranks, each on its own" in output


@engines
def test_mixed_gpus(engine: str, tmp_path: Path) -> None:
    output = run("mixed_gpus", engine, tmp_path, "--gpus", "2")
    used = [float(each) for each in re.findall(r"at most (\S+) of it was used", output)]
    assert max(used) == 1.0
    assert len(used) <= 2
    assert "no GPU was used twice" in output
    assert "least energy of 7 atoms: -16.505384" in output


def test_mixed_gpus_adds_up() -> None:
    """A GPU that two have at a time is noticed."""
    code = """
from mixed_gpus import most_used
half = {"kind": "refine", "node": "n", "gpus": ["0"], "begun": 1.0, "ended": 3.0}
whole = {"kind": "finish", "node": "n", "gpus": ["0"], "begun": 2.0, "ended": 4.0}
later = {**whole, "begun": 3.0}
print(most_used([half, whole]), most_used([half, half, later]))
"""
    assert call(["-c", code], EXAMPLES) == "{'n/0': 1.5} {'n/0': 1.0}\n"


@engines
def test_active_learning(engine: str, tmp_path: Path) -> None:
    output = run("active_learning", engine, tmp_path)
    found = re.match(r"(\d+) simulations, (\d+) of them proposed", output)
    assert found is not None
    assert 1 <= int(found[2]) < int(found[1]) <= 80
    assert "stopped: nothing is expected to fit better" in output


def test_options_that_make_no_sense(tmp_path: Path) -> None:
    for words, said in (
        (["--engine", "nosuch"], "There is no engine 'nosuch'; there are: "),
        (["--engine-option", "workers"], "write KEY=VALUE"),
        (["--engine-option", "workers=0"], "workers must be a whole number of at least 1, not 0"),
    ):
        done = subprocess.run(
            [sys.executable, EXAMPLES / "parameter_sweep.py", *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
        )
        assert done.returncode == 1
        assert said in done.stderr
        assert "Traceback" not in done.stderr


# The engine of the guide


@pytest.fixture
def third_party(tmp_path: Path) -> Path:
    """A folder with the engine of the guide, as if it were installed there."""
    text = GUIDE.read_text()
    module = re.search(r"^```python\n(\"\"\"process_engine.*?)^```\n", text, re.S | re.M)
    point = re.search(r"^(\[project\.entry-points.*?\n)\n?```", text, re.S | re.M)
    assert module is not None
    assert point is not None
    assert '"exaworks.tasks.engines"' in point[1]
    (tmp_path / "process_engine.py").write_text(module[1])
    info = tmp_path / "process_engine-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: process-engine\nVersion: 0.1.0\n")
    name, value = re.findall(r'^(\w+) = "(.*)"$', point[1], re.M)[0]
    (info / "entry_points.txt").write_text(f"[exaworks.tasks.engines]\n{name} = {value}\n")
    return tmp_path


def test_an_engine_of_a_third_party(third_party: Path) -> None:
    """It is found by its name: from Python, on the command line, by the examples."""
    words = ["-m", "exaworks.cli"]
    listed = call([*words, "engines", "--markdown"], third_party)
    assert "| `process` | in processes of this machine | yes |" in listed
    option = ["--engine", "process", "--engine-option", "address=127.0.0.1"]
    printed = call([*words, "map", "-k", *option, "echo {}", ":::", "a", "b"], third_party)
    assert printed.splitlines() == ["a", "b"]
    words = [str(EXAMPLES / "parameter_sweep.py"), *option]
    output = call(words, third_party, PYTHONPATH=str(third_party))
    assert output.splitlines()[-1] == "as it should be"


def test_the_kit_with_that_engine(third_party: Path) -> None:
    """A part of the kit, as the guide calls it."""
    text = GUIDE.read_text()
    kit = re.search(r"^```py\n(from exaworks\.tasks\.conformance.*?)^```\n", text, re.S | re.M)
    assert kit is not None
    (third_party / "test_it.py").write_text(kit[1])
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "test_it.py"]
    chosen = "values or retries or gpus or dies or killed or output or cancel"
    printed = call([*words, "-k", chosen], third_party, PYTHONPATH=str(third_party))
    assert " passed" in printed
    assert "skipped" not in printed
