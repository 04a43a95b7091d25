"""The engine that has no workers: for debuggers and tests."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, RUNNING
from types import CoroutineType
from typing import Any, ClassVar, TypeVar

from exaworks.core.spawning import (
    LaunchError,
    NoRoom,
    check_room,
    encode_variables,
    find_executable,
    system_bytes,
)
from exaworks.core.workers.commands import (
    OUT_OF_MEMORY,
    OUT_OF_TIME,
    STOPPED,
    Ending,
    open_stream,
)
from exaworks.core.workers.processes import MARKER, memory_of
from exaworks.tasks.commands import command_words, not_started, outcome_of, variables_for
from exaworks.tasks.engine import Engine, EngineResources, Features, this_node
from exaworks.tasks.errors import EngineClosedError, InvalidTaskError
from exaworks.tasks.future import Failure, TaskFuture, Times, Value
from exaworks.tasks.options import Options
from exaworks.tasks.resources import NodeResources
from exaworks.tasks.scheduler import Placement, Scheduler
from exaworks.tasks.spec import TaskSpec

__all__ = ["InlineEngine"]

T = TypeVar("T")


class InlineEngine(Engine):
    """Runs each task at once, in the thread that submits it, and returns its future done.

    So a debugger stops where a task stops, and nothing happens behind anybody's back. Functions
    are called as they are, without pickling; their time limits are not kept. All else is as with
    :class:`LocalEngine`: results, exceptions, retries, commands with their limits, variables for
    GPUs, events.
    """

    name: ClassVar[str] = "inline"
    features: ClassVar[Features] = Features(
        "in the calling process", workers=False, cancel_running=False
    )

    def __init__(
        self, cores: int | None = None, *, gpus: int = 0, memory: int | None = None
    ) -> None:
        """Start.

        Args:
            cores: how many CPU cores tasks may ask for; ``None``: those that are there.
            gpus: how many GPUs they may ask for.
            memory: bytes that they may ask for; ``None``: what the machine has.
        """
        super().__init__()
        node = this_node(cores)
        self._node = NodeResources(
            node.name,
            node.cores,
            tuple(map(str, range(gpus))) or node.gpus,
            node.memory if memory is None else memory,
        )
        self._scheduler = Scheduler([self._node])
        self._count = 0
        self._closed = False

    def _submit(
        self,
        fn: Callable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        options: Options,
    ) -> TaskFuture[T]:
        if not callable(fn):
            raise TypeError(f"the first argument must be something to call, not {fn!r}")
        if options.resources.ranks > 1:
            raise InvalidTaskError("a function has one rank: use cores, or launch an MPI program")

        def call(future: TaskFuture[T], placement: Placement) -> Any:
            value: Any = fn(*args, **kwargs)
            if type(value) is CoroutineType:
                import asyncio

                value = asyncio.run(value)
            return Value(value)

        return self._run(options, call)

    def launch(self, spec: TaskSpec) -> TaskFuture[Any]:
        """See :meth:`Engine.launch`."""
        if spec.function is not None:
            return self._submit(spec.function, tuple(spec.args), dict(spec.kwargs), spec.options)
        words = command_words(spec)
        return self._run(
            spec.options, lambda future, placement: self._command(spec, words, future, placement)
        )

    def launch_many(self, specs: Sequence[TaskSpec]) -> list[TaskFuture[Any]]:
        """See :meth:`Engine.launch_many`."""
        for spec in specs:
            self._check(spec.options)
            if spec.command is not None:
                command_words(spec)
        return [self.launch(spec) for spec in specs]

    def _check(self, options: Options) -> None:
        self._check_process()
        if self._closed:
            raise EngineClosedError("this engine was shut down and takes no tasks any more")
        reason = self._scheduler.impossible(options.resources)
        if reason is not None:
            raise InvalidTaskError(f"the task can never run here: {reason}")

    def _run(
        self, options: Options, run: Callable[[TaskFuture[Any], Placement], Any]
    ) -> TaskFuture[Any]:
        self._check(options)
        with self._lock:
            self._count += 1
            future: TaskFuture[Any] = TaskFuture(self, self._count, None, time.time())
            # Whoever submits from within a task has what that has: nothing waits here.
            scheduler = Scheduler([self._node])
            scheduler.add(future, options.resources)
            found = scheduler.next(0.0)
        assert found is not None
        self._event(future, "QUEUED", name=options.name)
        for attempt in range(options.retries + 1):
            future._state = RUNNING
            self._event(future, "ACTIVE")
            begun = time.time()
            try:
                outcome = run(future, found[1])
            except KeyboardInterrupt:
                future._finish(CANCELLED_AND_NOTIFIED, None)
                self._event(future, "CANCELED")
                raise
            except BaseException as problem:
                outcome = Failure(problem)
            if not outcome.failed or attempt == options.retries:
                break
            self._event(future, "QUEUED", runs=attempt + 1)
        future._finish(FINISHED, outcome, Times(future.times.submitted, begun, time.time()))
        self._event(future, "FAILED" if outcome.failed else "COMPLETED")
        return future

    def _command(
        self, spec: TaskSpec, words: list[str], future: TaskFuture[Any], placement: Placement
    ) -> Any:
        variables = dict(os.environ) if spec.inherit_environment else {}
        variables.update(variables_for(spec, placement, bool(self._node.gpus), variables))
        variables[MARKER] = future.id
        fds: list[int] = []
        try:
            try:
                stdin, out, err = self._streams(spec, fds)
                begun = time.time()
                process = self._popen(spec, words, variables, (stdin, out, err))
            except (LaunchError, NoRoom) as problem:
                return Failure(not_started(future.id, str(problem), problem.exit_code))
            status, usage, why = _wait(process, spec)
            ending: Ending = (
                status, begun, time.time(), usage.ru_utime + usage.ru_stime, usage.ru_maxrss,
                _content(out) if spec.stdout is None else b"",
                _content(err) if spec.stderr is None else b"",
                spec.stdout, spec.stderr, why,
            )  # fmt: skip
        finally:
            for fd in fds:
                os.close(fd)
        return outcome_of(spec, future.id, ending, self._node.name)

    def _streams(self, spec: TaskSpec, fds: list[int]) -> tuple[int, int, int]:
        stdin = open_stream("stdin", _path(spec, "stdin"), os.O_RDONLY, fds)
        outputs: list[int] = []
        for name in ("stdout", "stderr"):
            if getattr(spec, name) is None:
                with tempfile.TemporaryFile() as file:
                    fds.append(os.dup(file.fileno()))
                outputs.append(fds[-1])
            elif outputs and spec.stderr == spec.stdout:
                outputs.append(outputs[0])
            else:
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
                outputs.append(open_stream(name, _path(spec, name), flags, fds))
        return stdin, outputs[0], outputs[1]

    def _popen(
        self,
        spec: TaskSpec,
        words: list[str],
        variables: dict[str, str],
        streams: tuple[int, int, int],
    ) -> subprocess.Popen[bytes]:
        stdin, out, err = streams
        find_executable(system_bytes(words[0]), encode_variables(variables))
        try:
            return subprocess.Popen(
                words,
                cwd=spec.directory,
                env=variables,
                start_new_session=True,
                stdin=stdin,
                stdout=out,
                stderr=err,
            )
        except OSError as problem:
            check_room(problem)
            if spec.directory is not None and problem.filename == spec.directory:
                raise LaunchError(
                    f"cannot enter the directory {spec.directory}: {problem.strerror}; "
                    "it must exist when the task starts"
                ) from problem
            code = 127 if problem.errno in (errno.ENOENT, errno.ENOTDIR) else 126
            raise LaunchError(f"cannot execute {words[0]}: {problem.strerror}", code) from problem

    def resources(self) -> EngineResources:
        """What is there; between tasks it is free."""
        return EngineResources((self._node,), (self._node,), 0, 0)

    def drain(self, timeout: float | None = None) -> bool:
        """All tasks have ended."""
        return True

    def explain(self, task: TaskFuture[Any]) -> str:
        """See :meth:`Engine.explain`."""
        if task.cancelled():
            return f"{task.id} was cancelled."
        problem = task.exception(0) if task.done() else None
        if problem is not None:
            return f"{task.id} failed: {type(problem).__name__}: {problem}"
        return f"{task.id} {'has ended well' if task.done() else 'runs in this process'}."

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more tasks."""
        self._closed = True
        self._is_closed()

    def _cancel(self, task: TaskFuture[Any]) -> bool:
        return False


