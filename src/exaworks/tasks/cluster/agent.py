"""The process that runs tasks on a node: the local engine, for a program that is elsewhere.

From the engine come ``welcome``, ``function``, ``options``, ``environment``, ``call``, ``run``,
``hold``, ``spread``, ``release``, ``cancel``, ``recall``, ``ping`` and ``end``; to it go ``hello``,
``returned``, ``ended``, ``lost``, ``cancelled``, ``recalled``, ``held``, ``pong`` and ``leaving``.

An agent decides nothing that its engine has to know: it runs what it is sent as soon as there is
room for it, and tells how it ended. When the connection breaks, it kills everything and ends.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from dataclasses import replace
from typing import Any

from exaworks.core.workers.wire import Packed, segment_of
from exaworks.tasks.calls import Call, Function
from exaworks.tasks.cluster.boot import read_settings
from exaworks.tasks.cluster.channel import Channel, ChannelError, connect
from exaworks.tasks.commands import CommandTask
from exaworks.tasks.future import Failure, TaskFuture
from exaworks.tasks.local.base import Runner
from exaworks.tasks.local.engine import LocalEngine
from exaworks.tasks.local.outcome import Received
from exaworks.tasks.options import Options
from exaworks.tasks.resources import Resources
from exaworks.tasks.scheduler import Placement
from exaworks.tasks.spec import TaskSpec

__all__ = ["main"]

TO_END_RANKS = 30.0
"""Seconds beyond the grace time of a task that what has started its ranks has to end them; if it is
killed before, they may stay."""

PATIENCE = 300.0
"""Seconds of silence of the engine after which it counts as gone."""


class _Hold:
    """Something that is set aside for ranks that are started from another node."""

    runs = 0
    title = "ranks"

    def __init__(self, request: Resources) -> None:
        self.options = Options(request)


class _Holder(Runner):
    """Sets it aside."""

    def __init__(self, held: Callable[[TaskFuture[Any]], None]) -> None:
        self._held = held
        self._placements: dict[TaskFuture[Any], Placement] = {}

    def start(self, task: TaskFuture[Any], placement: Placement) -> None:
        """See :meth:`Runner.start`."""
        task._state = RUNNING
        self._placements[task] = placement
        self._held(task)

    def take(self, task: TaskFuture[Any]) -> Placement | None:
        """No longer."""
        return self._placements.pop(task, None)

    def stop(self, task: TaskFuture[Any]) -> None:
        """See :meth:`Runner.stop`."""

    def where(self, task: TaskFuture[Any]) -> str | None:
        """See :meth:`Runner.where`."""
        return None

    def balance(self) -> None:
        """See :meth:`Runner.balance`."""

    def heard(self, number: int, kind: str, rest: tuple[Any, ...]) -> bool:
        """See :meth:`Runner.heard`."""
        return False

    def abandoned(self) -> None:
        """See :meth:`Runner.abandoned`."""

    def close(self) -> None:
        """See :meth:`Runner.close`."""


class AgentEngine(LocalEngine):
    """Runs tasks that come through a channel, and answers through it."""

    def __init__(self, channel: Channel, welcome: dict[str, Any], settings: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            os.chdir(welcome["directory"])
        self._channel = channel
        _import_from(welcome["path"], *welcome["python"])
        super().__init__(
            settings["cores"] if isinstance(settings["cores"], int) else None,
            gpus=settings["gpus"],
            memory=settings.get("memory"),
            bind=welcome["bind"],
            capture=welcome["capture"],
            output_folder=welcome["folder"],
        )
        self.id = welcome["id"]
        self._directory: str = welcome["directory"]
        self._holder = _Holder(lambda task: self._say("held", self._token_of[task]))
        self._tasks: dict[int, TaskFuture[Any]] = {}  # by token
        self._token_of: dict[TaskFuture[Any], int] = {}
        self._held: dict[int, TaskFuture[Any]] = {}
        self._known: dict[int, Function] = {}
        self._options: dict[int, Options] = {}
        self._keys: dict[int, int] = {}
        self._answers: list[Any] = []
        self._leaving: str | None = None
        self._last_heard = time.monotonic()
        self.gone = threading.Event()

    def serve(self, hello: dict[str, Any]) -> None:
        """Say hello, and do what comes."""

        def begin() -> None:
            self._say("hello", hello)
            self.reactor.add_reader(self._channel.connection.fileno(), self._speaks)
            self.reactor.call_later(PATIENCE, self._look)

        self.reactor.call_soon(begin)

    def _look(self) -> None:
        if time.monotonic() - self._last_heard > PATIENCE:
            self._give_up()
        else:
            self.reactor.call_later(PATIENCE / 4, self._look)

    # To the engine

    def _say(self, *message: Any) -> None:
        """Answer, together with what else there is to say now; in the reactor's thread."""
        self._answers.append(message)
        if len(self._answers) == 1:
            self.reactor.call_soon(self._flush_answers)

    def _flush_answers(self) -> None:
        answers, self._answers = self._answers, []
        if answers and not self.gone.is_set():
            self._channel.put(answers)
            if self._channel.unsent:
                self.reactor.add_writer(self._channel.connection.fileno(), self._flush_channel)
            self._part()

    def _flush_channel(self) -> None:
        self._channel.flush()
        if not self._channel.unsent:
            self.reactor.remove_writer(self._channel.connection.fileno())
            self._part()

    def _part(self) -> None:
        """Say good-bye if there is nothing left to say; the engine then closes the connection."""
        if self._leaving is not None and not self._tasks and not self._channel.unsent:
            with contextlib.suppress(OSError):
                self._channel.connection.shutdown(socket.SHUT_WR)

    def _done(self, task: TaskFuture[Any]) -> int:
        """The token of a task that has ended; it is forgotten."""
        token = self._token_of.pop(task)
        del self._tasks[token]
        return token

    # From the engine

    def _speaks(self) -> None:
        try:
            messages = self._channel.get()
        except ChannelError:
            messages = None
        if messages is None:
            self._give_up()
            return
        self._last_heard = time.monotonic()
        with self._lock:
            for kind, *rest in messages:
                if kind == "end":
                    self._finish()
                    return
                getattr(self, f"_on_{kind}")(*rest)
            self.dispatch()

    def _on_function(self, key: int, name: str, data: bytes, segment: bytes | None) -> None:
        self._known[key] = Function(key, name, _packed(data, segment), [])

    def _on_options(self, key: int, options: Options) -> None:
        request = replace(options.resources, nodes=None, colocate=None)
        self._options[key] = replace(options, resources=request)

    def _on_environment(self, key: int, variables: dict[str, str]) -> None:
        self._keys[key] = self.environments.add(_with_own(variables) if variables else variables)

    def _on_call(
        self, token: int, number: int, function: int, options: int, data: bytes, segment: Any
    ) -> None:
        call = Call(self._known[function], _packed(data, segment), self._options[options])
        self._admit(token, TaskFuture(self, number, call, time.time()))

    def _on_run(
        self, token: int, number: int, spec: TaskSpec, words: list[str], environment: int
    ) -> None:
        task = self._command(spec, words, environment)
        request = replace(spec.resources, nodes=None, colocate=None)
        task.options = replace(spec.options, resources=request)
        self._admit(token, TaskFuture(self, number, task, time.time()))

    def _command(self, spec: TaskSpec, words: list[str], environment: int) -> CommandTask:
        if spec.directory is None:
            spec = replace(spec, directory=self._directory)
        return CommandTask(spec, words, self._keys[environment])

    def _admit(self, token: int, task: TaskFuture[Any]) -> None:
        self._tasks[token] = task
        self._token_of[task] = token
        self._unfinished += 1
        options: Options = task._task.options
        kind = self.kind_of(task._task)
        self.scheduler.add(task, options.resources, options.priority, kind)

    def _on_hold(self, token: int, request: Resources) -> None:
        task: TaskFuture[Any] = TaskFuture(self, -token, _Hold(request), time.time())
        self._held[token] = task
        self._token_of[task] = token
        self._unfinished += 1
        self.scheduler.add(task, request)

    def _on_spread(
        self, token: int, number: int, spec: TaskSpec, words: list[str], environment: int
    ) -> None:
        """Run what starts ranks on several nodes. What it needs is held."""
        spec = replace(spec, grace=spec.grace + TO_END_RANKS)
        task: TaskFuture[Any] = TaskFuture(
            self, number, self._command(spec, words, environment), time.time()
        )
        self._tasks[token] = task
        self._token_of[task] = token
        self._unfinished += 1
        # Nobody else asks for this, so that nothing is started behind it.
        self._commands.start(task, Placement(Resources(colocate=f"held {token}"), ()))

    def _on_release(self, token: int) -> None:
        task = self._held.pop(token, None)
        if task is None:
            return
        del self._token_of[task]
        self._unfinished -= 1
        placement = self._holder.take(task)
        if placement is not None:
            self.scheduler.release(placement)
        else:
            self.scheduler.remove(task)

    def _on_cancel(self, token: int) -> None:
        task = self._tasks.get(token)
        if task is not None:
            self._cancel(task)

    def _on_recall(self, tokens: list[int]) -> None:
        back = []
        for token in tokens:
            task = self._tasks.get(token)
            if task is not None and task._state is PENDING:
                self.scheduler.remove(task)
                back.append(self._done(task))
                task._finish(CANCELLED_AND_NOTIFIED, None)
                self._unfinished -= 1
        if back:
            self._say("recalled", back)

    def _on_ping(self) -> None:
        self._say("pong")

    # See QueuedEngine and LocalEngine

    def _runner(self, task: TaskFuture[Any]) -> Runner:
        return self._holder if type(task._task) is _Hold else super()._runner(task)

    def end(self, task: TaskFuture[Any], outcome: Any, begun: float | None, ended: float) -> None:
        """See :meth:`QueuedEngine.end`; whether it is run again, the engine decides."""
        with self._lock:
            if not task._finish(FINISHED, outcome):
                return
            token = self._done(task)
            self._unfinished -= 1
            if outcome.failed and self._leaving is not None:
                self._say("lost", token, os.getpid(), self._leaving, None)
            elif isinstance(outcome, Received):
                data, segment = outcome.take()
                self._say("returned", token, outcome.failed, data, segment, begun, ended)
            else:
                self._say("ended", token, outcome, begun, ended)

    def fail(self, task: TaskFuture[Any], error: BaseException) -> None:
        """See :meth:`QueuedEngine.fail`."""
        self.end(task, Failure(error), task.times.started, time.time())

    def lose(self, task: TaskFuture[Any], pid: int | None, how: str, code: int | None) -> None:
        """See :meth:`QueuedEngine.lose`."""
        with self._lock:
            if task._finish(CANCELLED_AND_NOTIFIED, None):
                self._unfinished -= 1
                self._say("lost", self._done(task), pid, how, code)

    def cancelled(self, task: TaskFuture[Any]) -> bool:
        """See :meth:`QueuedEngine.cancelled`."""
        with self._lock:
            if task._finish(CANCELLED_AND_NOTIFIED, None):
                self._unfinished -= 1
                self._say("cancelled", self._done(task))
        return True

    # The end

    def leave(self, why: str) -> None:
        """This node goes: give back what has not begun, and ask the rest to end."""
        with self._lock:
            if self._leaving is not None:
                return
            self._leaving = why
            self._say("leaving", why)
            self._on_recall(list(self._tasks))
            for task in list(self._tasks.values()):
                self.stop_task(task)

    def _finish(self) -> None:
        """All tasks are done; what was cancelled may take its grace time to end."""
        self._part_from_engine()
        self._closing = True
        self.end_if_done()

    def _give_up(self) -> None:
        """Kill everything, and end."""
        self._part_from_engine()
        self._close()

    def _part_from_engine(self) -> None:
        if not self.gone.is_set():
            self.gone.set()
            self.reactor.remove_reader(self._channel.connection.fileno())
            self.reactor.remove_writer(self._channel.connection.fileno())
            self._channel.close()

    def _open_status(self) -> None:
        """Nobody looks at an agent: its engine tells what it does."""


