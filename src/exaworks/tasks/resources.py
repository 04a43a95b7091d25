"""What a task needs, and what a node has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from exaworks.tasks.errors import InvalidTaskError

__all__ = ["ONE_CORE", "NodeResources", "Resources"]


@dataclass(frozen=True)
class Resources:
    """What a task needs while it runs.

    Attributes:
        ranks: processes; more than one are started by an MPI launcher.
        cores: CPU cores of each rank.
        gpus: GPUs of each rank: a whole number, or a fraction of one, such as 0.25.
        memory: bytes of each rank; 0: it is not counted and not limited.
        nodes: on how many nodes the ranks are, as many on each; ``None``: wherever there is room.
        colocate: tasks with the same word run on the same node.
    """

    ranks: int = 1
    cores: int = 1
    gpus: float = 0
    memory: int = 0
    nodes: int | None = None
    colocate: str | None = None

    def __post_init__(self) -> None:
        """Check.

        Raises:
            InvalidTaskError: a value makes no sense.
        """
        for name, least in (("ranks", 1), ("cores", 1), ("memory", 0)):
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise InvalidTaskError(
                    f"{name} must be a whole number of at least {least}, not {value!r}"
                )
        if isinstance(self.gpus, bool) or not isinstance(self.gpus, (int, float)):
            raise InvalidTaskError(f"gpus must be a number, not {self.gpus!r}")
        if not (0 <= self.gpus < 1 or (self.gpus >= 1 and self.gpus == int(self.gpus))):
            raise InvalidTaskError(
                f"gpus must be a whole number or a fraction of one GPU, not {self.gpus!r}"
            )
        if self.nodes is not None:
            if type(self.nodes) is not int or not 1 <= self.nodes <= self.ranks:
                raise InvalidTaskError(
                    f"nodes must be a whole number from 1 to the number of ranks, "
                    f"{self.ranks}, not {self.nodes!r}"
                )
            if self.ranks % self.nodes:
                raise InvalidTaskError(
                    f"{self.ranks} ranks cannot be spread evenly over {self.nodes} nodes"
                )

    @classmethod
    def of(cls, value: Resources | Mapping[str, Any] | None) -> Resources:
        """Resources from what people write: ``{"cores": 2}``.

        Raises:
            InvalidTaskError: a key is unknown, or a value makes no sense.
        """
        if value is None:
            return ONE_CORE
        if isinstance(value, Resources):
            return value
        if not isinstance(value, Mapping):
            raise InvalidTaskError(
                f"resources must be a dict such as {{'cores': 2}} or Resources, not {value!r}"
            )
        known = [field.name for field in fields(cls)]
        for key in value:
            if key not in known:
                raise InvalidTaskError(
                    f"there is no resource {key!r}; there are: {', '.join(known)}"
                )
        return cls(**value)

    def __str__(self) -> str:
        parts = [f"{self.cores} core{'s' * (self.cores > 1)}"]
        if self.gpus:
            parts.append(f"{self.gpus:g} GPU{'s' * (self.gpus > 1)}")
        if self.memory:
            parts.append(f"{self.memory / 2**20:g} MiB")
        text = ", ".join(parts)
        if self.ranks > 1:
            text = f"{self.ranks} ranks of {text}"
        if self.nodes is not None:
            text += f" on {self.nodes} node{'s' * (self.nodes > 1)}"
        return text


ONE_CORE = Resources()
"""What a task needs that says nothing."""


@dataclass(frozen=True)
class NodeResources:
    """What a node has.

    Attributes:
        name: its host name.
        cores: the numbers of its CPU cores that tasks may use.
        gpus: the names of its GPUs, as ``CUDA_VISIBLE_DEVICES`` and its like take them.
        memory: bytes; 0: it is not counted.
    """

    name: str
    cores: tuple[int, ...]
    gpus: tuple[str, ...] = ()
    memory: int = 0
