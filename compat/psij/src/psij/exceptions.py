"""Exceptions: see :mod:`exaworks.psij.exceptions`."""

from exaworks.psij.exceptions import (
    InvalidJobException,
    InvalidJobTypeException,
    InvalidStateException,
    PSIJException,
    SubmitException,
    UnreachableStateException,
)

__all__ = [
    "InvalidJobException",
    "InvalidJobTypeException",
    "InvalidStateException",
    "PSIJException",
    "SubmitException",
    "UnreachableStateException",
]
