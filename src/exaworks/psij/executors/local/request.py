"""Jobs in the words of the keeper: which processes to start, where, and with which variables."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from exaworks.core.keeper.protocol import encode, env_id, wire
from exaworks.psij import script
from exaworks.psij.job import Job
from exaworks.psij.job_executor_config import JobExecutorConfig
from exaworks.psij.job_launcher import Launcher, PrefixLauncher
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.serialize import spec_to_dict
from exaworks.psij.validate import command, directory, expand_home, resources

__all__ = [
    "Context",
    "Surroundings",
    "environment",
    "job_request",
    "json_text",
    "nodefile",
    "phases",
    "shown",
]

json_text = json.JSONEncoder(separators=(",", ":")).encode
"""A message or a part of one as the keeper expects it."""

_SH = "/bin/sh"
# What users source before a job is often written for bash, and relies on functions (such as
# `module`) that only bash takes over from the environment.
_BASH = "/bin/bash" if os.path.exists("/bin/bash") else _SH
_NODEFILES_KEPT = 30 * 86400.0


class Context:
    """The surroundings that jobs inherit: variables, umask, CPUs; sent to the keeper once.

    Attributes:
        id: the name that jobs refer to it by; the same for the same surroundings.
        variables: the environment.
        frame: the message that tells the keeper of it.
    """

    def __init__(
        self, variables: Mapping[str, str], umask: int | None, cpus: list[int] | None
    ) -> None:
        self.variables = variables
        sent = {wire(name): wire(value) for name, value in variables.items()}
        self.id = env_id(sent, umask, cpus)
        message = {"op": "env", "id": self.id, "vars": sent, "umask": umask, "affinity": cpus}
        self.frame = encode({**message, "n": 0})  # a number that no request has


class _Made:
    """A context, and what it was made of."""

    __slots__ = ("context", "cpus", "environ", "umask")

    def __init__(
        self, environ: dict[bytes, bytes] | None, umask: int | None, cpus: set[int] | None
    ) -> None:
        variables = {os.fsdecode(k): os.fsdecode(v) for k, v in (environ or {}).items()}
        self.environ, self.umask, self.cpus = environ, umask, cpus
        self.context = Context(variables, umask, None if cpus is None else sorted(cpus))


class Surroundings:
    """What the jobs of one submission inherit from this process, as it is now.

    A context costs some milliseconds, so the last ones are used again if nothing has changed.
    """

    _last: ClassVar[dict[bool, _Made]] = {}  # replaced as a whole, so that threads need no lock

    def __init__(self) -> None:
        affinity = getattr(os, "sched_getaffinity", None)
        self._umask = _umask()
        self._cpus: set[int] | None = affinity(0) if affinity else None
        self._contexts: dict[bool, Context] = {}

    def context(self, inherit: bool) -> Context:
        """What a job inherits: everything, or no variables at all."""
        found = self._contexts.get(inherit)
        if found is None:
            found = self._contexts[inherit] = self._context(inherit)
        return found

    def _context(self, inherit: bool) -> Context:
        environ = _environ() if inherit else None
        last = self._last.get(inherit)
        if (
            last is None
            or last.umask != self._umask
            or last.cpus != self._cpus
            or last.environ != environ
        ):
            last = self._last[inherit] = _Made(environ, self._umask, self._cpus)
        return last.context


def _environ() -> dict[bytes, bytes]:
    """A copy of the environment, taken at one moment even if threads change it."""
    raw = getattr(os.environ, "_data", None)  # 50 times as fast as by the public way
    if type(raw) is dict:
        return raw.copy()
    return dict(os.environb)


def _umask() -> int | None:
    """This process's umask, read without changing it (other threads may make files)."""
    try:
        fd = os.open("/proc/self/status", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        text = os.read(fd, 256)  # it is in the second line
    finally:
        os.close(fd)
    _, found, rest = text.partition(b"\nUmask:")
    return int(rest.split(None, 1)[0], 8) if found else None


def environment(spec: JobSpec, inherited: Mapping[str, str]) -> dict[str, str]:
    """The variables to set for a job, with references to others replaced, in order."""
    variables = dict(inherited)
    for name, value in (spec.environment or {}).items():
        variables[name] = script.expand(value, variables)
    return {name: variables[name] for name in spec.environment or {}}


def main_command(
    job: Job, launcher: Launcher, cwd: str, variables: Mapping[str, str]
) -> tuple[list[str], bool]:
    """The command of the ACTIVE phase.

    Returns:
        the words of the command, and whether it is to have the job's standard streams (a script
        redirects by itself, and prints only what went wrong).
    """
    spec = job.spec
    assert spec is not None
    if launcher.wraps_everything:
        return [script.expand(w, variables) for w in launcher.get_launch_command(job)], False
    if spec.pre_launch is not None or spec.post_launch is not None:
        return [_BASH, "-c", script.active_body(job, launcher, cwd)], False
    if isinstance(launcher, PrefixLauncher):
        literal, rest = launcher.prefix(job), command(spec)
    else:
        literal, rest = [], launcher.get_launch_command(job)
    return literal + [script.expand(word, variables) for word in rest], True


def phases(
    job: Job, launcher: Launcher, cwd: str, variables: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The processes to start one after the other."""
    spec = job.spec
    assert spec is not None
    argv, streams = main_command(job, launcher, cwd, variables)
    active = {"state": "ACTIVE", "argv": [wire(word) for word in argv], "stdio": streams}
    if not spec.moves_data:
        return [active]

    def phase(state: str, text: str) -> dict[str, Any]:
        return {"state": state, "argv": [_SH, "-c", wire(text)], "stdio": False}

    return [
        *([phase("STAGE_IN", script.stage_in_script(spec))] if spec.stage_in else []),
        active,
        *([phase("STAGE_OUT", script.stage_out_script(spec))] if spec.stage_out else []),
        *([phase("CLEANUP", script.cleanup_script(spec))] if spec.cleanup else []),
    ]


def shown(steps: list[dict[str, Any]]) -> tuple[list[str], str | None]:
    """The command of a job for people to read, and the scripts that it runs if there are any."""
    parts = []
    command_line: list[str] = []
    for step in steps:
        argv, text = step["argv"], shlex.join(step["argv"])
        if not step["stdio"] and argv[:-1] in ([_SH, "-c"], [_BASH, "-c"]):
            argv, text = argv[:-1], argv[-1]
        parts.append((step["state"], argv, text))
        if step["state"] == "ACTIVE":
            command_line = argv
    if len(parts) > 1:
        return command_line, "\n".join(
            f"# {state}: {shlex.join(argv)}\n{text}" for state, argv, text in parts
        )
    return command_line, None if command_line == steps[0]["argv"] else parts[0][2]


def job_request(
    job: Job, launcher: Launcher, context: Context, config: JobExecutorConfig
) -> dict[str, Any]:
    """The keeper's request for a checked job."""
    spec = job.spec
    assert spec is not None
    cwd = str(directory(spec) or os.getcwd())
    extra = environment(spec, context.variables)
    count = resources(job).computed_process_count
    if count > 1 and launcher.DEFAULT_LAUNCHER_NAME != spec.launcher is not None:
        extra["PSIJ_NODEFILE"] = str(_write_nodefile(job, count, config.work_directory))
    variables = {**context.variables, **extra} if extra else context.variables
    request: dict[str, Any] = {
        "key": job.id,
        "phases": phases(job, launcher, cwd, variables),
        "cwd": wire(cwd),
        "env": context.id,
        "meta": spec_to_dict(spec),
    }
    if extra:
        request["env_set"] = {wire(name): wire(value) for name, value in extra.items()}
    for stream in ("stdin", "stdout", "stderr"):
        path: Path | None = getattr(spec, f"{stream}_path")
        if path is not None and not launcher.wraps_everything:
            request[stream] = wire(str(expand_home(path)))
    attributes = spec.attributes
    if attributes.duration_given and attributes.duration is not None:
        request["duration"] = attributes.duration.total_seconds()
    return request


def nodefile(job: Job, work_directory: Path) -> Path:
    """Where the file with the nodes of a job is: one line a process."""
    return work_directory / "local" / f"{job.id}.nodefile"


_swept: set[Path] = set()


def _write_nodefile(job: Job, count: int, work_directory: Path) -> Path:
    path = nodefile(job, work_directory)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.parent not in _swept:
        _swept.add(path.parent)
        _sweep(path.parent)
    path.write_text("localhost\n" * count)
    return path


def _sweep(folder: Path) -> None:
    """Remove the node files of programs that ended long ago, before their jobs."""
    oldest = time.time() - _NODEFILES_KEPT
    for other in folder.glob("*.nodefile"):
        with contextlib.suppress(OSError):  # another program sweeps, too
            if other.stat().st_mtime < oldest:
                other.unlink()
