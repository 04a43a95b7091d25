"""Descriptors of plugins: see :mod:`exaworks.core.plugins`."""

from exaworks.core.plugins import (
    Descriptor,
    Registry,
)

__all__ = [
    "Descriptor",
    "Registry",
]
