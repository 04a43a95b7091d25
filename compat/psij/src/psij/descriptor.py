"""Descriptors of plugins: see :mod:`exaworks.psij.descriptor`."""

from exaworks.psij.descriptor import (
    Descriptor,
    Registry,
)

__all__ = [
    "Descriptor",
    "Registry",
]
