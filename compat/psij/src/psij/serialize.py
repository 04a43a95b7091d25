"""Specifications as data: see :mod:`exaworks.psij.serialize`."""

from exaworks.psij.serialize import (
    JSONSerializer,
    Serializer,
    spec_from_dict,
    spec_to_dict,
)

__all__ = [
    "JSONSerializer",
    "Serializer",
    "spec_from_dict",
    "spec_to_dict",
]
