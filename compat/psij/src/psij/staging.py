"""Staging: see :mod:`exaworks.psij.staging`."""

from exaworks.psij.staging import (
    URI,
    StageIn,
    StageOut,
    StageOutFlags,
    StagingMode,
)

__all__ = [
    "URI",
    "StageIn",
    "StageOut",
    "StageOutFlags",
    "StagingMode",
]
