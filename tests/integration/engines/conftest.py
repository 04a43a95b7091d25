"""What the tests of engines on other systems share."""

from __future__ import annotations

import importlib.util
import shutil

import pytest

_MODULES = {"dask": "distributed", "parsl": "parsl", "radical": "radical.pilot", "mpi4py": "mpi4py"}


def _missing(name: str) -> str | None:
    if name == "mpi":
        return None if shutil.which("mpiexec") else "there is no mpiexec in PATH"
    module = _MODULES.get(name)
    if module is None or importlib.util.find_spec(module.partition(".")[0]) is not None:
        return None
    return f"{module} is not installed: pip install 'exaworks[{name}]'"


@pytest.fixture(scope="class", autouse=True)
def _systems(request: pytest.FixtureRequest) -> None:
    """Skip what needs a system that is not there."""
    for mark in request.node.iter_markers():
        reason = _missing(mark.name)
        if reason is not None:
            pytest.skip(reason)
