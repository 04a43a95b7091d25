"""Calls whose results are kept: found again, or run once and remembered."""

from __future__ import annotations

import functools
import threading
import types
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from exaworks.flow.digest import Digests
from exaworks.flow.store import Found, ResultStore

if TYPE_CHECKING:
    from exaworks.flow.future import FlowCall, FlowFuture

__all__ = ["Memo"]


class Memo:
    """What a flow knows of the results that are kept."""

    def __init__(self, store: ResultStore) -> None:
        self.store = store
        self._digests = Digests()
        self._lock = threading.Lock()
        self._first: dict[bytes, FlowFuture[Any]] = {}
        self._versions: weakref.WeakKeyDictionary[Any, tuple[bytes, Any]] = (
            weakref.WeakKeyDictionary()
        )

    def find(
        self,
        future: FlowFuture[Any],
        call: FlowCall,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        again: Callable[[], None],
    ) -> Found | bool:
        """What is known about a call that is about to start.

        Args:
            future: the call.
            call: its function.
            args: its arguments, without futures.
            kwargs: likewise.
            again: called when the same call, which runs already, has ended.

        Returns:
            its result; ``True``: it is to be run; ``False``: ``again`` will be called.

        Raises:
            InvalidTaskError: it cannot be told from other calls.
            OSError: a file that is named cannot be read.
        """
        key = call.key
        if key is None:
            key = call.key = self._digests.of_call(
                call.kind.name, call.fn, args, kwargs, call.kind.matters(call.options)
            )
            call.fn = self._current(call.fn)
        found = self.store.get(key)
        if found is not None:
            return found
        with self._lock:
            first = self._first.setdefault(key, future)
        if first is future or first.done():
            with self._lock:
                self._first[key] = future
            return True
        first.add_done_callback(lambda _: again())
        return False

    def _current(self, fn: Any) -> Any:
        """A function as it is now: engines send one once, and know it by its identity."""
        if type(fn) is not types.FunctionType:
            return functools.partial(fn)
        digest = self._digests.of_function(fn)
        known = self._versions.get(fn)
        if known is None:
            known = self._versions[fn] = digest, None
        elif known[0] != digest:
            copy = types.FunctionType(
                fn.__code__, fn.__globals__, fn.__name__, fn.__defaults__, fn.__closure__
            )
            known = self._versions[fn] = digest, functools.update_wrapper(copy, fn)
            copy.__kwdefaults__ = fn.__kwdefaults__
        return known[1] or fn

    def keep(
        self, future: FlowFuture[Any], key: bytes, value: Any, seconds: float | None,
        then: Callable[[], None],
    ) -> None:  # fmt: skip
        """A call has ended well: keep its result, and then go on."""
        self.store.put(key, value, future.name, seconds, then)

    def over(self, future: FlowFuture[Any], key: bytes) -> None:
        """A call has ended, in whatever way."""
        with self._lock:
            if self._first.get(key) is future:
                del self._first[key]
