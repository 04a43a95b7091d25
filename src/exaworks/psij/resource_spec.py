"""What a job needs of the machine (PSI/J specification, "ResourceSpec")."""

from __future__ import annotations

from abc import ABC, abstractmethod

from exaworks.psij.exceptions import InvalidJobException, InvalidJobTypeException

__all__ = ["ResourceSpec", "ResourceSpecV1"]

_COUNTS = (
    "node_count",
    "process_count",
    "processes_per_node",
    "cpu_cores_per_process",
    "gpu_cores_per_process",
    "memory",
)


class ResourceSpec(ABC):
    """Base of all resource specifications."""

    __slots__ = ()

    @property
    @abstractmethod
    def version(self) -> int:
        """The version of the specification that the class implements."""

    @staticmethod
    def get_instance(version: int) -> ResourceSpec:
        """A new, empty specification of that version.

        Raises:
            ValueError: there is no such version.
        """
        if version == 1:
            return ResourceSpecV1()
        raise ValueError(f"There is no ResourceSpec of version {version!r}; known versions: 1")


class ResourceSpecV1(ResourceSpec):
    """Version 1: nodes, processes, and what each process gets.

    ``process_count = node_count * processes_per_node`` must hold for the values that are given;
    those that are not given follow from the others. All attributes may be set at any time: the
    ``computed_*`` properties always follow the present values.

    Attributes:
        node_count: number of nodes.
        process_count: number of processes that the launcher starts, in all.
        processes_per_node: number of processes on each node.
        cpu_cores_per_process: CPU cores for each process.
        gpu_cores_per_process: GPUs for each process.
        exclusive_node_use: whether no other job may share the nodes.
        memory: memory of the whole job, in bytes.

    Raises:
        InvalidJobException: a value is not a positive number, or the values contradict each
            other.
    """

    __slots__ = (*_COUNTS, "exclusive_node_use")

    def __init__(
        self,
        node_count: int | None = None,
        process_count: int | None = None,
        processes_per_node: int | None = None,
        cpu_cores_per_process: int | None = None,
        gpu_cores_per_process: int | None = None,
        exclusive_node_use: bool = False,
        memory: int | None = None,
    ) -> None:
        self.node_count = node_count
        self.process_count = process_count
        self.processes_per_node = processes_per_node
        self.cpu_cores_per_process = cpu_cores_per_process
        self.gpu_cores_per_process = gpu_cores_per_process
        self.exclusive_node_use = exclusive_node_use
        self.memory = memory
        self.check()

    def check(self) -> None:
        """Check that the values make sense together.

        Raises:
            InvalidJobException: they do not; the message names the field, what was given and what
                is allowed.
        """
        for name in _COUNTS:
            value = getattr(self, name)
            if value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int):
                raise InvalidJobTypeException(
                    f"resources.{name} must be a whole number or None, not {value!r}"
                )
            least = 0 if name == "gpu_cores_per_process" else 1
            if value < least:
                raise InvalidJobException(
                    f"resources.{name} is {value}; it must be at least {least}"
                )
        if not isinstance(self.exclusive_node_use, bool):
            raise InvalidJobTypeException(
                "resources.exclusive_node_use must be True or False, "
                f"not {self.exclusive_node_use!r}"
            )
        nodes, total, per_node = self.node_count, self.process_count, self.processes_per_node
        if total is None:
            return
        if nodes is not None and per_node is not None:
            if total != nodes * per_node:
                raise InvalidJobException(
                    f"resources.process_count is {total}, but node_count ({nodes}) times "
                    f"processes_per_node ({per_node}) is {nodes * per_node}; leave one of the "
                    "three out or make them agree"
                )
        elif per_node is not None and total % per_node:
            raise InvalidJobException(
                f"resources.process_count ({total}) must be a multiple of "
                f"processes_per_node ({per_node})"
            )
        elif nodes is not None and total % nodes:
            raise InvalidJobException(
                f"resources.process_count ({total}) must be a multiple of node_count ({nodes})"
            )

    @property
    def computed_node_count(self) -> int:
        """``node_count``, or what follows from the other values (1 if nothing does)."""
        if self.node_count is not None:
            return self.node_count
        if self.process_count is not None and self.processes_per_node is not None:
            return self.process_count // self.processes_per_node
        return 1

    @property
    def computed_processes_per_node(self) -> int:
        """``processes_per_node``, or what follows from the other values (1 if nothing does)."""
        if self.processes_per_node is not None:
            return self.processes_per_node
        if self.process_count is not None:
            return self.process_count // self.computed_node_count
        return 1

    @property
    def computed_process_count(self) -> int:
        """``process_count``, or what follows from the other values (1 if nothing does)."""
        if self.process_count is not None:
            return self.process_count
        return self.computed_node_count * self.computed_processes_per_node

    @property
    def memory_kb(self) -> int | None:
        """``memory`` in KiB, rounded up, or ``None``."""
        return None if self.memory is None else -(-self.memory // 1024)

    @property
    def version(self) -> int:
        """Always 1."""
        return 1

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ResourceSpecV1):
            return NotImplemented
        return all(getattr(self, n) == getattr(other, n) for n in ResourceSpecV1.__slots__)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        given = (
            f"{n}={getattr(self, n)!r}"
            for n in ResourceSpecV1.__slots__
            if getattr(self, n) not in (None, False)
        )
        return f"ResourceSpecV1({', '.join(given)})"
