"""How executors, launchers and engines are found by name."""

from __future__ import annotations

import importlib
import logging
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packaging.version import Version

__all__ = ["Descriptor", "Registry"]

logger = logging.getLogger(__name__)


class Descriptor:
    """Where the implementation of an executor, launcher or engine is.

    Attributes:
        name: the name to instantiate it by.
        version: its version (a :class:`packaging.version.Version` or text).
        cls: the class, as ``"package.module.Class"``.
        aliases: other names for it.
        nice_name: the name to show to people.
        path: the file that the descriptor was found in, if it came from a folder.
    """

    def __init__(
        self,
        name: str,
        version: Version | str,
        cls: str,
        aliases: Sequence[str] | None = None,
        nice_name: str | None = None,
    ) -> None:
        self.name = name
        self._version = version
        self.cls = cls
        self.path: str | None = None
        self.aliases = list(aliases) if aliases else []
        self.nice_name = name if nice_name is None else nice_name

    @property
    def version(self) -> Version:
        """The version, to compare."""
        from packaging.version import Version

        return Version(str(self._version))

    def load(self) -> type[Any]:
        """Import the class.

        Raises:
            ImportError: its module cannot be imported.
            AttributeError: its module has no such class.
        """
        module, _, name = self.cls.rpartition(".")
        implementation: type[Any] = getattr(importlib.import_module(module), name)
        return implementation

    def __repr__(self) -> str:
        return f"Descriptor(name={self.name!r}, version={self._version}, cls={self.cls!r})"


@dataclass
class _Entry:
    descriptor: Descriptor
    implementation: type[Any] | None = None

    def load(self) -> type[Any]:
        if self.implementation is None:
            self.implementation = self.descriptor.load()
        return self.implementation


class Registry:
    """Implementations of one kind, by name and version. Classes are imported when first used.

    Third parties add to it with an entry point in its group, such as ``exaworks.psij.executors``,
    ``exaworks.psij.launchers`` or ``exaworks.tasks.engines``, whose value is a
    :class:`Descriptor` or a list of them.
    """

    def __init__(self, kind: str, builtin: Iterable[Descriptor], group: str) -> None:
        self.kind = kind
        self._group = group
        self._entries: dict[str, list[_Entry]] = {}
        self._sources: list[Callable[[], None]] = [self._read_entry_points]
        self._entry_points_read = False
        self._lock = threading.RLock()
        for descriptor in builtin:
            self.register(descriptor)

    def register(self, descriptor: Descriptor, implementation: type[Any] | None = None) -> None:
        """Add one.

        Args:
            descriptor: what and where.
            implementation: the class, if it is loaded already.

        Raises:
            ValueError: there is one of that name and version, of another class.
        """
        with self._lock:
            for name in (descriptor.name, *descriptor.aliases):
                entries = self._entries.setdefault(name, [])
                for entry in entries:
                    if str(entry.descriptor._version) != str(descriptor._version):
                        continue
                    if entry.descriptor.cls != descriptor.cls:
                        raise ValueError(
                            f"There already is a {self.kind} {name!r} of version "
                            f"{descriptor._version}: {entry.descriptor.cls}"
                        )
                    entry.implementation = implementation or entry.implementation
                    break
                else:
                    entries.append(_Entry(descriptor, implementation))

    def add_source(self, source: Callable[[], None]) -> None:
        """Call ``source``, which may register more, before unknown names are given up."""
        self._sources.append(source)

    def _search(self) -> None:
        for source in self._sources:
            source()

    def descriptors(self) -> list[Descriptor]:
        """All that are known, each once, in order of name."""
        self._search()
        found = {id(e.descriptor): e.descriptor for es in self._entries.values() for e in es}
        return sorted(found.values(), key=lambda d: (d.name, d.version))

    def names(self) -> set[str]:
        """All names, aliases included."""
        self._search()
        return set(self._entries)

    def find(
        self, name: str, version_constraint: str | None = None
    ) -> tuple[Descriptor, type[Any]]:
        """The newest implementation of ``name`` that satisfies the constraint.

        Args:
            name: a name or alias.
            version_constraint: such as ``"(>= 0.1, != 0.3)"``; the parentheses are optional.

        Raises:
            ValueError: no such name, no such version, or its class cannot be imported.
        """
        if name not in self._entries:
            self._search()
        if name not in self._entries:
            known = ", ".join(sorted(self._entries))
            raise ValueError(f"There is no {self.kind} {name!r}; there are: {known}")
        entry = self._newest(name, version_constraint)
        try:
            return entry.descriptor, entry.load()
        except Exception as problem:
            raise ValueError(
                f"The {self.kind} {name!r} ({entry.descriptor.cls}) cannot be loaded: {problem}"
            ) from problem

    def _newest(self, name: str, version_constraint: str | None) -> _Entry:
        entries = self._entries[name]
        if version_constraint is None and len(entries) == 1:
            return entries[0]
        from packaging.specifiers import InvalidSpecifier, SpecifierSet

        text = (version_constraint or "").strip().removeprefix("(").removesuffix(")")
        try:
            allowed = SpecifierSet(text, prereleases=True)
        except InvalidSpecifier as problem:
            raise ValueError(
                f"{version_constraint!r} is not a version constraint; write e.g. '(>= 0.1, != 0.3)'"
            ) from problem
        matching = [e for e in entries if e.descriptor.version in allowed]
        if not matching:
            versions = ", ".join(str(e.descriptor.version) for e in entries)
            raise ValueError(
                f"No version of the {self.kind} {name!r} satisfies {version_constraint!r}; "
                f"there are: {versions}"
            )
        return max(matching, key=lambda e: e.descriptor.version)

    def _read_entry_points(self) -> None:
        with self._lock:
            if self._entry_points_read:
                return
            self._entry_points_read = True
            from importlib.metadata import entry_points

            for point in entry_points(group=self._group):
                try:
                    value = point.load()
                    for descriptor in [value] if isinstance(value, Descriptor) else value:
                        self.register(descriptor)
                except Exception as problem:
                    logger.warning("cannot load the %s plugin %s: %s", self.kind, point, problem)
