"""An ensemble of MPI programs: the hydrogen atom by variational Monte Carlo.

usage: python mpi_ensemble.py [--members 5] [--ranks 2] [--launcher NAME] [--engine NAME ...]

Each member is a command of several ranks that takes one trial function exp(-alpha r). Its ranks
sample the local energy -alpha²/2 + (alpha - 1)/r and add up what they have found with MPI_Reduce.
The exact energy is alpha²/2 - alpha (Hartree); the least, -1/2, is that of the atom.

The ranks call the MPI library itself, so mpi4py is not needed. Without an MPI, the same command is
started several times (launcher "multiple"), and this program adds up what they print. In a job of
Slurm, ranks are started by srun; where the MPI cannot do with that, --launcher mpirun starts them.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import math
import os
import random
import shutil
import sys
from collections.abc import Sequence

# The values of MPICH and its kin (its mpi.h); in Open MPI these are addresses of objects.
_MPICH = {"comm_world": 0x44000000, "double": 0x4C00080B, "op_sum": 0x58000003}


class Ranks:
    """What this program needs of MPI; without one, it is alone."""

    def __init__(self) -> None:
        self.rank, self.size = 0, 1
        self._mpi = find_mpi()
        if self._mpi is None:
            return
        self._mpi.MPI_Init(None, None)
        rank, size = ctypes.c_int(), ctypes.c_int()
        world = self._handle("comm_world")
        self._mpi.MPI_Comm_rank(world, ctypes.byref(rank))
        self._mpi.MPI_Comm_size(world, ctypes.byref(size))
        self.rank, self.size = rank.value, size.value

    def _handle(self, name: str) -> ctypes.c_int | ctypes.c_void_p:
        try:
            there = ctypes.c_char.in_dll(self._mpi, f"ompi_mpi_{name}")
        except ValueError:
            return ctypes.c_int(_MPICH[name])
        return ctypes.c_void_p(ctypes.addressof(there))

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sums over all ranks, on rank 0."""
        if self._mpi is None:
            return list(values)
        mine = (ctypes.c_double * len(values))(*values)
        total = (ctypes.c_double * len(values))()
        double, plus = self._handle("double"), self._handle("op_sum")
        world = self._handle("comm_world")
        self._mpi.MPI_Reduce(mine, total, len(values), double, plus, 0, world)
        return list(total)

    def end(self) -> None:
        """Part from the others."""
        if self._mpi is not None:
            self._mpi.MPI_Finalize()


def find_mpi() -> ctypes.CDLL | None:
    """The MPI library, if there is one."""
    for name in ("libmpi.so.40", "libmpi.so.12", "libmpi.so", ctypes.util.find_library("mpi")):
        try:
            if name:
                return ctypes.CDLL(name, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
    return None


def member(alpha: float, samples: int) -> None:
    """What each rank does; rank 0 prints how many ranks there are, and the sums."""
    ranks = Ranks()
    rng = random.Random(f"{alpha} {ranks.rank if ranks.size > 1 else os.getpid()}")
    total = squares = 0.0
    for _ in range(samples):
        r = rng.gammavariate(3, 1 / (2 * alpha))  # r² exp(-2 alpha r), as the density has it
        energy = -alpha * alpha / 2 + (alpha - 1) / r
        total += energy
        squares += energy * energy
    sums = ranks.sum([samples, total, squares])
    if ranks.rank == 0:
        print(ranks.size, *sums)
    ranks.end()


def main() -> int:
    """Run the ensemble; the exit code is 0 if all energies are right."""
    from engines import make_parser, start_engine

    from exaworks.tasks import TaskSpec

    parser = make_parser(__doc__)
    parser.add_argument("--members", type=int, default=5, help="how many values of alpha")
    parser.add_argument("--ranks", type=int, default=2, help="processes of each member")
    parser.add_argument("--samples", type=int, default=20_000, help="for each rank")
    parser.add_argument(
        "--launcher", help="what starts the ranks: mpirun, srun, multiple, ...; default: what fits"
    )
    options = parser.parse_args()
    launcher = options.launcher
    there = any(map(shutil.which, ("mpirun", "mpiexec", "srun"))) and find_mpi() is not None
    if launcher is None and not there:
        launcher = "multiple"
    last = max(1, options.members - 1)
    alphas = [0.6 + 0.8 * n / last for n in range(last + 1)]
    program = [sys.executable, os.path.abspath(__file__), "member"]
    with start_engine(options) as engine:
        futures = engine.launch_many(
            [
                TaskSpec(
                    [*program, str(alpha), str(options.samples)],
                    name=f"alpha {alpha:.2f}",
                    ranks=options.ranks,
                    launcher=launcher if options.ranks > 1 else None,
                    time_limit=60,
                )
                for alpha in alphas
            ]
        )
        results = [future.result() for future in futures]
    good, energies, groups = True, [], []
    print("alpha  energy    error    exact    worlds")
    for alpha, result in zip(alphas, results, strict=True):
        lines = [list(map(float, line.split())) for line in result.text.splitlines()]
        ranks = sum(int(line[0]) for line in lines)
        count, total, squares = (sum(column) for column in list(zip(*lines, strict=True))[1:])
        energy = total / count
        error = math.sqrt(max(0.0, squares / count - energy * energy) / count)
        exact = alpha * alpha / 2 - alpha
        good = good and ranks == options.ranks and abs(energy - exact) < 5 * error + 1e-9
        energies.append(energy)
        groups.append(len(lines))
        print(f"{alpha:.2f}  {energy:8.4f}  {error:.4f}  {exact:8.4f}  {len(lines)}")
    joined = "joined by MPI" if max(groups) == 1 else "each on its own"
    print(f"{len(results)} members of {options.ranks} ranks, {joined}")
    print(f"the least energy is {min(energies):.4f} Hartree (exact: -0.5)")
    print("as it should be" if good else "that is wrong")
    return 0 if good else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["member"]:
        member(float(sys.argv[2]), int(sys.argv[3]))
    else:
        sys.exit(main())
