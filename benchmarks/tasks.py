"""exaworks.tasks against its peers (from PyPI and Debian) and against the floor, in one go.

usage: python benchmarks/tasks.py [--tests functions,commands,...] [--rounds 3]
                                  [--counts 1000,10000] [--cpus 0,1] [--peer PYTHON] [--json FILE]

functions, commands, latency, start, arrays: against peers, and the floor of two bare spawners.
functions-through, commands-through: a system driven by our engine on it, against itself.
killed: from the death of a worker to the failure of its task. mix: how much of the cores a mix of
tasks uses. memory: of a function that waits.

All have two workers. The peers are installed into a virtual environment in the user's cache unless
--peer names a Python that has them and exaworks. Contestants take turns, round by round; medians
over the rounds are printed, and how many times their figure ours is. CPU is that of all processes
of a contestant, start and end of its workers included. A contestant that is not there, or fails,
has a dash.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

PEERS = (
    "loky",
    "executorlib",
    "distributed",
    "parsl",
    "mpi4py",
    "radical.pilot",
    "hyperqueue",
    "numpy",
)
RUNNER = Path(__file__).parent / "workers" / "tasks_runner.py"
POOLS = (
    "exaworks", "allocation", "ProcessPoolExecutor", "loky", "executorlib", "dask", "parsl-htex",
)  # fmt: skip
THROUGH = (
    "exaworks on dask", "dask", "exaworks on parsl-htex", "parsl-htex", "exaworks on mpi",
    "mpi4py.futures",
)  # fmt: skip
CONTESTANTS = {
    "functions": POOLS,
    "commands": (
        "exaworks", "allocation", "floor", "ProcessPoolExecutor", "dask", "parsl-htex",
        "hyperqueue", "GNU parallel",
    ),
    "functions-through": THROUGH,
    "commands-through": (*THROUGH, "exaworks on radical", "radical"),
    "latency": POOLS,
    "start": POOLS,
    "arrays": POOLS,
    "killed": ("exaworks", "allocation"),
    "mix": ("exaworks",),
    "memory": ("exaworks", "allocation", "ProcessPoolExecutor", "loky"),
}  # fmt: skip
FIGURES = {
    "functions": ("rate", "tasks/s", True),
    "commands": ("rate", "tasks/s", True),
    "functions-through": ("rate", "tasks/s", True),
    "commands-through": ("rate", "tasks/s", True),
    "killed": ("median_ms", "ms", False),
    "mix": ("percent", "% of the cores in use", True),
    "memory": ("bytes", "bytes a task", False),
    "latency": ("median_ms", "ms", False),
    "start": ("start_s", "s to the first result", False),
    "arrays": ("ms", "ms for 8 MB there and back", False),
}
OPEN_MPI = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "OMPI_MCA_rmaps_base_oversubscribe": "1",
}
SLOW = {"dask": 2000, "parsl-htex": 2000, "hyperqueue": 1000, "GNU parallel": 500, "radical": 100}
"""How many tasks at most for those that take long."""


def peer_python() -> str:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "exaworks-benchmarks" / "tasks"
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing {', '.join(PEERS)} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        root = str(Path(__file__).parents[1])
        install = [str(python), "-m", "pip", "install", "-q"]
        subprocess.run([*install, "--editable", root, *PEERS], check=True)
    return str(python)


def run(
    python: str, contestant: str, test: str, count: int, cpus: set[int] | None
) -> dict[str, Any]:
    words = [python, str(RUNNER), contestant, test, str(min(count, SLOW.get(contestant, count)))]
    if cpus:
        words = ["taskset", "-c", ",".join(map(str, sorted(cpus))), *words]
    try:
        # Some peers look for programs of their own in PATH.
        path = f"{Path(python).parent}:{os.environ['PATH']}"
        done = subprocess.run(
            words,
            capture_output=True,
            text=True,
            timeout=300,
            check=True,
            env={**os.environ, **OPEN_MPI, "PATH": path},
        )
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError, OSError) as problem:
        text = getattr(problem, "stderr", None) or str(problem)
        print(f"{contestant}, {test}: {text.strip().splitlines()[-1]}", file=sys.stderr)
        return {}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tests", default=",".join(CONTESTANTS))
    parser.add_argument("--counts", default="1000,10000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cpus", default="")
    parser.add_argument("--peer")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    python = given.peer or peer_python()
    cpus = {int(word) for word in given.cpus.split(",") if word}
    report: list[dict[str, Any]] = []
    for test in given.tests.split(","):
        fixed = {
            "latency": [300], "start": [0], "arrays": [50], "killed": [30], "mix": [140],
            "memory": [100_000],
        }  # fmt: skip
        for count in fixed.get(test) or map(int, given.counts.split(",")):
            rounds: dict[str, list[dict[str, Any]]] = {}
            for _ in range(given.rounds):
                for contestant in CONTESTANTS[test]:
                    figures = run(python, contestant, test, count, cpus)
                    rounds.setdefault(contestant, []).append(figures)
            report += show(test, count, rounds)
    if given.json:
        given.json.write_text(json.dumps(report, indent=1))


def show(test: str, count: int, rounds: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    name, unit, more_is_better = FIGURES[test]
    print(f"\n{test}{f', {count} tasks' if count else ''} ({unit})")
    ours: float | None = None
    rows = []
    for contestant, found in rounds.items():
        values = [figures[name] for figures in found if name in figures]
        cpu = [figures["cpu_us"] for figures in found if "cpu_us" in figures]
        if not values:
            print(f"  {contestant:24} {'-':>12}")
            continue
        value = statistics.median(values)
        if ours is None or contestant.startswith("exaworks on"):
            ours = value
        ratio = ours / value if more_is_better else value / ours
        text = f"{statistics.median(cpu):8.0f} us CPU" if cpu else ""
        print(f"  {contestant:24} {value:12.4g} {text}   ours is {ratio:.2f} times better")
        rows.append({"test": test, "count": count, "who": contestant, "value": value, "cpu": cpu})
    return rows


if __name__ == "__main__":
    main()
