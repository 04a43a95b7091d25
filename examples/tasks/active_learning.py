"""Active learning: two rate constants from a measured curve, with few simulations.

usage: python active_learning.py [--most 80] [--engine NAME ...]

In A -> B -> C, the amounts of B and C were measured at ten times, with an error of 0.01. Which rate
constants fit best? Each simulation is a task. A surrogate (Gaussian processes; C. Rasmussen and C.
Williams, 2006, algorithm 2.1) learns from those that have ended what the others would give, and
proposes the point that may, at best, fit best. What it proposes goes before what still waits of the
first, blind points. When it is sure that nothing fits better by more than 1%, all that waits is
cancelled.

The data were made with known constants, so that the answer can be checked.
"""

from __future__ import annotations

import math
import random
import sys

from engines import make_parser, start_engine

from exaworks.tasks import TaskFuture, as_completed

TRUE = (1.0, 0.4)  # per second
ERROR = 0.01
TIMES = [0.5 * n for n in range(1, 11)]
LOWEST, HIGHEST = math.log(0.05), math.log(5.0)  # of both constants
BLIND, ENOUGH = 40, 8  # points at first; how many of them are there before the surrogate begins
AT_A_TIME = 4  # proposals
STOP = 0.01

Point = tuple[float, float]
Curve = list[float]


def simulate(point: Point, step: float = 0.0002) -> Curve:
    """B and C at the times of the measurement, by Heun's method; logarithms are given."""
    k1, k2 = map(math.exp, point)
    a, b, now = 1.0, 0.0, 0.0
    found = []
    for time in TIMES:
        while now < time - step / 2:
            da, db = -k1 * a, k1 * a - k2 * b
            a2, b2 = a + step * da, b + step * db
            da2, db2 = -k1 * a2, k1 * a2 - k2 * b2
            a, b = a + step * (da + da2) / 2, b + step * (db + db2) / 2
            now += step
        found += [b, 1.0 - a - b]
    return found


def misfit(curve: Curve, data: Curve, sigma: float = 0.0) -> float:
    """chi² for each measurement; the least it may be, if the curve is known to sigma only."""
    off = (max(0.0, abs(y - d) - sigma) / ERROR for y, d in zip(curve, data, strict=True))
    return sum(x * x for x in off) / len(data)


class Surrogate:
    """What simulations would give, and how far that is known."""

    WIDTH = 0.9
    NOISE = 1e-6
    SCALE = 0.3  # of the amounts

    def __init__(self, known: dict[Point, Curve]) -> None:
        self.points = list(known)
        self.rows: list[list[float]] = []  # the Cholesky factor
        for i, point in enumerate(self.points):
            row = self._below([self._like(point, other) for other in self.points[:i]])
            rest = 1.0 + self.NOISE - sum(x * x for x in row)
            self.rows.append([*row, math.sqrt(max(self.NOISE, rest))])
        columns = list(zip(*known.values(), strict=True))
        self.means = [sum(column) / len(column) for column in columns]
        self.weights = [
            self._above(self._below([value - mean for value in column]))
            for column, mean in zip(columns, self.means, strict=True)
        ]

    def _like(self, one: Point, other: Point) -> float:
        square = (one[0] - other[0]) ** 2 + (one[1] - other[1]) ** 2
        return math.exp(-square / (2 * self.WIDTH**2))

    def _below(self, right: list[float]) -> list[float]:
        found: list[float] = []
        for value, row in zip(right, self.rows, strict=False):
            done = sum(x * y for x, y in zip(row, found, strict=False))
            found.append((value - done) / row[len(found)])
        return found

    def _above(self, right: list[float]) -> list[float]:
        found = [0.0] * len(right)
        for i in reversed(range(len(right))):
            done = sum(self.rows[j][i] * found[j] for j in range(i + 1, len(right)))
            found[i] = (right[i] - done) / self.rows[i][i]
        return found

    def curve(self, point: Point) -> tuple[Curve, float]:
        """The curve, and its standard deviation."""
        like = [self._like(point, other) for other in self.points]
        curve = [
            mean + sum(x * w for x, w in zip(like, weights, strict=True))
            for mean, weights in zip(self.means, self.weights, strict=True)
        ]
        spread = 1.0 + self.NOISE - sum(x * x for x in self._below(like))
        return curve, self.SCALE * math.sqrt(max(0.0, spread))


