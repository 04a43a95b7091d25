"""Calls that wait for each other, on engines."""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import itertools
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING, RUNNING
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from exaworks.core.config import home
from exaworks.core.events import Event, emit, has_subscribers
from exaworks.core.reactor import Reactor
from exaworks.flow.arguments import futures_in, replaced
from exaworks.flow.errors import DependencyError, FlowClosedError, Step
from exaworks.flow.future import FlowCall, FlowFuture
from exaworks.flow.graph import complete, depend, doom, waiting_for
from exaworks.flow.kinds import FUNCTION, GATHER, Kind
from exaworks.flow.options import PLAIN, CallOptions
from exaworks.tasks.engines import get_engine
from exaworks.tasks.errors import InvalidTaskError
from exaworks.tasks.future import Failure, TaskFuture, Times, Value

if TYPE_CHECKING:
    from exaworks.flow.memo import Memo

__all__ = ["Flow", "current_flow"]

logger = logging.getLogger("exaworks.flow")

T = TypeVar("T")

_NO_KWARGS: Mapping[str, Any] = {}
_AT_ONCE = 200
"""Calls that are started at most in a thread that is somebody else's, before one of the flow's goes
on: an engine has results to read in the meantime."""
_JOIN_THREADS = 8
_SHOWN = 300

_current: contextvars.ContextVar[Flow | None] = contextvars.ContextVar("flow", default=None)
_default_lock = threading.Lock()
_default: Flow | None = None


