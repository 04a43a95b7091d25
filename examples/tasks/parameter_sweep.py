"""A parameter sweep: the logistic map x -> r x (1 - x), from order to chaos.

usage: python parameter_sweep.py [--points 301] [--output sweep.csv] [--engine NAME ...]

Each task takes one r, and finds the Lyapunov exponent (positive: chaos) and the period. They are
written as CSV. Three things are known and checked: the exponent at r = 2.5, where x comes to rest,
is ln |2 - r| = -0.693; at r = 4 it is ln 2 = 0.693; chaos begins at r = 3.5699 (R. May, Nature 261,
459, 1976).
"""

from __future__ import annotations

import csv
import math
import sys
from pathlib import Path

from engines import make_parser, start_engine

LOWEST, HIGHEST = 2.5, 4.0
ONSET = 3.569946


def explore(r: float, steps: int = 4000) -> tuple[float, float, int]:
    """r, its Lyapunov exponent, and the period of the orbit; 0: none up to 64."""
    x, total = 0.1234, 0.0
    for _ in range(1000):  # until it has settled
        x = r * x * (1 - x)
    for _ in range(steps):
        x = r * x * (1 - x)
        total += math.log(max(1e-12, abs(r * (1 - 2 * x))))
    orbit = [x]
    for _ in range(64):
        x = r * x * (1 - x)
        orbit.append(x)
    periods = (
        n for n in (1, 2, 4, 8, 16, 32, 64, *range(3, 64)) if abs(orbit[n] - orbit[0]) < 1e-6
    )
    return r, total / steps, next(periods, 0)


def main() -> int:
    """Sweep; the exit code is 0 if what is known was found."""
    parser = make_parser(__doc__)
    parser.add_argument("--points", type=int, default=301, help="how many r (16 or more)")
    parser.add_argument("--output", type=Path, default=Path("sweep.csv"))
    options = parser.parse_args()
    last = max(15, options.points - 1)
    values = [LOWEST + (HIGHEST - LOWEST) * n / last for n in range(last + 1)]
    with start_engine(options) as engine:
        rows = list(engine.map(explore, values))
    with open(options.output, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["r", "exponent", "period"])
        writer.writerows([f"{r:.6f}", f"{exponent:.6f}", period] for r, exponent, period in rows)
    first = next(r for r, exponent, _ in rows if exponent > 0.01)
    at_rest, at_four = rows[0][1], rows[-1][1]
    print(f"{len(rows)} values of r, written to {options.output}")
    print(f"exponent at r = 2.5: {at_rest:.3f} (exact: {math.log(0.5):.3f})")
    print(f"exponent at r = 4.0: {at_four:.3f} (exact: {math.log(2):.3f})")
    print(f"first chaos at r = {first:.3f} (onset: {ONSET:.3f})")
    step = (HIGHEST - LOWEST) / last
    good = (
        abs(at_rest - math.log(0.5)) < 0.01
        and abs(at_four - math.log(2)) < 0.03
        and ONSET <= first <= ONSET + max(2 * step, 0.02)
    )
    print("as it should be" if good else "that is wrong")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
