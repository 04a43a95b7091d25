"""A real Slurm for the tests: the one that is there, and one of their own to break."""

from __future__ import annotations

import pytest
from slurm_cluster import why_no_slurm


@pytest.fixture(scope="session", autouse=True)
def _slurm() -> None:
    reason = why_no_slurm()
    if reason is not None:
        pytest.skip(reason)
