"""exaworks.psij against psij-python (from PyPI) and against the floor, in one go.

usage: python benchmarks/psij.py [--executor local|slurm] [--counts 100,1000] [--rounds 3]
                                 [--watch 1000,10000 [--seconds 300]]
                                 [--peer PYTHON] [--json FILE]

The peer is installed into a virtual environment in the user's cache unless --peer names a Python
that has it. Contestants take turns, round by round; medians over the rounds are printed, and the
ratio. With "slurm" a cluster must be there (tests/clusters/slurm.sh start); queries to the
scheduler are counted by wrappers first in PATH. With --watch, only the cost of watching so many
jobs that wait in the queue of Slurm is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PEER = "psij-python==0.9.11"
WORKER = Path(__file__).parent / "workers" / "psij_jobs.py"
COUNTED = ("squeue", "sacct", "scontrol", "sinfo")


def peer_python() -> str:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "exaworks-benchmarks" / PEER.replace("==", "-")
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"installing {PEER} into {folder}", file=sys.stderr)
        venv.create(folder, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", PEER], check=True)
    return str(python)


def worker(python: str, module: str, executor: str, test: str, count: int) -> dict[str, Any]:
    """Run one contestant with a home of its own; count its queries to the scheduler."""
    home = tempfile.mkdtemp(prefix="exaworks-benchmark-", dir=os.environ.get("BENCHMARK_SHARED"))
    wrappers = Path(home, "bin")
    wrappers.mkdir()
    log = Path(home, "queries")
    log.touch()
    for command in COUNTED:
        real = shutil.which(command)
        if real:
            (wrappers / command).write_text(
                f"#!/bin/sh\necho {command} >> '{log}'\nexec {real} \"$@\"\n"
            )
            (wrappers / command).chmod(0o755)
    env = {
        **os.environ,
        "EXAWORKS_HOME": home,
        "EXAWORKS_KEEPER_IDLE": "1",
        "HOME": home,
        "PATH": f"{wrappers}:{os.environ['PATH']}",
    }
    done = subprocess.run(
        [python, str(WORKER), module, executor, test, str(count)],
        env=env, stdout=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{module} {test} {count} failed with exit code {done.returncode}")
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if executor != "local":
        result["scheduler queries"] = len(log.read_text().splitlines())
    shutil.rmtree(home, ignore_errors=True)
    return result


def sbatch_loop(count: int) -> dict[str, Any]:
    """The plain way: one sbatch a job, in a loop, and squeue until all are gone."""
    begin = time.time()
    ids = []
    for _ in range(count):
        out = subprocess.run(
            ["sbatch", "--parsable", "--output=/dev/null", "--wrap=/bin/true"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        ids.append(out.strip())
    submitted = time.time()
    mine = set(ids)
    while mine & set(
        subprocess.run(
            ["squeue", "-h", "--me", "-o", "%i"], capture_output=True, text=True, check=True
        ).stdout.split()
    ):
        time.sleep(0.2)
    return {"submitted/s": count / (submitted - begin), "last completion s": time.time() - begin}


@contextmanager
def held_jobs(count: int) -> Iterator[Path]:
    """Jobs in the queue that do not start; gives a file with their ids."""
    words = ["sbatch", "--parsable", "--hold", "--output=/dev/null", "--wrap=/bin/true"]

    def submit(_: int) -> str:
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    with tempfile.NamedTemporaryFile("w+") as file, ThreadPoolExecutor(4) as threads:
        ids = list(threads.map(submit, range(count)))
        try:
            file.writelines(ids)
            file.flush()
            yield Path(file.name)
        finally:
            for at in range(0, count, 1000):
                part = [native_id.strip() for native_id in ids[at : at + 1000]]
                subprocess.run(["scancel", *part], check=True)


def watch(peer: str, count: int, seconds: int) -> dict[str, dict[str, float]]:
    """Watch jobs that do nothing."""
    with held_jobs(count) as ids:
        os.environ["BENCHMARK_IDS"], os.environ["BENCHMARK_SECONDS"] = str(ids), str(seconds)
        title = f"watching {count} jobs in the queue for {seconds} s, default settings"
        return compete(title, 1, {
            "exaworks": lambda: worker(sys.executable, "exaworks.psij", "slurm", "watch", count),
            "psij-python": lambda: worker(peer, "psij", "slurm", "watch", count),
        })  # fmt: skip


def import_time(python: str, module: str) -> dict[str, Any]:
    def run(code: str) -> float:
        begin = time.perf_counter()
        subprocess.run([python, "-c", code], check=True, cwd="/")
        return time.perf_counter() - begin

    run(f"import {module}")
    spent = [run(f"import {module}") - run("pass") for _ in range(5)]
    return {"import ms": 1000 * statistics.median(spent)}


def flatten(result: dict[str, Any]) -> dict[str, float]:
    flat: dict[str, float] = {}
    for key, value in result.items():
        if isinstance(value, dict):
            flat.update({f"{key} ({k})": v for k, v in value.items()})
        elif value is not None:
            flat[key] = value
    return flat


def compete(
    title: str, rounds: int, contestants: dict[str, Callable[[], dict[str, Any]]]
) -> dict[str, dict[str, float]]:
    """Let the contestants take turns; print medians and the ratio of the first to the others."""
    results: dict[str, list[dict[str, float]]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            results[name].append(flatten(run()))
    medians = {
        name: {key: statistics.median(r[key] for r in runs) for key in runs[0]}
        for name, runs in results.items()
    }
    print(f"\n{title} (medians of {rounds})")
    names = list(contestants)
    header = "".join(f"{name:>16}" for name in names)
    ratios = "".join(f"{f'{names[0]} / {name}':>26}" for name in names[1:])
    print(f"{'':<30}{header}{ratios}")
    rows = list(dict.fromkeys(key for name in names for key in medians[name]))
    for key in rows:
        line = f"{key:<30}"
        for name in names:
            value = medians[name].get(key)
            line += f"{'-' if value is None else f'{value:.4g}':>16}"
        first = medians[names[0]].get(key)
        for name in names[1:]:
            other = medians[name].get(key)
            line += f"{'-' if first is None or not other else f'{first / other:.3g}':>26}"
        print(line, flush=True)
    return medians


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--executor", choices=["local", "slurm"], default="local")
    parser.add_argument("--counts", default="100,1000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--watch", metavar="COUNTS", help="only measure watching so many jobs")
    parser.add_argument("--seconds", type=int, default=300, help="for how long (default: 300)")
    parser.add_argument("--peer", metavar="PYTHON", help="a Python that has psij-python")
    parser.add_argument("--json", type=Path, help="write the medians to this file")
    options = parser.parse_args()
    peer = options.peer or peer_python()
    backend, rounds = options.executor, options.rounds
    ours = lambda test, count: worker(sys.executable, "exaworks.psij", backend, test, count)  # noqa: E731
    theirs = lambda test, count: worker(peer, "psij", backend, test, count)  # noqa: E731
    report: dict[str, Any] = {}
    if options.watch:
        for count in map(int, options.watch.split(",")):
            report[f"watch {count}"] = watch(peer, count, options.seconds)
        if options.json:
            options.json.write_text(json.dumps(report, indent=1))
        return
    report["import"] = compete("import", 1, {
        "exaworks": lambda: import_time(sys.executable, "exaworks.psij"),
        "psij-python": lambda: import_time(peer, "psij"),
    })  # fmt: skip
    for count in map(int, options.counts.split(",")):
        contestants: dict[str, Callable[[], dict[str, Any]]] = {
            "exaworks": lambda n=count: ours("loop", n),
            "exaworks bulk": lambda n=count: ours("bulk", n),
            "psij-python": lambda n=count: theirs("loop", n),
        }
        if backend == "local":
            contestants["floor"] = lambda n=count: worker(
                sys.executable, "floor", "local", "floor", n
            )
        else:
            contestants["sbatch loop"] = lambda n=count: sbatch_loop(n)
        report[str(count)] = compete(f"{count} jobs of /bin/true on {backend}", rounds, contestants)
    report["latency"] = compete("end of a job to its callback, default settings", rounds, {
        "exaworks": lambda: ours("latency", 200 if backend == "local" else 20),
        "psij-python": lambda: theirs("latency", 200 if backend == "local" else 20),
    })  # fmt: skip
    if options.json:
        options.json.write_text(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
