"""CPU and GPU tasks together: the best shape of a cluster of seven atoms.

usage: python mixed_gpus.py [--gpus 2] [--starts 16] [--atoms 7] [--engine NAME ...]

Atoms attract and repel each other as Lennard-Jones has it. Three kinds of tasks look for the least
energy: `start` needs a core and throws atoms together, `refine` needs half a GPU and moves them to
better places, `finish` needs a whole one and is for those that are the best so far. Each begins as
soon as what it needs has come.

No task computes on its GPU: the GPUs are pretended (--gpus; 0: those that are there), so that this
runs anywhere. Each task tells when it ran and which GPUs it was given; at the end we add up that at
no time more of a GPU was used than there is. The energies are compared with those of Wales and
Doye (J. Phys. Chem. A 101, 5111, 1997).
"""

from __future__ import annotations

import os
import random
import sys
import time
from typing import Any

from engines import make_parser, start_engine

from exaworks.tasks import TaskFuture, as_completed

KNOWN = {4: -6.0, 5: -9.103852, 6: -12.712062, 7: -16.505384}
PRIORITIES = {"start": 0, "refine": 1, "finish": 2}
NEEDS: dict[str, dict[str, Any]] = {
    "start": {"cores": 1},
    "refine": {"cores": 1, "gpus": 0.5},
    "finish": {"cores": 1, "gpus": 1},
}

Atoms = list[list[float]]


def energy_of(atoms: Atoms) -> tuple[float, Atoms]:
    """Energy and forces, for pairs of atoms that do not touch."""
    energy, forces = 0.0, [[0.0, 0.0, 0.0] for _ in atoms]
    for i, (xi, yi, zi) in enumerate(atoms):
        for j in range(i):
            xj, yj, zj = atoms[j]
            x, y, z = xi - xj, yi - yj, zi - zj
            inverse = 1.0 / max(0.1, x * x + y * y + z * z)
            six = inverse * inverse * inverse
            energy += 4 * six * (six - 1)
            push = 24 * six * (2 * six - 1) * inverse
            for axis, part in enumerate((x * push, y * push, z * push)):
                forces[i][axis] += part
                forces[j][axis] -= part
    return energy, forces


def relax(atoms: Atoms, steps: int) -> tuple[float, Atoms]:
    """Go downhill, by steps that grow while that works."""
    energy, forces = energy_of(atoms)
    size = 0.001
    for _ in range(steps):
        longest = max(abs(part) for force in forces for part in force)
        if longest < 1e-9:
            break
        scale = min(size, 0.1 / longest)
        moved = [
            [p + scale * f for p, f in zip(place, force, strict=True)]
            for place, force in zip(atoms, forces, strict=True)
        ]
        there, its_forces = energy_of(moved)
        if there < energy:
            energy, forces, atoms, size = there, its_forces, moved, size * 1.1
        else:
            size /= 2
    return energy, atoms


def work(kind: str, atoms: Atoms, seed: int) -> dict[str, Any]:
    """Do one of the three; also tell where, when and with which GPUs."""
    begun = time.time()
    rng = random.Random(f"{kind} {seed}")
    if kind == "start":
        atoms = [[rng.uniform(-1.2, 1.2) for _ in range(3)] for _ in atoms]
        energy, atoms = relax(atoms, 40)
    elif kind == "refine":
        energy, atoms = relax(atoms, 200)
        for _ in range(3):  # D. Wales and J. Doye: a jump, then downhill again
            jumped = [[p + rng.uniform(-0.4, 0.4) for p in place] for place in atoms]
            there, atoms_there = relax(jumped, 200)
            if there < energy:
                energy, atoms = there, atoms_there
    else:
        energy, atoms = relax(atoms, 1000)
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return {
        "kind": kind,
        "energy": energy,
        "atoms": atoms,
        "node": os.uname().nodename,
        "gpus": visible.split(",") if visible else [],
        "begun": begun,
        "ended": time.time(),
    }


def most_used(reports: list[dict[str, Any]]) -> dict[str, float]:
    """Of each GPU, how much was used at the same time at most."""
    changes = []
    for report in reports:
        share = NEEDS[report["kind"]].get("gpus", 0)
        for gpu in report["gpus"] if share else []:
            name = f"{report['node']}/{gpu}"
            changes.append((report["begun"], min(1.0, share), name))
            changes.append((report["ended"], -min(1.0, share), name))
    used: dict[str, float] = {}
    most: dict[str, float] = {}
    for _, change, name in sorted(changes):
        used[name] = used.get(name, 0.0) + change
        most[name] = max(most.get(name, 0.0), used[name])
    return most


def main() -> int:
    """Look for it; the exit code is 0 if it was found, and no GPU was overdrawn."""
    parser = make_parser(__doc__)
    parser.add_argument("--gpus", type=int, default=2, help="how many GPUs to pretend on each node")
    parser.add_argument("--starts", type=int, default=16)
    parser.add_argument("--atoms", type=int, default=7, choices=sorted(KNOWN))
    options = parser.parse_args()
    reports: list[dict[str, Any]] = []
    best = 0.0
    with start_engine(options, gpus=options.gpus) as engine:
        pending: set[TaskFuture[dict[str, Any]]] = set()

        def begin(kind: str, atoms: Atoms, seed: int) -> None:
            chosen = engine.configured(
                resources=NEEDS[kind], priority=PRIORITIES[kind], name=f"{kind} {seed}"
            )
            pending.add(chosen.submit(work, kind, atoms, seed))

        for seed in range(options.starts):
            begin("start", [[0.0, 0.0, 0.0]] * options.atoms, seed)
        while pending:
            future = next(as_completed(pending))
            pending.discard(future)
            report = future.result()
            reports.append(report)
            if report["kind"] == "start":
                begin("refine", report["atoms"], len(reports))
            elif report["kind"] == "refine" and report["energy"] < best - 1e-4:
                best = report["energy"]
                begin("finish", report["atoms"], len(reports))
            best = min(best, report["energy"])
    counts = {kind: sum(report["kind"] == kind for report in reports) for kind in NEEDS}
    print(", ".join(f"{count} {kind}" for kind, count in counts.items()))
    most = most_used(reports)
    for name, used in sorted(most.items()):
        print(f"GPU {name}: at most {used:g} of it was used at a time")
    blind = all(not report["gpus"] for report in reports if report["kind"] == "start")
    given = all(len(report["gpus"]) == 1 for report in reports if report["kind"] != "start")
    kept = all(used <= 1.0 for used in most.values()) and blind and given
    print("no GPU was used twice" if kept else "the GPUs were not kept apart")
    found = abs(best - KNOWN[options.atoms]) < 1e-4
    print(f"least energy of {options.atoms} atoms: {best:.6f} (known: {KNOWN[options.atoms]:.6f})")
    print("as it should be" if found and kept else "that is wrong")
    return 0 if found and kept else 1


if __name__ == "__main__":
    sys.exit(main())
