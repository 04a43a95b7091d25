"""Starting the process of a job: files, directory, executable, posix_spawn; no shell, no fork."""

from __future__ import annotations

import contextlib
import os
import re
import stat

from exaworks.core.spawning import (
    LaunchError,
    check_room,
    encode_variables,
    find_executable,
    spawn,
    system_bytes,
)

from .processes import ticks
from .protocol import MARKER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .joblogs import JobLogs

_OWN_UMASK = 0o077


class Environment:
    """An environment context as clients send it: variables, umask and CPU affinity."""

    __slots__ = ("affinity", "umask", "variables")

    def __init__(self, context: Any) -> None:
        """Take ``context`` apart.

        Raises:
            ValueError: it is not as it must be; the message says what is wrong.
        """
        variables = context.get("vars")
        umask = context.get("umask")
        affinity = context.get("affinity")
        if not isinstance(variables, dict):
            raise ValueError("vars must be an object")
        if umask is not None and (not isinstance(umask, int) or not 0 <= umask <= 0o777):
            raise ValueError(f"umask must be a number of at most 0777, not {umask!r}")
        if affinity is not None and (
            not isinstance(affinity, list)
            or not affinity
            or not all(isinstance(cpu, int) and cpu >= 0 for cpu in affinity)
        ):
            raise ValueError(f"affinity must be a list of CPU numbers, not {affinity!r}")
        if not re.fullmatch(r"[0-9a-f]{32}", str(context.get("id"))):
            raise ValueError("id must be the one that protocol.env_id gives")
        self.umask: int | None = umask
        self.affinity: frozenset[int] | None = frozenset(affinity) if affinity else None
        self.variables = encode_variables(variables)