def _import_from(path: list[str], prefix: str, version: str) -> None:
    """Import what the program can import: by the same path with the same interpreter.

    With another one, folders of the program's environment would be wrong; the others are added.
    """
    if (prefix, version) == (sys.prefix, sys.version):
        sys.path[:] = path
    else:
        known = (*sys.path, prefix)
        sys.path += [folder for folder in path if not folder.startswith(known)]


def _packed(data: bytes, segment: bytes | None) -> bytes | Packed:
    return data if segment is None else Packed(data, segment_of(segment))


# What a batch system tells is true on a node, or in a step or rank, and nowhere else. Of what it
# tells here, tasks get what concerns the node and the job, and not that this is a step or a rank.
_NOT_THEIRS = (
    "SLURM", "PBS_", "PMI_", "PMIX_", "FLUX_", "LSB_", "LSF_", "OAR_", "COBALT_", "PE_HOSTFILE",
    "OMPI_COMM_WORLD", "OMPI_UNIVERSE", "PRTE_", "HYDI_", "MPI_LOCAL", "CUDA_VISIBLE_DEVICES",
    "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "GPU_DEVICE_ORDINAL", "HOSTNAME", "TMPDIR",
)  # fmt: skip
_OURS = (
    "SLURM_CONF", "SLURM_JOB", "SLURM_CLUSTER", "SLURM_NODELIST", "SLURM_NNODES", "SLURM_NODEID",
    "SLURMD_NODENAME", "SLURM_SUBMIT", "SLURM_CPUS_ON_NODE", "PBS_", "FLUX_URI", "FLUX_EXEC_PATH",
    "FLUX_CONNECTOR_PATH", "FLUX_MODULE_PATH", "LSB_", "LSF_", "OAR_", "COBALT_", "PE_HOSTFILE",
    "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK", "GPU_DEVICE_ORDINAL",
    "HOSTNAME", "TMPDIR",
)  # fmt: skip