class Flow:
    """A program of calls: each starts as soon as the futures among its arguments are done.

    ::

        with Flow() as flow:
            parts = [flow.call(simulate, seed) for seed in range(100)]
            print(flow.call(summarize, parts).result())

    All methods may be called from any thread. At the end of the ``with`` block it waits for all
    calls; if the block is left by an exception, such as that of ctrl-C, it cancels them.
    """

    _numbers: ClassVar[Iterator[int]] = itertools.count(1)

    def __init__(
        self,
        engine: Executor | str | None = None,
        *,
        engines: Mapping[str, Executor] | None = None,
        store: str | os.PathLike[str] | None = None,
        cache: bool = False,
    ) -> None:
        """Start.

        Args:
            engine: what runs the calls: an engine of :mod:`exaworks.tasks`, the name of one, or
                any Executor (which then runs functions only); ``None``: this machine. One that is
                made here ends with the flow.
            engines: several, by name; the first is used if a call does not say which.
            store: the file in which results of calls are kept that have ``cache``; several programs
                may use one. ``None``: ``results.db`` in ``EXAWORKS_HOME``.
            cache: whether calls have it that do not say so: then the program, killed at any moment
                and run again, does only what was not done.

        Raises:
            InvalidTaskError: both are given, or there is no engine of that name.
        """
        if engine is not None and engines is not None:
            raise InvalidTaskError("say either engine or engines")
        if engines is not None and not engines:
            raise InvalidTaskError("engines is empty: a flow needs one at least")
        self.id = f"flow-{os.getpid()}-{next(self._numbers)}"
        self._own: list[Executor] = []
        if engines is None:
            made = (
                get_engine(engine or "local") if engine is None or isinstance(engine, str) else None
            )
            if made is not None:
                self._own.append(made)
            engines = {"": made if made is not None else engine}  # type: ignore[dict-item]
        self._engines = dict(engines)
        self._first = next(iter(self._engines.values()))
        self._lock = threading.RLock()
        self._room = threading.Condition(self._lock)
        self._count = 0
        self._open: set[FlowFuture[Any]] = set()
        self._failed: dict[FlowFuture[Any], FlowCall] = {}
        self._completed = self._canceled = self._found = 0
        self._ready: deque[FlowFuture[Any]] = deque()
        self._starting = threading.Lock()
        self._starting_thread: int | None = None
        self._starter: threading.Thread | None = None
        self._threads: ThreadPoolExecutor | None = None
        self._store = store
        self._cache = cache
        self._memo: Memo | None = None
        self._closing = False
        self._entered = threading.local()

    # Calls

    def call(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> FlowFuture[T]:
        """Run ``fn(*args, **kwargs)`` in a worker, when the futures among the arguments are done.

        Args:
            fn: any callable that can be pickled; an async function is run in an event loop.
            args: positional arguments; futures in them stand for their results.
            kwargs: keyword arguments, likewise.

        Raises:
            FlowClosedError: the flow was closed.
        """
        return self.enter(FUNCTION, fn, args, kwargs, PLAIN)

    def map(self, fn: Callable[..., T], /, *iterables: Iterable[Any]) -> list[FlowFuture[T]]:
        """A call for each item, or for the items of several iterables side by side."""
        return [self.enter(FUNCTION, fn, args, {}, PLAIN) for args in zip(*iterables, strict=False)]

    def gather(self, value: Any, name: str = "gather") -> FlowFuture[Any]:
        """The future of a value with all futures in it replaced by their results.

        Args:
            value: the value.
            name: what to call it.
        """
        return self.enter(GATHER, _gather, (value,), {}, PLAIN.but({"name": name}))

    def enter(
        self,
        kind: Kind,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: CallOptions,
    ) -> FlowFuture[Any]:
        """Take a call. Of use to apps; see :meth:`call`."""
        needs = futures_in(args, kwargs)  # type: ignore[arg-type]
        call = FlowCall(kind, fn, args, kwargs or _NO_KWARGS, options, needs is not None)
        broken: Future[Any] | None = None
        foreign: list[Future[Any]] = []
        with self._lock:
            if self._closing:
                raise FlowClosedError("this flow was closed and takes no calls any more")
            self._count += 1
            future: FlowFuture[Any] = FlowFuture(self, self._count, call, time.time())
            self._open.add(future)
            if needs is not None:
                broken = self._connect(future, needs, foreign)
            ready = broken is None and not future.waits
        if has_subscribers():
            self._event(future, "WAITING", name=future.name)
        for each in foreign:
            each.add_done_callback(partial(self._foreign_done, future, call, call.runs))
        if broken is not None:
            self._end(future, self._no_run(future.step, broken))
        elif ready:
            self._start((future,), nested=True)
        return future

    def _connect(
        self,
        future: FlowFuture[Any],
        needs: Iterable[Future[Any]],
        foreign: list[Future[Any]],
        waiters: dict[Any, set[int]] | None = None,
    ) -> Future[Any] | None:
        """Let a call wait for others; returns one that has failed already.

        Args:
            future: the call.
            needs: the others.
            foreign: gets those that are not of this flow.
            waiters: of calls that others may wait for already, by identity.
        """
        mine = []
        for need in needs:
            if not isinstance(need, FlowFuture) or need._engine is not self:
                foreign.append(need)
            elif not need.done():
                mine.append(need)
            elif need.cancelled() or need._outcome.failed:
                foreign.clear()
                return need
        if waiters is not None:
            for need in mine:
                if need not in waiters:
                    waiters[need] = set(map(id, waiting_for(need)))
            known = [need for need in mine if id(future) in waiters[need]]
            future.waits += len(known)
            mine = [need for need in mine if id(future) not in waiters[need]]
        depend(future, mine)
        future.waits += len(foreign)
        return None

    def _foreign_done(
        self, future: FlowFuture[Any], call: FlowCall, runs: int, need: Future[Any]
    ) -> None:
        """A future that is not of this flow is done."""
        failed = need.cancelled() or need.exception() is not None
        with self._lock:
            if future._task is not call or call.runs != runs:
                return
            future.waits -= 1
            ready = not future.waits
        if failed:
            self._end(future, self._no_run(future.step, need))
        elif ready:
            self._start((future,))

    def engine_for(self, options: CallOptions) -> Executor:
        """The engine that is to run a call.

        Raises:
            InvalidTaskError: there is none of that name.
        """
        if options.engine is None:
            return self._first
        found = self._engines.get(options.engine)
        if found is None:
            known = ", ".join(name or "(one without a name)" for name in self._engines)
            raise InvalidTaskError(f"this flow has no engine {options.engine!r}; it has: {known}")
        return found

    # Starting

    def _start(self, futures: Iterable[FlowFuture[Any]], nested: bool = False) -> None:
        """Start calls that wait for nothing any more; in whatever thread, one at a time.

        Args:
            futures: the calls.
            nested: a function that is being started here may wait for them.
        """
        self._ready.extend(futures)
        if nested and self._starting_thread == threading.get_ident():
            while self._ready:
                self._launch(self._ready.popleft())
            return
        left = _AT_ONCE
        while self._ready and self._starting.acquire(blocking=False):
            self._starting_thread = threading.get_ident()
            try:
                while self._ready and left:
                    left -= 1
                    self._launch(self._ready.popleft())
            finally:
                self._starting_thread = None
                self._starting.release()
                if self._ready and not left:
                    self._start_in_a_thread()
            if not left:
                return

    def _start_in_a_thread(self, *futures: FlowFuture[Any]) -> None:
        """Start calls, but not in this thread."""
        self._ready.extend(futures)
        with self._lock:
            if self._starter is None:
                self._starter = threading.Thread(
                    target=self._start_all, name=f"exaworks-{self.id}", daemon=True
                )
                self._starter.start()

    def _start_all(self) -> None:
        while True:
            with self._starting:
                self._starting_thread = threading.get_ident()
                while self._ready:
                    try:
                        self._launch(self._ready.popleft())
                    except BaseException:  # its call has failed; this thread is for all
                        logger.exception("a call has ended the thread that has started it")
                self._starting_thread = None
            with self._lock:
                if not self._ready:
                    self._starter = None
                    return

    def _launch(self, future: FlowFuture[Any]) -> None:
        call: FlowCall | None = future._task
        if call is None:  # it was cancelled
            return
        try:
            args, kwargs = call.args, call.kwargs
            if call.linked:
                args = tuple([replaced(each, _result) for each in args])
                kwargs = {name: replaced(each, _result) for name, each in kwargs.items()}
            words = dict(kwargs) if kwargs else {}
            if self._is_kept(call) and not self._to_run(future, call, args, words):
                return
            call.kind.start(self, future, call, args, words)
        except (Exception, SystemExit) as problem:
            self._end(future, Failure(problem))
        except BaseException as problem:  # such as ctrl-C, which is not for this call alone
            self._end(future, Failure(problem))
            if self._ready:
                self._start_in_a_thread()
            raise

    def _is_kept(self, call: FlowCall) -> bool:
        cache = call.options.cache
        return call.kind.kept and (self._cache if cache is None else cache)

    def _to_run(
        self, future: FlowFuture[Any], call: FlowCall, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> bool:
        """Look whether the result of a call is there already; false: it is, or is being made."""
        found = self.memo.find(future, call, args, kwargs, partial(self._start, (future,)))
        if found is True:
            return True
        if found is not False:
            self._end(future, Value(found.value), found=True)
        return False

    @property
    def memo(self) -> Memo:
        """The results that are kept."""
        with self._lock:
            if self._memo is None:
                from exaworks.flow.memo import Memo
                from exaworks.flow.store import ResultStore

                self._memo = Memo(ResultStore(self._store or home() / "results.db"))
            return self._memo

    def handed(self, future: FlowFuture[Any], call: FlowCall, inner: Any) -> None:
        """A call was handed to what runs it, which tells when it has ended."""
        with self._lock:
            gone = future._task is not call
            if not gone:
                call.inner = inner
                future._state = RUNNING
        if gone:  # it was cancelled in the meantime
            inner.cancel()
            return
        if has_subscribers():
            self._event(future, "LAUNCHED", task=getattr(inner, "id", None))
        inner.add_done_callback(future._inner_done)

    def thread(self, run: Callable[[], Any]) -> Future[Any]:
        """Run something in a thread of the flow."""
        with self._lock:
            if self._threads is None:
                self._threads = ThreadPoolExecutor(_JOIN_THREADS, f"exaworks-{self.id}")
            return self._threads.submit(run)

    # Ending

    def _inner_done(self, future: FlowFuture[Any], inner: Any) -> None:
        """What ran a call has ended."""
        call: FlowCall | None = future._task
        if call is None:
            return
        if inner.cancelled():  # by its engine, or by somebody who knows it
            self._cancel(future)
            return
        times = None
        if isinstance(inner, TaskFuture):
            outcome = inner._outcome
            times = Times(future.times.submitted, *inner.times[1:])
        else:
            problem = inner.exception()
            outcome = Value(inner.result()) if problem is None else Failure(problem)
        if outcome.failed and self._again(future, call, outcome):
            return
        if call.key is not None and not outcome.failed:
            self._keep(future, call.key, outcome, times)
        else:
            self.ended(future, outcome, times)

    def _keep(self, future: FlowFuture[Any], key: bytes, outcome: Any, times: Any) -> None:
        """A call has ended well whose result is kept: its future is done when that is written."""
        seconds = None
        if isinstance(times, Times) and times.started is not None and times.ended is not None:
            seconds = times.ended - times.started
        try:
            value = outcome.value()
        except Exception as problem:
            self._end(future, Failure(problem))
            return
        self.memo.keep(
            future, key, value, seconds,
            partial(self._end, future, Value(value), times, elsewhere=True),
        )  # fmt: skip

    def _again(self, future: FlowFuture[Any], call: FlowCall, outcome: Any) -> bool:
        """Run a call that has failed once more, if that is wanted."""
        call.failures += 1
        problem = outcome.exception()
        try:
            pause = call.options.retry.pause(problem, call.failures)
        except Exception:
            logger.exception("the retry policy of %s failed", future.step)
            return False
        if pause is None:
            return False
        with self._lock:
            if future._task is not call:
                return True
            future._state = PENDING
            call.inner = None
            if pause:
                call.inner = Reactor.get().call_later(
                    pause, partial(self._start_in_a_thread, future)
                )
        if has_subscribers():
            self._event(future, "RETRYING", failures=call.failures, after=pause)
        if not pause:
            self._start((future,))
        return True

    def ended(self, future: FlowFuture[Any], outcome: Any, times: Any = None) -> None:
        """A call has ended."""
        self._end(future, outcome, times)

    def _end(
        self,
        future: FlowFuture[Any],
        outcome: Any,
        times: Any = None,
        found: bool = False,
        elsewhere: bool = False,
    ) -> None:
        """A call has ended, and with it all that wait for it if it has failed.

        Args:
            future: the call.
            outcome: what it has come to.
            times: when that was.
            found: its result was kept.
            elsewhere: this is no thread to start other calls in.
        """
        problem = outcome.exception() if outcome.failed else None
        ended: list[tuple[FlowFuture[Any], FlowCall, Any]] = []
        ready: list[FlowFuture[Any]] = []
        with self._lock:
            call: FlowCall | None = future._task
            callbacks = future._settle(FINISHED, outcome, times)
            if call is None or callbacks is None:
                return
            ended.append((future, call, callbacks))
            if problem is None:
                self._completed += 1
                self._found += found
                ready = complete(future)
            else:
                self._failed[future] = call
                self._fail_rest(future, problem, ended)
            for each, _, _ in ended:
                self._open.discard(each)
            if not self._open:
                self._room.notify_all()
        self._tell(ended, "FAILED" if problem is not None else "COMPLETED", cached=found)
        if ready and elsewhere:
            self._start_in_a_thread(*ready)
        elif ready:
            self._start(ready)

    def _fail_rest(
        self,
        future: FlowFuture[Any],
        problem: BaseException,
        ended: list[tuple[FlowFuture[Any], FlowCall, Any]],
    ) -> None:
        """All that wait for a call that has failed do so, too, with the way that led there."""
        between: dict[Any, Any] = {}
        for each, before in doom(future):
            error = _not_run(each.step, future, problem, between.get(before, ()))
            between[each] = (each.step, between.get(before, ()))
            call: FlowCall = each._task
            callbacks = each._settle(FINISHED, error)
            if callbacks is not None:
                self._failed[each] = call
                ended.append((each, call, callbacks))

    def _tell(
        self, ended: list[tuple[FlowFuture[Any], FlowCall, Any]], state: str, cached: bool = False
    ) -> None:
        """Calls have ended, who wants to know it is told; no lock is held."""
        for each, call, callbacks in ended:
            if call.key is not None:
                self.memo.over(each, call.key)
            if has_subscribers():
                self._event(each, state, **({"cached": True} if cached else {}))
            each._announce(callbacks)

    @staticmethod
    def _no_run(step: Step, need: Future[Any]) -> Failure:
        """The failure of a call that needs what has failed."""
        return _not_run(step, need, _problem(need), ())

    def _cancel(self, future: FlowFuture[Any]) -> bool:
        """See :meth:`FlowFuture.cancel`: what waits for it is cancelled, too."""
        ended: list[tuple[FlowFuture[Any], FlowCall, Any]] = []
        with self._lock:
            call: FlowCall | None = future._task
            callbacks = future._settle(CANCELLED_AND_NOTIFIED, None)
            if call is None or callbacks is None:
                return future.cancelled()
            ended.append((future, call, callbacks))
            for each, _ in doom(future):
                its_call: FlowCall = each._task
                callbacks = each._settle(CANCELLED_AND_NOTIFIED, None)
                if callbacks is not None:
                    ended.append((each, its_call, callbacks))
            self._canceled += len(ended)
            for each, _, _ in ended:
                self._open.discard(each)
            if not self._open:
                self._room.notify_all()
        for _, each_call, _ in ended:
            if each_call.inner is not None:
                each_call.inner.cancel()
        self._tell(ended, "CANCELED")
        return True

    def cancel(self) -> None:
        """Cancel all calls that have not ended."""
        with self._lock:
            futures = sorted(self._open, key=lambda future: -future._number)
        for future in futures:  # the last first: they wait, and are not to start when others end
            future.cancel()

    def retry_failed(self) -> int:
        """Run the calls again that have failed, and those that were not run because of them.

        Their futures are pending again: who holds one can wait for it once more.

        Returns:
            how many there are.
        """
        with self._lock:
            if self._closing:
                raise FlowClosedError("this flow was closed and takes no calls any more")
            failed, self._failed = self._failed, {}
            for future, call in failed.items():
                call.failures, call.inner, call.key = 0, None, None
                call.runs += 1
                future._state, future._outcome, future._task = PENDING, None, call
                future.after, future.waits = None, 0
                self._open.add(future)
            foreign: list[tuple[FlowFuture[Any], Future[Any]]] = []
            broken: dict[FlowFuture[Any], Future[Any]] = {}
            waiters: dict[Any, set[int]] = {}
            for future, call in failed.items():
                needs = futures_in(call.args, call.kwargs)  # type: ignore[arg-type]
                if needs is not None:
                    others: list[Future[Any]] = []
                    need = self._connect(future, needs, others, waiters)
                    if need is not None:  # it was cancelled
                        broken[future] = need
                    foreign += [(future, each) for each in others]
            ready = [each for each in failed if not each.waits and each not in broken]
        for future, need in broken.items():
            self._end(future, self._no_run(future.step, need))
        for future, each in foreign:
            call = failed[future]
            each.add_done_callback(partial(self._foreign_done, future, call, call.runs))
        self._start(ready)
        return len(failed)

    # What goes on

    @property
    def counts(self) -> dict[str, int]:
        """How many calls there are: ``pending``, ``completed``, ``failed``, ``canceled``.

        And how many of those that are completed were ``cached``, so that they were not run.
        """
        with self._lock:
            return {
                "pending": len(self._open),
                "completed": self._completed,
                "cached": self._found,
                "failed": len(self._failed),
                "canceled": self._canceled,
            }

    def failures(self) -> list[FlowFuture[Any]]:
        """The calls that have failed themselves; others were not run because of them."""
        with self._lock:
            failed = list(self._failed)
        return [each for each in failed if not isinstance(each.exception(0), DependencyError)]

    def explain(self, future: FlowFuture[Any]) -> str:
        """Why a call waits, where it runs, or why it failed."""
        call: FlowCall | None = future._task
        if call is None or future.done():
            if future.cancelled():
                return f"{future.step} was cancelled."
            problem = future.exception(0)
            if problem is None:
                return f"{future.step} has ended well."
            if isinstance(problem, DependencyError):
                return problem.explain()
            return f"{future.step} failed: {_in_a_line(problem)}"
        inner = call.inner
        if inner is None or future._state is PENDING:
            needs = futures_in(call.args, call.kwargs) or {}  # type: ignore[arg-type]
            waits = [need for need in needs if not need.done()]
            if waits:
                more = f" and {len(waits) - 1} others" if len(waits) > 1 else ""
                return f"{future.step} waits for {_title(waits[0])}{more}."
            if call.failures:
                return f"{future.step} has failed {call.failures} times and is run again soon."
            return f"{future.step} is about to start."
        if isinstance(inner, TaskFuture):
            return f"{future.step} was handed to its engine: {inner._engine.explain(inner)}"
        return f"{future.step} runs."

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all calls have ended.

        Args:
            timeout: seconds to wait for that; ``None``: as long as it takes.

        Returns:
            whether they have.
        """
        with self._room:
            return self._room.wait_for(lambda: not self._open, timeout)

    def _event(self, future: FlowFuture[Any], state: str, **detail: Any) -> None:
        emit(Event(time.time(), "flow", future.id, state, detail))

    # Beginning and end

    @contextlib.contextmanager
    def as_current(self) -> Iterator[Flow]:
        """Apps that are called in the block, in this thread, belong to this flow."""
        token = _current.set(self)
        try:
            yield self
        finally:
            _current.reset(token)

    def close(self, cancel: bool = False) -> None:
        """Take no more calls, wait for those there are, and end the engines that were made here.

        Args:
            cancel: cancel calls instead of waiting for them.
        """
        if cancel:
            with self._lock:
                self._closing = True
            self.cancel()
        with self._room:  # join apps make calls to the end
            self._room.wait_for(lambda: not self._open)
            self._closing = True
            threads, self._threads = self._threads, None
        if threads is not None:
            threads.shutdown(wait=not cancel)
        if self._memo is not None:
            self._memo.store.close()
        for engine in self._own:
            engine.shutdown(wait=True, cancel_futures=cancel)

    def __enter__(self) -> Flow:
        self._entered.tokens = [*getattr(self._entered, "tokens", ()), _current.set(self)]
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        _current.reset(self._entered.tokens.pop())
        if kind is not None:
            left = self.counts["pending"]
            if left:
                logger.warning("%s: %d calls that had not ended were cancelled", self.id, left)
        self.close(cancel=kind is not None)


def current_flow() -> Flow:
    """The flow of the innermost ``with`` block; else one for the whole program, on this machine."""
    flow = _current.get()
    if flow is not None:
        return flow
    global _default
    with _default_lock:
        if _default is None or _default._closing:
            _default = Flow()
            getattr(threading, "_register_atexit", atexit.register)(_default.close)
        return _default


def _gather(value: Any) -> Any:
    return value


def _result(future: Future[Any]) -> Any:
    """What a future has come to, which is done."""
    return future._outcome.value() if isinstance(future, FlowFuture) else future.result(0)


def _not_run(step: Step, need: Future[Any], problem: BaseException, between: Any) -> Failure:
    """The failure of a call that needs, directly or by others, what has failed."""
    if isinstance(problem, DependencyError):
        failed, reason, cause = problem.failed, problem.reason, problem.__cause__
        between = _joined(between, (problem.task, problem._between))
    else:
        failed = need.step if isinstance(need, FlowFuture) else Step(repr(need), "a future")
        reason, cause = _in_a_line(problem), problem
    error = DependencyError(step, failed, reason, between)
    error.__cause__ = cause
    return Failure(error)


def _joined(later: Any, earlier: Any) -> Any:
    """Steps, as pairs of the last and those before it, behind others."""
    steps = []
    while later:
        step, later = later
        steps.append(step)
    for step in reversed(steps):
        earlier = (step, earlier)
    return earlier


def _problem(future: Future[Any]) -> BaseException:
    """Why a future has come to nothing, which is done."""
    problem = None if future.cancelled() else future.exception(0)
    return problem or CancelledError("it was cancelled")


def _title(future: Future[Any]) -> str:
    return str(future.step) if isinstance(future, FlowFuture) else repr(future)


def _in_a_line(problem: BaseException) -> str:
    text = " ".join(str(problem).split())
    name = type(problem).__name__
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return f"{name}: {shown}" if shown else name