class Spawner:
    """Starts processes, each leading its own session, with directory, umask and CPUs of the job.

    The process that uses it must be single-threaded and lives with a changing working directory,
    umask and affinity; files of its own are to be opened after :meth:`rest`.
    """

    def __init__(self, logs: JobLogs) -> None:
        self._logs = logs
        self._null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        self._umask = _OWN_UMASK
        os.umask(_OWN_UMASK)
        self._own_cpus: frozenset[int] | None = None
        if hasattr(os, "sched_getaffinity"):
            self._own_cpus = frozenset(os.sched_getaffinity(0))
        self._cpus = self._own_cpus

    def rest(self) -> None:
        """Return to our own umask and CPUs, and to a directory that nobody wants to unmount."""
        os.chdir("/")
        self._set_cpus(None)
        self._set_umask(_OWN_UMASK)

    def spawn(
        self, key: str, spec: dict[str, Any], index: int, env: Environment, outcome: str | None
    ) -> tuple[int, int]:
        """Start phase ``index`` of job ``key``; return its process id and the time in ticks.

        Raises:
            LaunchError: it can never be started; the message names what is wrong.
            NoRoom: it cannot be started now.
        """
        phase = spec["phases"][index]
        fds: list[int] = []
        try:
            argv = [system_bytes(argument) for argument in phase["argv"]]
            variables = env.variables.copy()
            if "env_set" in spec:
                variables.update(encode_variables(spec["env_set"]))
            variables[MARKER.encode()] = key.encode()
            if outcome is not None:
                variables[b"PSIJ_OUTCOME"] = outcome.encode()
            self._enter(spec.get("cwd"), variables)
            if phase.get("stdio", phase.get("state", "ACTIVE") == "ACTIVE"):
                self._set_umask(_OWN_UMASK if env.umask is None else env.umask)
                first = not any(
                    earlier.get("stdio", earlier.get("state", "ACTIVE") == "ACTIVE")
                    for earlier in spec["phases"][:index]
                )
                actions, slow = self._job_files(spec, first, fds)
            else:
                self._set_umask(_OWN_UMASK)
                actions, slow = self._log_file(key, fds), []
                self._set_umask(_OWN_UMASK if env.umask is None else env.umask)
            self._set_cpus(env.affinity)
            path = find_executable(argv[0], variables)
            if slow:
                # Opening it may block (a FIFO), so the new process has to do it.
                script = "".join(f'exec {op}"${i}"; ' for i, (op, _) in enumerate(slow, 1))
                if slow[-1][0] == "1>" and spec.get("stderr") == spec.get("stdout"):
                    script += "exec 2>&1; "
                argv = [
                    b"/bin/sh", b"-c", f'{script}shift {len(slow)}; exec "$@"'.encode(), b"sh",
                    *[name for _, name in slow], path, *argv[1:],
                ]  # fmt: skip
                path = b"/bin/sh"
            now = ticks()
            return spawn(path, argv, variables, actions), now
        except ValueError as error:
            raise LaunchError(str(error)) from error
        finally:
            for fd in fds:
                os.close(fd)

    def _enter(self, cwd: str | None, variables: dict[bytes, bytes]) -> None:
        folder = system_bytes(cwd) if cwd else variables.get(b"HOME") or b"/"
        try:
            os.chdir(folder)
        except OSError as error:
            check_room(error)
            raise LaunchError(
                f"cannot enter the directory {os.fsdecode(folder)}: {error.strerror}; "
                "the directory of a job must exist when it starts"
            ) from error

    def _set_umask(self, umask: int) -> None:
        if umask != self._umask:
            os.umask(umask)
            self._umask = umask

    def _set_cpus(self, cpus: frozenset[int] | None) -> None:
        wanted = self._own_cpus if cpus is None else cpus
        if wanted != self._cpus and wanted is not None and self._own_cpus is not None:
            # A CPU that this keeper may not use is no reason to refuse the job.
            with contextlib.suppress(OSError):
                os.sched_setaffinity(0, wanted)
            self._cpus = wanted

    def _log_file(self, key: str, fds: list[int]) -> list[tuple[int, int, int]]:
        path = self._logs.path(key)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            check_room(error)
            raise LaunchError(f"cannot open the log {path}: {error.strerror}") from error
        fds.append(fd)
        return _dup2(self._null, fd, fd)

    def _job_files(
        self, spec: dict[str, Any], first: bool, fds: list[int]
    ) -> tuple[list[tuple[int, int, int]], list[tuple[str, bytes]]]:
        """Open a job's files; return what to do with them, and which the child must open."""
        slow: list[tuple[str, bytes]] = []
        chosen = [self._null, self._null, self._null]
        end = os.O_TRUNC if first else os.O_APPEND
        for target, name in enumerate(("stdin", "stdout", "stderr")):
            text = spec.get(name)
            if text is None:
                continue
            path = system_bytes(text)
            if target == 2 and text == spec.get("stdout"):
                chosen[2] = chosen[1]
                continue
            if _may_block(path):
                slow.append(("<" if target == 0 else f"{target}>", path))
                continue
            flags = os.O_RDONLY if target == 0 else os.O_WRONLY | os.O_CREAT | end
            try:
                fd = os.open(path, flags | os.O_CLOEXEC | os.O_NOCTTY, 0o666)
            except OSError as error:
                check_room(error)
                raise LaunchError(f"cannot open {name} file {text}: {error.strerror}") from error
            fds.append(fd)
            chosen[target] = fd
        if chosen[1] != chosen[2] and self._null not in chosen[1:]:
            out, err = os.fstat(chosen[1]), os.fstat(chosen[2])
            if (out.st_dev, out.st_ino) == (err.st_dev, err.st_ino):
                chosen[2] = chosen[1]
        return _dup2(*chosen), slow


def _dup2(*fds: int) -> list[tuple[int, int, int]]:
    return [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(fds)]


def _may_block(path: bytes) -> bool:
    try:
        found = os.stat(path)
    except OSError:
        return False
    if stat.S_ISCHR(found.st_mode):
        return os.major(found.st_rdev) != 1  # 1: null, zero, full, random, ...
    return stat.S_ISFIFO(found.st_mode)