def _with_own(variables: dict[str, str]) -> dict[str, str]:
    """The variables of the program, and those of this node that the batch system has set."""
    mine = {name: value for name, value in os.environ.items() if name.startswith(_OURS)}
    theirs = {name: value for name, value in variables.items() if not name.startswith(_NOT_THEIRS)}
    return {**theirs, **mine}


def _welcome(channel: Channel) -> dict[str, Any]:
    """What the engine says first.

    Raises:
        SystemExit: it says nothing.
    """
    messages: list[Any] | None = []
    while messages == []:
        select.select([channel.connection], [], [], 10)
        messages = channel.get()
    if messages is None:
        raise SystemExit("the engine has closed the connection")
    welcome: dict[str, Any] = messages[0][1]
    return welcome


def main() -> None:
    """Be an agent."""
    started = time.time()
    settings = read_settings()
    counted = settings["cores"] or settings.get("cores_from")
    if isinstance(counted, str):  # the variable that tells how many
        settings["cores"] = int(os.environ[counted].partition("(")[0])
    try:
        channel = connect(settings)
    except OSError as problem:
        raise SystemExit(f"the engine cannot be reached: {problem}") from problem
    engine = AgentEngine(channel, _welcome(channel), settings)
    leave = engine.reactor.call_soon
    signal.signal(signal.SIGTERM, lambda *_: leave(lambda: engine.leave("its node got SIGTERM")))
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if settings.get("parent"):
        threading.Thread(target=_watch_parent, args=(engine,), daemon=True).start()
    node = engine.node
    told = os.environ.get(settings.get("name_from", "SLURMD_NODENAME"))
    name = settings.get("name") or told or node.name
    engine.serve(
        {
            "source": settings["source"],
            "name": name,
            "pid": os.getpid(),
            "cores": node.cores,
            "gpus": node.gpus,
            "memory": node.memory,
            "started": started,
        }
    )
    while not engine.closed.wait(3600):  # a signal is handled between two waits, too
        pass
    sys.exit(0)


def _watch_parent(engine: AgentEngine) -> None:
    """End with the process that has started this one."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    engine.reactor.call_soon(engine._give_up)
