"""exaworks.flow against Parsl and Dask (from PyPI), in one go.

usage: python benchmarks/flow.py [--shapes bag,chain,fan,stencil,random,pending] [--counts 1000]
                                 [--rounds 3] [--peer PYTHON] [--json FILE]

Microseconds a task of graphs whose tasks do nothing, from the first call to the last result, with
two workers: a bag, a chain, a fan out and in, a stencil, a random graph. "The graph alone" runs on
an executor whose tasks have ended at once. pending: bytes of a call that waits; and blocks of
memory that are left of each when all have ended, and one of their futures is held.

The peers are installed into a virtual environment in the user's cache unless --peer names a Python
that has them and exaworks. Contestants take turns, round by round; medians over the rounds are
printed, and how many times as much the others take as ours on threads. A contestant that is not
there, or fails, has a dash.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tasks import peer_python

RUNNER = Path(__file__).parent / "workers" / "flow_runner.py"
CONTESTANTS = (
    "exaworks on threads", "exaworks, the graph alone", "exaworks on inline", "exaworks on local",
    "parsl on threads, no log", "parsl on threads", "parsl on HTEX, no log", "dask futures",
)  # fmt: skip
OF_PENDING = ("exaworks on threads", "parsl on threads, no log")
SHAPES = ("bag", "chain", "fan", "stencil", "random", "pending")
SLOW = {"parsl on threads": 10_000, "parsl on HTEX, no log": 2000, "dask futures": 2000}
"""How many tasks at most for those that take long."""


def run(python: str, contestant: str, shape: str, count: int) -> dict[str, Any]:
    words = [python, str(RUNNER), contestant, shape, str(min(count, SLOW.get(contestant, count)))]
    try:
        path = f"{Path(python).parent}:/usr/local/bin:/usr/bin:/bin"
        done = subprocess.run(
            words, capture_output=True, text=True, timeout=600, check=True, env={"PATH": path}
        )
        figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError, OSError) as problem:
        text = getattr(problem, "stderr", None) or str(problem)
        print(f"{contestant}, {shape}: {text.strip().splitlines()[-1]}", file=sys.stderr)
        return {}
    return figures


def show(shape: str, count: int, rounds: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    unit = "bytes of a task that waits" if shape == "pending" else "us a task"
    print(f"\n{shape}, {count} tasks ({unit})")
    name = "bytes" if shape == "pending" else "us"
    ours: float | None = None
    rows = []
    for contestant, found in rounds.items():
        values = [figures[name] for figures in found if name in figures]
        if not values:
            print(f"  {contestant:28} {'-':>10}")
            continue
        value = statistics.median(values)
        ours = value if ours is None else ours
        left = [figures["left"] for figures in found if "left" in figures]
        text = f", {statistics.median(left):.2f} blocks left" if left else ""
        print(f"  {contestant:28} {value:10.4g}{text}   {value / ours:.2f} times ours")
        rows.append({"shape": shape, "count": count, "who": contestant, name: value})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--counts", default="1000,10000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    python = given.peer or peer_python()
    report: list[dict[str, Any]] = []
    for shape in given.shapes.split(","):
        for count in [100_000] if shape == "pending" else map(int, given.counts.split(",")):
            rounds: dict[str, list[dict[str, Any]]] = {}
            for _ in range(given.rounds):
                for contestant in OF_PENDING if shape == "pending" else CONTESTANTS:
                    rounds.setdefault(contestant, []).append(run(python, contestant, shape, count))
            report += show(shape, count, rounds)
    if given.json:
        given.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
