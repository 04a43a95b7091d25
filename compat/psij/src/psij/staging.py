"""Staging: see :mod:`exaworks.psij.staging`."""

from exaworks.psij.staging import (
    StageIn,
    StageOut,
    StageOutFlags,
    StagingMode,
    URI,
)

__all__ = [
    "StageIn",
    "StageOut",
    "StageOutFlags",
    "StagingMode",
    "URI",
]
