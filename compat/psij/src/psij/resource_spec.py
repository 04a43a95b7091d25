"""Resource specifications: see :mod:`exaworks.psij.resource_spec`."""

from exaworks.psij.resource_spec import (
    ResourceSpec,
    ResourceSpecV1,
)

__all__ = [
    "ResourceSpec",
    "ResourceSpecV1",
]
