"""One member of the ensemble: the two-dimensional Ising model at one temperature.

usage: ising.py TEMPERATURE SEED RESULT.json [SIZE] [SWEEPS]

Needs nothing but Python. The lattice is SIZE x SIZE with periodic boundaries, J = k = 1; single
spins are flipped by the Metropolis rule (Metropolis et al., J. Chem. Phys. 21, 1087, 1953).
"""

import json
import math
import random
import sys


def simulate(temperature: float, seed: int, size: int, sweeps: int) -> dict[str, float]:
    """Run the model from the ordered state; the first half of the sweeps is not measured."""
    rng = random.Random(seed)
    spins = [[1] * size for _ in range(size)]
    accept = {change: math.exp(-change / temperature) for change in (4, 8)}
    energies, magnetizations = [], []
    for sweep in range(sweeps):
        for i in range(size):
            row, up, down = spins[i], spins[i - 1], spins[(i + 1) % size]
            for j in range(size):
                around = up[j] + down[j] + row[j - 1] + row[(j + 1) % size]
                change = 2 * row[j] * around
                if change <= 0 or rng.random() < accept[change]:
                    row[j] = -row[j]
        if sweep >= sweeps // 2:
            magnetizations.append(abs(sum(map(sum, spins))) / size**2)
            bonds = sum(
                spins[i][j] * (spins[i - 1][j] + spins[i][j - 1])
                for i in range(size)
                for j in range(size)
            )
            energies.append(-bonds / size**2)
    return {
        "temperature": temperature,
        "seed": seed,
        "energy": sum(energies) / len(energies),
        "magnetization": sum(magnetizations) / len(magnetizations),
    }


if __name__ == "__main__":
    size, sweeps = int((sys.argv[4:5] or ["24"])[0]), int((sys.argv[5:6] or ["600"])[0])
    result = simulate(float(sys.argv[1]), int(sys.argv[2]), size, sweeps)
    with open(sys.argv[3], "w") as file:
        json.dump(result, file)
    print(f"T = {result['temperature']:.3f}: energy {result['energy']:.4f}")
