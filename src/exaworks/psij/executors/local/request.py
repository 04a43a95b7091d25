"""Jobs in the words of the keeper: which processes to start, where, and with which variables."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exaworks.core.keeper.protocol import env_id, wire
from exaworks.psij import script
from exaworks.psij.job import Job
from exaworks.psij.job_executor_config import JobExecutorConfig
from exaworks.psij.job_launcher import Launcher, PrefixLauncher
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.serialize import spec_to_dict
from exaworks.psij.validate import command, directory, resources

__all__ = ["Context", "Surroundings", "job_request", "main_command"]

_SH = "/bin/sh"
# What users source before a job is often written for bash, and relies on functions (such as
# `module`) that only bash takes over from the environment.
_BASH = "/bin/bash" if os.path.exists("/bin/bash") else _SH
_NODEFILES_KEPT = 30 * 86400.0


class Context:
    """The surroundings that jobs inherit: variables, umask, CPUs; sent to the keeper once."""

    def __init__(self, variables: Mapping[str, str], umask: int | None) -> None:
        affinity = getattr(os, "sched_getaffinity", None)
        cpus = sorted(affinity(0)) if affinity else None
        self.variables = dict(variables)
        sent = {wire(name): wire(value) for name, value in self.variables.items()}
        self.id = env_id(sent, umask, cpus)
        self.message = {"id": self.id, "vars": sent, "umask": umask, "affinity": cpus}


class Surroundings:
    """Makes contexts of this process, and the same one again as long as nothing changes."""

    def __init__(self) -> None:
        self._environ: dict[bytes, bytes] | None = None
        self._umask: int | None = None
        self._umask_read = -1.0
        self._inherited: Context | None = None
        self._empty: Context | None = None

    def context(self, inherit: bool) -> Context:
        """What a job inherits from this process: everything, or no variables at all."""
        now = time.monotonic()
        if now - self._umask_read > 1.0:
            umask, self._umask_read = _umask(), now
            if umask != self._umask:
                self._umask, self._inherited, self._empty = umask, None, None
        if not inherit:
            if self._empty is None:
                self._empty = Context({}, self._umask)
            return self._empty
        environ = dict(os.environb)
        if self._inherited is None or environ != self._environ:
            self._environ, self._inherited = environ, Context(os.environ, self._umask)
        return self._inherited


def _umask() -> int | None:
    """This process's umask, read without changing it (other threads may make files)."""
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith("Umask:"):
                    return int(line.split()[1], 8)
    except OSError:
        pass
    return None


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
            request[stream] = wire(str(path.expanduser()))
    attributes = spec.attributes
    if attributes.duration_given and attributes.duration is not None:
        request["duration"] = attributes.duration.total_seconds()
    return request


def nodefile(job: Job, work_directory: Path) -> Path:
    """Where the file with the nodes of a job is: one line a process."""
    return work_directory / "local" / f"{job.id}.nodefile"


def _write_nodefile(job: Job, count: int, work_directory: Path) -> Path:
    path = nodefile(job, work_directory)
    path.parent.mkdir(parents=True, exist_ok=True)
    oldest = time.time() - _NODEFILES_KEPT
    for other in path.parent.glob("*.nodefile"):  # of programs that ended before their jobs
        if other.stat().st_mtime < oldest:
            other.unlink(missing_ok=True)
    path.write_text("localhost\n" * count)
    return path