def _wait(
    process: subprocess.Popen[bytes], spec: TaskSpec
) -> tuple[int, resource.struct_rusage, str]:
    """Wait for a command, and keep its limits: wait status, usage, and why it was ended."""
    done = threading.Event()
    why = ""

    def end(reason: str, number: int) -> None:
        nonlocal why
        why = why or reason
        with contextlib.suppress(OSError):
            os.killpg(process.pid, number)

    def watch() -> None:
        now = time.monotonic()
        limit = now + spec.time_limit if spec.time_limit is not None else None
        while not done.wait(0.1 if limit is None else max(0.0, min(0.1, limit - now))):
            now = time.monotonic()
            if spec.memory and memory_of(process.pid) > spec.memory * spec.ranks:
                end(OUT_OF_MEMORY, signal.SIGKILL)
            if limit is not None and now >= limit:
                end(OUT_OF_TIME, signal.SIGKILL if why else signal.SIGTERM)
                limit = now + spec.grace

    watcher = threading.Thread(target=watch, daemon=True)
    if spec.time_limit is not None or spec.memory:
        watcher.start()
    try:
        _, status, usage = os.wait4(process.pid, 0)
    except BaseException:
        end(STOPPED, signal.SIGKILL)
        process.wait()
        raise
    finally:
        done.set()
        with contextlib.suppress(OSError):  # what it has left behind in its group
            os.killpg(process.pid, signal.SIGKILL)
    process.returncode = os.waitstatus_to_exitcode(status)
    return status, usage, why


def _path(spec: TaskSpec, name: str) -> str:
    return os.path.join(spec.directory or "", getattr(spec, name) or os.devnull)


def _content(fd: int) -> bytes:
    return os.pread(fd, os.fstat(fd).st_size, 0)