def propose(
    known: dict[Point, Curve], running: list[Point], data: Curve, rng: random.Random
) -> tuple[Point, bool]:
    """Where to simulate next, and whether that is expected to be of use.

    What runs is taken to come out as expected, so that other points are proposed.
    """
    model = Surrogate(known)
    if running:
        model = Surrogate({**known, **{point: model.curve(point)[0] for point in running}})
    best = min(known, key=lambda point: misfit(known[point], data))
    candidates = [(rng.uniform(LOWEST, HIGHEST), rng.uniform(LOWEST, HIGHEST)) for _ in range(60)]
    for width in (0.01, 0.05, 0.2):
        for _ in range(40):
            near = [min(HIGHEST, max(LOWEST, x + rng.gauss(0, width))) for x in best]
            candidates.append((near[0], near[1]))
    curves = {point: model.curve(point) for point in candidates}
    chosen = min(curves, key=lambda point: misfit(curves[point][0], data, curves[point][1]))
    curve, sigma = curves[chosen]
    better = misfit(curve, data) < (1 - STOP) * misfit(known[best], data)
    return chosen, better or sigma > ERROR / 3


def main() -> int:
    """Learn; the exit code is 0 if the constants were found."""
    parser = make_parser(__doc__)
    parser.add_argument("--most", type=int, default=80, help="how many simulations at most")
    options = parser.parse_args()
    rng = random.Random(1)
    truth = simulate((math.log(TRUE[0]), math.log(TRUE[1])))
    data = [value + rng.gauss(0, ERROR) for value in truth]
    known: dict[Point, Curve] = {}
    pending: dict[TaskFuture[Curve], Point] = {}
    proposed: set[TaskFuture[Curve]] = set()
    learned, why = 0, "no more simulations were allowed"
    with start_engine(options) as engine:
        urgent = engine.configured(priority=1, name="proposed")
        for _ in range(BLIND):
            point = (rng.uniform(LOWEST, HIGHEST), rng.uniform(LOWEST, HIGHEST))
            pending[engine.submit(simulate, point)] = point
        while pending and len(known) < options.most:
            done = next(as_completed(pending))
            known[pending.pop(done)] = done.result()
            if done in proposed:
                proposed.discard(done)
                learned += 1
            if len(known) < ENOUGH or len(proposed) >= AT_A_TIME:
                continue
            running = [pending[each] for each in proposed]
            point, of_use = propose(known, running, data, rng)
            if of_use:
                task = urgent.submit(simulate, point)
                pending[task] = point
                proposed.add(task)
            elif not proposed and learned:
                why = f"nothing is expected to fit better by more than {STOP:.0%}"
                break
        cancelled = sum(task.cancel() for task in pending)
    best = min(known, key=lambda point: misfit(known[point], data))
    k1, k2 = map(math.exp, best)
    print(f"{len(known)} simulations, {learned} of them proposed; {cancelled} were cancelled")
    print(f"stopped: {why}")
    print(f"k1 = {k1:.3f}/s (true: {TRUE[0]:.3f})")
    print(f"k2 = {k2:.3f}/s (true: {TRUE[1]:.3f})")
    print(f"chi² for each measurement: {misfit(known[best], data):.2f}")
    good = abs(k1 / TRUE[0] - 1) < 0.05 and abs(k2 / TRUE[1] - 1) < 0.05
    print("as it should be" if good else "that is wrong")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
