"""Plugins in ``psij-descriptors`` folders.

A file in a folder of that name next to any entry of ``sys.path`` may hold lists of descriptors,
``__PSI_J_EXECUTORS__`` and ``__PSI_J_LAUNCHERS__``; the classes they name must come from the same
entry of ``sys.path``.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

from exaworks.core.plugins import Registry
from exaworks.psij import Descriptor
from exaworks.psij.job_executor import registry as executors
from exaworks.psij.job_launcher import registry as launchers

__all__ = ["install", "print_status"]

logger = logging.getLogger(__name__)

_FOLDER = "psij-descriptors"
_LISTS: dict[str, Registry] = {
    "__PSI_J_EXECUTORS__": executors,
    "__PSI_J_LAUNCHERS__": launchers,
}
_seen: set[str] = set()
_lock = threading.RLock()


class _RootedDescriptor(Descriptor):
    """A descriptor whose class must come from where the descriptor was found."""

    def __init__(self, found: Any, root: str, path: str) -> None:
        super().__init__(found.name, found.version, found.cls, found.aliases, found.nice_name)
        self.path = path
        self._root = root

    def load(self) -> type[Any]:
        """Import the class, from below the root."""
        module, _, name = self.cls.rpartition(".")
        try:
            return _class(self._import(module), name)
        except Exception as problem:
            raise ValueError(f"Unable to load executor {self.cls}: {problem}") from problem

    def _import(self, name: str) -> ModuleType:
        file = Path(self._root, *name.split(".")).with_suffix(".py")
        if not file.exists():
            file = Path(self._root, *name.split("."), "__init__.py")
        if not file.exists():
            raise ImportError(
                f"there is no module {name} in {self._root}; class and descriptor "
                f"({self.path}) must be below the same entry of sys.path"
            )
        try:
            module = importlib.import_module(name)
            if module.__file__ and os.path.samefile(module.__file__, file):
                return module
        except ImportError:
            pass  # another module hides a part of the name; the file is what is meant
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module


def _class(module: ModuleType, name: str) -> type[Any]:
    implementation: type[Any] = getattr(module, name)
    return implementation


def _search() -> None:
    """Register the plugins of entries of ``sys.path`` that were not searched before."""
    with _lock:
        for entry in list(sys.path):
            root = os.path.realpath(entry or ".")
            if root in _seen:
                continue
            _seen.add(root)
            folder = Path(root, _FOLDER)
            try:
                files = sorted(folder.glob("*.py"))
            except OSError:
                continue
            for file in files:
                _load(root, file)


def _load(root: str, file: Path) -> None:
    name = f"_psij_descriptors_{abs(hash(str(file)))}"
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        return
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        for variable, registry in _LISTS.items():
            for found in getattr(module, variable, ()):
                registry.register(_RootedDescriptor(found, root, str(file)))
    except Exception as problem:
        logger.warning("cannot load the plugins in %s: %s", file, problem)


def install() -> None:
    """Make the plugins, and the executors of the names in this package, known."""
    batch = "psij.executors.batch"
    for name, cls, aliases in (
        ("local", "psij.executors.local.LocalJobExecutor", []),
        ("slurm", f"{batch}.slurm.SlurmJobExecutor", []),
        ("pbs", f"{batch}.pbs.PBSJobExecutor", ["pbspro"]),
        ("cobalt", f"{batch}.cobalt.CobaltJobExecutor", []),
        ("flux", "psij.executors.flux.FluxJobExecutor", []),
        ("lsf", f"{batch}.lsf.LsfJobExecutor", []),
        ("nqsv", f"{batch}.nqsv.NQSVJobExecutor", []),
        ("pbs_classic", f"{batch}.pbs_classic.PBSClassicJobExecutor", ["torque"]),
    ):
        executors.register(Descriptor(name, "0.9.12", cls, aliases))
    for registry in _LISTS.values():
        registry.add_source(_search)


def print_status() -> None:
    """Print what is known, and what of it cannot be loaded."""
    for registry in _LISTS.values():
        print(f"{registry.kind}s")
        for descriptor in registry.descriptors():
            try:
                descriptor.load()
                state = "ok"
            except Exception as problem:
                state = f"not usable: {problem}"
            print(f"  {descriptor.name:<12} {descriptor.version!s:<10} {state}")
