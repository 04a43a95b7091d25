"""An ensemble of 120 jobs through PSI/J: the phase transition of the Ising model.

usage: python ensemble.py [--executor local|slurm] [--members 120] [--output FOLDER]

Each job simulates one temperature and writes a result. The results are collected, checked against
the exact solution of Onsager (Phys. Rev. 65, 117, 1944), and drawn.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import time
from datetime import timedelta
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from exaworks.psij import (
    Job,
    JobAttributes,
    JobExecutor,
    JobExecutorConfig,
    JobSpec,
    JobState,
    ResourceSpecV1,
    as_completed,
)

CRITICAL = 2 / math.log(1 + math.sqrt(2))
PROGRAM = Path(__file__).with_name("ising.py").resolve()


def exact_energy(temperature: float) -> float:
    """Onsager's energy per spin of the infinite lattice, by numerical integration."""
    k = 2 * math.tanh(2 / temperature) / math.cosh(2 / temperature)
    steps = 2000
    integral = sum(
        (math.pi / 2 / steps) / math.sqrt(1 - (k * math.sin(math.pi / 2 * (i + 0.5) / steps)) ** 2)
        for i in range(steps)
    )
    inner = 1 + 2 / math.pi * (2 * math.tanh(2 / temperature) ** 2 - 1) * integral
    return -inner / math.tanh(2 / temperature)


def exact_magnetization(temperature: float) -> float:
    """Onsager's and Yang's magnetization of the infinite lattice."""
    if temperature >= CRITICAL:
        return 0.0
    return (1 - math.sinh(2 / temperature) ** -4) ** 0.125


def fitting_executor() -> str:
    """Slurm if it is there and answers, else this machine."""
    return "local" if JobExecutor.get_instance("slurm").unusable() else "slurm"


def make_jobs(members: int, output: Path) -> list[Job]:
    """One job a temperature, from 1.2 to 3.6."""
    jobs = []
    for i in range(members):
        temperature = 1.2 + 2.4 * i / (members - 1)
        spec = JobSpec(
            sys.executable,
            [str(PROGRAM), f"{temperature:.4f}", str(i), f"result-{i:03}.json"],
            name="ising",
            directory=output,
            stdout_path=f"out-{i:03}.txt",
            stderr_path=f"err-{i:03}.txt",
            resources=ResourceSpecV1(process_count=1, cpu_cores_per_process=1),
            attributes=JobAttributes(duration=timedelta(minutes=5)),
        )
        jobs.append(Job(spec))
    return jobs


