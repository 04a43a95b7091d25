"""Where profiles are found, and how the files are put together."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from exaworks.core import config
from exaworks.core.sites.model import SiteProfile, host_names
from exaworks.core.sites.schema import PROFILE, check, normalize
from exaworks.core.sites.toml_text import INLINE

__all__ = ["SiteError", "Sites", "get_site", "load_sites", "merge", "user_folder"]

SHIPPED: Final = "shipped"
_DATA: Final = Path(__file__).parent / "data"


class SiteError(ValueError):
    """A site is not known, or what is known about it cannot be understood."""


@dataclass
class _Layers:
    """What the files say about one site, the first to be overridden by the later ones."""

    tables: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Put one table over another: tables key by key, anything else is replaced."""
    merged = dict(base)
    for key, value in over.items():
        below = merged.get(key)
        both = isinstance(below, Mapping) and isinstance(value, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged


def _leaves(
    table: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping) and key not in INLINE:
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


class Sites:
    """The sites that are known here.

    Attributes:
        warnings: what is wrong with files; it does not concern the sites that are not named.
    """

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._layers: dict[str, _Layers] = {}
        self._unread: list[tuple[str, set[str]]] = []

    def names(self) -> list[str]:
        """The names of all sites, in order."""
        return sorted(self._layers)

    def resolve(self, name: str) -> str:
        """The proper name for a name or alias, whose case does not matter.

        Raises:
            SiteError: there is no such site.
        """
        wanted = name.casefold()
        for known in self._layers:
            if known.casefold() == wanted:
                return known
        for known, layers in self._layers.items():
            if any(wanted in _aliases(table) for _, table in layers.tables):
                return known
        for problem, concerned in self._unread:
            if wanted in concerned:
                raise SiteError(problem)
        near = difflib.get_close_matches(name, self._layers, 1)
        meant = f" Did you mean {near[0]!r}?" if near else ""
        raise SiteError(
            f"There is no site {name!r}.{meant} `exaworks site list` shows all; `exaworks site "
            f"detect --write --name NAME` writes a profile for the machine it runs on."
        )

    def get(self, name: str) -> SiteProfile:
        """The profile of a site.

        Args:
            name: its name, or an alias.

        Raises:
            SiteError: there is no such site, or a file that says something about it is broken.
        """
        proper = self.resolve(name)
        layers = self._layers[proper]
        concerning = [text for text, concerned in self._unread if proper.casefold() in concerned]
        problems = concerning + layers.problems
        if problems:
            raise SiteError("\n".join(problems))
        table: dict[str, Any] = {}
        origins: dict[tuple[str, ...], str] = {}
        for origin, over in layers.tables:
            table = merge(table, over)
            origins.update((path, origin) for path, _ in _leaves(over))
        problems = list(self._inconsistent(proper, table, origins))
        if problems:
            raise SiteError("\n".join(problems))
        return SiteProfile.of(proper, table, origins)

    def _inconsistent(
        self, name: str, table: Mapping[str, Any], origins: Mapping[tuple[str, ...], str]
    ) -> Iterator[str]:
        files = list(dict.fromkeys(origin for origin, _ in self._layers[name].tables))

        def complain(path: tuple[str, ...], problem: str) -> str:
            return f"{origins.get(path, ', '.join(files))}: {'.'.join((name, *path))}: {problem}"

        schedulers = table.get("schedulers", {})
        if not schedulers:
            yield complain(("schedulers",), f"is missing; {self._hint_scheduler(name)}")
            return
        default = table.get("default_scheduler")
        known = ", ".join(schedulers)
        if default is None and len(schedulers) > 1:
            yield complain(("default_scheduler",), f"is missing; name one of: {known}")
        if default is not None and default not in schedulers:
            yield complain(
                ("default_scheduler",), f"there is no scheduler {default!r}; there are: {known}"
            )
        for key, scheduler in schedulers.items():
            queues, at = scheduler.get("queues", {}), ("schedulers", key)
            chosen = scheduler.get("default_queue")
            if chosen is not None and chosen not in queues and not scheduler.get("other_queues"):
                yield complain(
                    (*at, "default_queue"),
                    f"there is no queue {chosen!r}; there are: {', '.join(queues) or 'none'}",
                )
            for queue_name, queue in queues.items():
                where = (*at, "queues", queue_name)
                for node in queue.get("nodes", ()):
                    if node not in table.get("nodes", {}):
                        yield complain(
                            (*where, "nodes"),
                            f"there is no node type {node!r}; write a table [nodes.{node}] or "
                            f"one of: {', '.join(table.get('nodes', {})) or 'none'}",
                        )
                if queue.get("min_nodes", 1) > queue.get("max_nodes", float("inf")):
                    yield complain((*where, "min_nodes"), "is more than max_nodes; correct one")

    def _hint_scheduler(self, name: str) -> str:
        for known, layers in self._layers.items():
            if known != name and any(name.casefold() in _aliases(t) for _, t in layers.tables):
                return f"{name!r} is an alias: write the table as [{known}]"
        others = [other for other in self._layers if other != name]
        near = difflib.get_close_matches(name, others, 1)
        meant = f"if {near[0]!r} is meant, write that name; else " if near else ""
        return f"{meant}write for instance [schedulers.slurm] with an executor's name"

    def here(self) -> SiteProfile | None:
        """The site that this machine belongs to, if it is known.

        Profiles that cannot be understood are passed over.
        """
        ours = host_names()
        for name in self.names():
            try:
                profile = self.get(name)
            except SiteError:
                continue
            if profile.is_here(ours):
                return profile
        return None

    # -- reading

    def _read_folder(self, folder: Path) -> None:
        try:
            files = sorted(folder.glob("*.toml"))
        except OSError as problem:
            self.warnings.append(f"{folder}: cannot be read: {problem.strerror}")
            return
        for file in files:
            origin = f"{SHIPPED}: {file.name}" if folder == _DATA else str(file)
            table = self._parse(file, origin, {file.stem.casefold()})
            if table is None:
                continue
            name = table.get("name", file.stem)
            self._add(name if isinstance(name, str) else file.stem, table, origin)

    def _read_file(self, file: Path) -> None:
        tables = self._parse(file, str(file), None)
        for name, table in (tables or {}).items():
            if isinstance(table, Mapping):
                self._add(name, dict(table), str(file))
                continue
            self.warnings.append(
                f"{file}: {name}: must be the table of a site, such as [frontier]; a file with a "
                f"single site belongs into {file.parent / 'sites'}"
            )

    def _parse(self, file: Path, origin: str, sites: set[str] | None) -> dict[str, Any] | None:
        toml = importlib.import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
        text = ""
        try:
            text = file.read_bytes().decode("utf-8")
            table: dict[str, Any] = toml.loads(text)
            return table
        except FileNotFoundError:
            return None
        except UnicodeDecodeError as problem:
            complaint = f"{origin}: is not UTF-8 text (byte {problem.start}); save it as UTF-8"
        except OSError as problem:
            complaint = f"{origin}: cannot be read: {problem.strerror}"
        except (toml.TOMLDecodeError, RecursionError) as problem:
            complaint = f"{origin}: is not TOML: {problem}"
        if sites is None:
            headers = re.findall(r"^\s*\[+\s*[\"']?([^\].\"'\s]+)", text, re.MULTILINE)
            sites = {header.casefold() for header in headers}
        self._unread.append((complaint, sites))
        self.warnings.append(complaint)
        return None

    def _add(self, name: str, table: dict[str, Any], origin: str) -> None:
        proper = next(
            (known for known in self._layers if known.casefold() == name.casefold()), name
        )
        layers = self._layers.setdefault(proper, _Layers())
        normal = normalize(table)
        problems = [f"{origin}: {problem}" for problem in check(normal, PROFILE)]
        if not re.fullmatch(r"[A-Za-z0-9][\w.+-]*", name, re.ASCII):
            problems.append(f"{origin}: {name!r} is no name for a site; use letters and digits")
        layers.problems += problems
        self.warnings += problems
        layers.tables.append((origin, normal))


def _aliases(table: Mapping[str, Any]) -> set[str]:
    found = table.get("aliases", ())
    return {alias.casefold() for alias in found if isinstance(alias, str)}


def user_folder() -> Path:
    """Where a user's profiles are, one a file."""
    return config.home() / "sites"


def _project_file(directory: Path) -> Path | None:
    for folder in (directory, *directory.parents):
        for file in (folder / ".exaworks" / "sites.toml", folder / "exaworks-sites.toml"):
            if file.is_file():
                return file
    return None


def load_sites(directory: str | os.PathLike[str] | None = None) -> Sites:
    """Read all profiles. Later ones override earlier ones key by key.

    In this order: those that come with the package; the system's (``/etc/exaworks``, or the folder
    that ``EXAWORKS_SITES_SYSTEM`` names: ``sites.d/*.toml``, then ``sites.toml``); the user's
    (``sites/*.toml``, then ``sites.toml`` in :func:`exaworks.core.config.home`); the project's
    (``.exaworks/sites.toml`` or ``exaworks-sites.toml``).

    Args:
        directory: where to look for the project's file, there or in the nearest folder above;
            ``None``: the working directory.
    """
    sites = Sites()
    sites._read_folder(_DATA)
    system = Path(os.environ.get("EXAWORKS_SITES_SYSTEM") or "/etc/exaworks")
    sites._read_folder(system / "sites.d")
    sites._read_file(system / "sites.toml")
    own: Path | None = None
    try:
        own = config.home() / "sites.toml"
    except OSError as problem:  # no home directory
        sites.warnings.append(f"your own sites are not read: {problem}")
    else:
        sites._read_folder(user_folder())
        sites._read_file(own)
    try:
        project = _project_file(Path(directory or os.getcwd()).absolute())
        if project is not None and not (own and own.exists() and project.samefile(own)):
            # Its lines of shell are run: a file that somebody else put into a folder above, such
            # as /tmp, must not be able to run programs in our name.
            if project.stat().st_uid in (0, os.getuid()):
                sites._read_file(project)
            else:
                sites.warnings.append(
                    f"{project}: is not used because it belongs to another user; if you trust "
                    "it, make a copy of your own"
                )
    except OSError as problem:
        sites.warnings.append(f"the project's sites cannot be read: {problem}")
    return sites


def get_site(name: str, directory: str | os.PathLike[str] | None = None) -> SiteProfile:
    """The profile of a site; see :func:`load_sites`.

    Raises:
        SiteError: there is no such site, or a file that says something about it is broken.
    """
    return load_sites(directory).get(name)
