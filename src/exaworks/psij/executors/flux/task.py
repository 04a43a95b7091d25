"""What Flux is to start for a job: the job's own command, or a script around it.

A job that needs nothing around its command is handed to Flux as it is. Pre- and post-launch
scripts, staging, cleanup, redirections and directories need a script, which tells of states and
of what went wrong by memos on the job (Flux RFC 21, "memo event"): they arrive in the stream of
events, without a file system in common. Parallel launchers become native tasks of Flux, which
gives them a PMI and places them on the nodes. If such a job needs a script as well, the script
runs in a Flux instance of the job's own, and starts the tasks there.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from exaworks.psij import script
from exaworks.psij.exceptions import InvalidJobException
from exaworks.psij.executors.flux.scripts import (
    NESTED_COMMAND,
    SHELL,
    RunLauncher,
    guard_text,
    script_text,
)
from exaworks.psij.job import Job
from exaworks.psij.job_launcher import Launcher
from exaworks.psij.validate import command, directory, expand_home, resources

__all__ = ["NATIVE_LAUNCHERS", "Surroundings", "Task", "make_task", "utf8_only"]

NATIVE_LAUNCHERS = frozenset(("multiple", "mpirun", "mpiexec", "srun", "aprun", "jsrun", "jrun"))
"""Launchers that start one process for each task: Flux itself does what they do."""

_COPIES = "multiple"
_NULL = "/dev/null"


@dataclass(frozen=True)
class Surroundings:
    """What a job starts with.

    Attributes:
        variables: the environment, as far as Flux can carry it.
        cwd: the directory for jobs that name none.
        log_folder: where scripts leave what they print, until they have succeeded.
        site_setup: lines of shell that the site wants to be run first.
    """

    variables: Mapping[str, str]
    cwd: str
    log_folder: str
    site_setup: tuple[str, ...] = ()

    def log(self, job: Job) -> str | None:
        """The file for what the script of a job prints; ``None`` if there is nothing to print."""
        spec = job.spec
        assert spec is not None
        if spec.pre_launch is None and spec.post_launch is None and not spec.moves_data:
            return None
        return os.path.join(self.log_folder, f"{job.id}.log")


@dataclass(frozen=True)
class Task:
    """What Flux is to start.

    Attributes:
        argv: the command.
        native: whether each process of the job is a task; otherwise there is one on each node,
            and the one on the first node stands for the job.
        cwd: the directory to start in.
        environment: the variables.
        stdout: the file for what tasks print.
        stderr: the same for errors; ``None``: they go with the output.
        options: options of the job shell.
    """

    argv: tuple[str, ...]
    native: bool
    cwd: str
    environment: Mapping[str, str]
    stdout: str = _NULL
    stderr: str | None = None
    options: tuple[tuple[str, object], ...] = ()


def make_task(job: Job, launcher: Launcher, around: Surroundings) -> Task:
    """Find out what is to be started for a checked job.

    Raises:
        InvalidJobException: Flux cannot be given such a job.
    """
    spec = job.spec
    assert spec is not None
    name = spec.launcher or Launcher.DEFAULT_LAUNCHER_NAME
    scripted = (
        spec.pre_launch is not None
        or spec.post_launch is not None
        or spec.moves_data
        or launcher.wraps_everything
        or bool(around.site_setup)
    )
    variables = dict(around.variables) if spec.inherit_environment else {}
    for variable, value in (spec.environment or {}).items():
        variables[variable] = script.expand(value, variables)
    if name in NATIVE_LAUNCHERS and not scripted:
        return _native_task(job, name, around, variables)
    bare = (
        name == Launcher.DEFAULT_LAUNCHER_NAME
        and not scripted
        and spec.directory is spec.stdin_path is spec.stdout_path is spec.stderr_path is None
        and resources(job).computed_node_count == 1
        and _are_utf8(around.cwd, *variables, *variables.values())
    )
    if bare:
        words = [script.expand(word, variables) for word in command(spec)]
        return Task(_carried(words), False, around.cwd, variables)
    return _script_task(job, launcher, name, around, variables)


def _native_task(job: Job, name: str, around: Surroundings, variables: dict[str, str]) -> Task:
    spec = job.spec
    assert spec is not None
    base = directory(spec)
    cwd = around.cwd if base is None else str(base)
    out, err = _path(spec.stdout_path, cwd) or _NULL, _path(spec.stderr_path, cwd) or _NULL
    stdin = _path(spec.stdin_path, cwd)
    for text in (out, err, *variables, *variables.values()):
        if not _are_utf8(text):
            raise InvalidJobException(
                f"{text!r} is not UTF-8, and Flux can start no parallel job with such text: use "
                "other characters, or the launcher 'single'"
            )
    words = [script.expand(word, variables) for word in command(spec)]
    if base is not None or stdin is not None or name == _COPIES:
        words = ["/bin/sh", "-c", guard_text(), str(base or ""), stdin or "", *words]
    # A parallel program is over when one of its processes fails; copies of a program have nothing
    # to do with each other. In no case does the end of one mean that the others hang.
    options: list[tuple[str, object]] = [("exit-timeout", "none")]
    if name != _COPIES:
        options.append(("exit-on-error", 1))
    return Task(
        _carried(words),
        True,
        cwd if base is None and _are_utf8(cwd) else "/",
        variables,
        _literal(out),
        None if err == out else _literal(err),
        tuple(options),
    )


def _path(path: Path | None, cwd: str) -> str | None:
    return None if path is None else os.path.join(cwd, expand_home(path))


def _literal(path: str) -> str:
    """A path that the job shell takes as it is; it replaces ``{{...}}`` in names of files."""
    if "{{" in path:
        raise InvalidJobException(
            f"the name {path!r} contains '{{{{', which has a meaning for Flux: use another name"
        )
    return path


def _script_task(
    job: Job, launcher: Launcher, name: str, around: Surroundings, variables: dict[str, str]
) -> Task:
    nested = name in NATIVE_LAUNCHERS and name != _COPIES
    whole = _are_utf8(*variables, *variables.values())
    text = script_text(
        job,
        RunLauncher() if nested else launcher,
        around.cwd,
        around.log(job),
        exports=not whole,
        nested=nested,
        site_setup=around.site_setup,
    )
    words = [*NESTED_COMMAND, text] if nested else [*SHELL, text]
    several = resources(job).computed_node_count > 1
    return Task(
        _carried(words),
        False,
        "/",  # the script enters the directory, and says so if it cannot
        variables if whole else utf8_only(variables),
        options=(("exit-timeout", "none"),) if several else (),
    )


# -- text that Flux would not carry as it is -------------------------------------------------------


def _are_utf8(*texts: str) -> bool:
    try:
        for text in texts:
            text.encode()
    except UnicodeEncodeError:
        return False
    return True


def utf8_only(variables: Mapping[str, str]) -> dict[str, str]:
    """Variables that Flux can carry (in JSON): those whose bytes are UTF-8."""
    return {name: value for name, value in variables.items() if _are_utf8(name, value)}


def _carried(words: Sequence[str]) -> tuple[str, ...]:
    """A command that means exactly ``words``.

    Flux carries UTF-8 only, and the job shell replaces ``{{...}}`` in arguments: such words go
    through a shell, in ASCII (POSIX.1-2017, printf: ``%b`` reads ``\\0`` and octal digits).

    Raises:
        InvalidJobException: they contain what is no text of this system.
    """
    if all(_are_utf8(word) and "{{" not in word for word in words):
        return tuple(words)
    try:
        data = os.fsencode(" ".join(["exec", *map(shlex.quote, words)]))
    except UnicodeEncodeError as problem:
        raise InvalidJobException(
            f"the job contains the character {problem.object[problem.start]!r}, which cannot be "
            "handed to a program: remove it",
            problem,
        ) from problem
    escaped = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b"\\{" else f"\\0{byte:03o}" for byte in data
    )
    return "/bin/sh", "-c", 'eval "$(printf %b "$0")"', escaped