def follow(jobs: list[Job], console: Console) -> None:
    """Show how many jobs wait, run and have ended, until all have."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("running", total=len(jobs))
        for _ in as_completed(jobs, timeout=timedelta(minutes=30)):
            running = sum(job.status.state is JobState.ACTIVE for job in jobs)
            progress.update(bar, advance=1, description=f"{running:3} running")


def collect(jobs: list[Job], output: Path, console: Console) -> list[dict[str, float]]:
    """The results of the jobs that have completed; say what became of the others."""
    results = []
    for i, job in enumerate(jobs):
        if job.status.state is JobState.COMPLETED:
            results.append(json.loads((output / f"result-{i:03}.json").read_text()))
        else:
            error = (output / f"err-{i:03}.txt").read_text() if job.native_id else ""
            console.print(f"[red]job {job.native_id}: {job.status} {error[-500:]}")
    return results


def check(results: list[dict[str, float]]) -> tuple[float, int]:
    """Largest deviation from the exact energy away from the transition, and how many are off."""
    off, worst = 0, 0.0
    for result in results:
        if abs(result["temperature"] - CRITICAL) > 0.3:  # there a small lattice differs
            deviation = abs(result["energy"] - exact_energy(result["temperature"]))
            worst = max(worst, deviation)
            off += deviation > 0.1
    return worst, off


def draw(results: list[dict[str, float]], path: Path) -> None:
    """A picture (SVG) of measured points and exact curves."""
    width, height, margin = 720, 420, 50
    low, high = 1.2, 3.6

    def at(temperature: float, magnetization: float) -> str:
        x = margin + (temperature - low) / (high - low) * (width - 2 * margin)
        y = height - margin - magnetization * (height - 2 * margin)
        return f"{x:.1f},{y:.1f}"

    curve = " ".join(
        at(t, exact_magnetization(t)) for t in (low + (high - low) * i / 600 for i in range(601))
    )
    points = [at(r["temperature"], r["magnetization"]).split(",") for r in results]
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="3.5" fill="#c2410c"/>' for x, y in points)
    ticks = "".join(
        '<text x="{}" y="{}" text-anchor="middle">{}</text>'.format(
            *at(t, 0).split(",")[:1], height - margin + 20, t
        )
        for t in (1.5, 2.0, 2.5, 3.0, 3.5)
    ) + "".join(
        '<text x="{}" y="{}" text-anchor="end">{}</text>'.format(
            margin - 8, float(at(low, m).split(",")[1]) + 4, m
        )
        for m in (0.0, 0.5, 1.0)
    )
    path.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="{width / 2}" y="24" text-anchor="middle" font-size="16">Magnetization of the '
        f"Ising model: {len(results)} jobs and the exact solution</text>"
        f'<path d="M{margin} {margin} V{height - margin} H{width - margin}" fill="none" '
        f'stroke="#444"/>{ticks}<text x="{width / 2}" y="{height - 12}" text-anchor="middle">'
        f'temperature (J/k)</text><polyline points="{curve}" fill="none" stroke="#1d4ed8" '
        f'stroke-width="2"/>{dots}</svg>\n'
    )


def summary(results: list[dict[str, float]]) -> Table:
    """Twelve lines of the results."""
    table = Table("T", "energy", "exact", "|m|", "exact", "", title="a tenth of the results")
    for result in results[:: max(1, len(results) // 12)]:
        t = result["temperature"]
        bar = "█" * round(20 * result["magnetization"])
        table.add_row(
            f"{t:.2f}", f"{result['energy']:.3f}", f"{exact_energy(t):.3f}",
            f"{result['magnetization']:.3f}", f"{exact_magnetization(t):.3f}", f"[blue]{bar}",
        )  # fmt: skip
    return table


def main() -> int:
    """Run the ensemble; the exit code is 0 if all results are there and right."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--executor", help="local, slurm, ...; default: what fits this machine")
    parser.add_argument("--members", type=int, default=120, help="number of jobs (2 or more)")
    parser.add_argument("--output", type=Path, default=Path("demo-output"))
    options = parser.parse_args()
    output = options.output.resolve()
    shutil.rmtree(output, ignore_errors=True)
    output.mkdir(parents=True)
    console = Console()
    name = options.executor or fitting_executor()
    executor = JobExecutor.get_instance(name, config=make_config(name))
    if problem := executor.unusable():
        console.print(f"[red]The executor {name} cannot be used here: {problem}")
        return 2
    jobs = make_jobs(max(2, options.members), output)
    console.print(f"{len(jobs)} jobs on the executor [bold]{name}[/bold], output in {output}")
    begin = time.monotonic()
    executor.submit_many(jobs)
    console.print(f"submitted in {time.monotonic() - begin:.2f} s")
    follow(jobs, console)
    results = collect(jobs, output, console)
    worst, off = check(results)
    console.print(summary(results))
    picture = output / "magnetization.svg"
    draw(results, picture)
    spent = time.monotonic() - begin
    good = len(results) == len(jobs) and off == 0
    console.print(
        f"[{'green' if good else 'red'}]{len(results)} of {len(jobs)} jobs completed in "
        f"{spent:.1f} s; largest deviation from the exact energy {worst:.3f}, {off} off by more "
        f"than 0.1[/]\npicture: {picture}"
    )
    return 0 if good else 1


def make_config(name: str) -> JobExecutorConfig | None:
    """On this machine, do not run more jobs at once than there are cores."""
    if name != "local":
        return None
    from exaworks.psij.executors.local import LocalExecutorConfig

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return LocalExecutorConfig(max_running_jobs=cores or 1)


if __name__ == "__main__":
    sys.exit(main())
