"""How a job is described to a machine with other files than this one."""

from __future__ import annotations

import copy
import os
from dataclasses import dataclass, field
from pathlib import Path

from exaworks.psij.exceptions import InvalidJobException
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.script import staged
from exaworks.psij.staging import URI, StageIn, StageOut, StagingMode
from exaworks.psij.validate import expand_home

__all__ = ["Transfers", "downloads", "for_machine"]

_PATHS = ("directory", "stdin_path", "stdout_path", "stderr_path", "pre_launch", "post_launch")


@dataclass
class Transfers:
    """Files of a job that must cross the network.

    Attributes:
        uploads: paths here, in the order of their numbers there.
        downloads: paths here, likewise.
        moved: those of the uploads that are to be gone afterwards.
    """

    uploads: list[str] = field(default_factory=list)
    downloads: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)


def _there(path: Path, home: str, relative_to_home: bool) -> Path:
    """A path of the other machine: ``~/`` means the home directory there."""
    if path.parts[:1] == ("~",):
        return Path(home).joinpath(*path.parts[1:])
    return Path(home) / path if relative_to_home else path


def _outputs(spec: JobSpec) -> list[StageOut]:
    return sorted(spec.stage_out, key=lambda out: (str(out.source), str(out.target)))


def _path_here(out: StageOut) -> str:
    return os.path.abspath(expand_home(Path(out.target.path)))


def downloads(spec: JobSpec) -> list[str]:
    """Where to put what a job leaves on the other machine; see :func:`for_machine`."""
    return [_path_here(out) for out in _outputs(spec) if out.target.is_local]


def for_machine(spec: JobSpec, home: str) -> tuple[JobSpec, Transfers]:
    """A specification in terms of another machine's files.

    What is staged from and to this machine goes through numbered places of the executor's folder
    there. A file that is to be linked is copied.

    Args:
        spec: the checked specification; it is not changed.
        home: the home directory on the other machine.

    Raises:
        InvalidJobException: a file of this machine does not exist.
    """
    spec = copy.copy(spec)
    for name in _PATHS:
        path: Path | None = getattr(spec, name)
        if path is not None:
            # the job's own streams are relative to its directory
            setattr(spec, name, _there(Path(path), home, name.endswith("_launch")))
    transfers = Transfers()
    stage_in: set[StageIn] = set()
    for item in sorted(spec.stage_in, key=lambda i: (str(i.target), str(i.source))):
        source, mode = item.source, item.mode
        if source.is_local:
            path_here = os.path.abspath(expand_home(Path(source.path)))
            if not os.path.exists(path_here):
                raise InvalidJobException(
                    f"stage_in source {path_here} does not exist on this machine; for a file of "
                    f"the other one write file://HOST{path_here}"
                )
            source, mode = staged("in", len(transfers.uploads)), StagingMode.COPY
            transfers.uploads.append(path_here)
            if item.mode is StagingMode.MOVE:
                transfers.moved.append(path_here)
        else:
            source = URI.of_path(Path(source.path))
        stage_in.add(StageIn(source, item.target, mode))
    stage_out: set[StageOut] = set()
    for out in _outputs(spec):
        target, mode = out.target, out.mode
        if target.is_local:
            mode = StagingMode.COPY if mode is StagingMode.LINK else mode
            target = staged("out", len(transfers.downloads))
            transfers.downloads.append(_path_here(out))
        else:
            target = URI.of_path(Path(target.path))
        stage_out.add(StageOut(out.source, target, out.flags, mode))
    spec.stage_in, spec.stage_out = stage_in, stage_out
    return spec, transfers
