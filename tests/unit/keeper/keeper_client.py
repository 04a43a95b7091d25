"""A small blocking client of the keeper."""

from __future__ import annotations

import contextlib
import os
import select
import time
import uuid
from collections import deque
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from exaworks.core.keeper.protocol import FINAL, Decoder, KeeperError, encode, env_id, wire
from exaworks.core.keeper.start import connect


class Client:
    """One connection to the keeper of this user and host.

    A context manager. All methods raise :class:`KeeperError` when the keeper refuses, does not
    answer within ``timeout`` seconds, or goes away.
    """

    def __init__(self, home: Path | None = None, timeout: float = 10.0) -> None:
        self._socket = connect(home, timeout)
        self._timeout = timeout
        self._decoder = Decoder()
        self._n = 0
        self._events: deque[list[Any]] = deque()
        self._replies: dict[int, dict[str, Any]] = {}
        self._env: dict[str, Any] | None = None

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; jobs go on."""
        self._socket.close()

    def request(self, op: str, **fields: Any) -> dict[str, Any]:
        """Send a request and return its reply."""
        self._n += 1
        try:
            self._socket.sendall(encode({"op": op, "n": self._n, **fields}))
        except ConnectionError as error:
            raise KeeperError(f"the keeper is gone: {error}") from error
        deadline = time.monotonic() + self._timeout
        while self._n not in self._replies:
            if not self._receive(deadline):
                raise KeeperError(f"the keeper did not answer {op} within {self._timeout:g} s")
        reply = self._replies.pop(self._n)
        error = reply.get("error")
        if error:
            raise KeeperError(error["message"], error["code"])
        return reply

    def submit(self, jobs: Sequence[dict[str, Any]]) -> list[int]:
        """Submit jobs and return their ids.

        A job is as in the protocol; ``argv`` may stand for one ACTIVE phase. ``key`` defaults to a
        new one, ``env`` to the environment, umask and CPU affinity of this program.
        """
        entries = [self._complete(job) for job in jobs]
        try:
            reply = self.request("submit", jobs=entries)
        except KeeperError as error:
            if error.code != "unknown_env":
                raise
            self.request("env", **self._own_env())
            reply = self.request("submit", jobs=entries)
        self._events.extend(
            [s["id"], s["state"], s["ended"], s] for s in reply["known"] if s["state"] in FINAL
        )
        return list(reply["ids"])

    def env(
        self,
        variables: dict[str, str],
        umask: int | None = None,
        affinity: list[int] | None = None,
    ) -> str:
        """Make an environment context known and return its id."""
        name = env_id(variables, umask, affinity)
        self.request("env", id=name, vars=variables, umask=umask, affinity=affinity)
        return name

    def watch(self, ids: Iterable[int]) -> list[dict[str, Any] | None]:
        """Return snapshots of jobs (None for unknown ones); their events will follow."""
        return list(self.request("watch", ids=list(ids))["snapshots"])

    def info(self, **filters: Any) -> list[dict[str, Any]]:
        """Return snapshots: of ``ids``, of ``keys``, or the newest first (``live``, ``limit``)."""
        return list(self.request("list", **filters)["snapshots"])

    def cancel(self, ids: Iterable[int], grace: float | None = None) -> list[str | None]:
        """Cancel jobs; return for each None or why not."""
        return list(self.request("cancel", ids=list(ids), grace=grace)["results"])

    def hold(self, ids: Iterable[int]) -> list[str | None]:
        """Hold queued jobs; return for each None or why not."""
        return list(self.request("hold", ids=list(ids))["results"])

    def release(self, ids: Iterable[int]) -> list[str | None]:
        """Release held jobs; return for each None or why not."""
        return list(self.request("release", ids=list(ids))["results"])

    def events(self, timeout: float) -> list[list[Any]]:
        """Return the events ``[id, state, time, detail]`` that came, waiting for the first."""
        deadline = time.monotonic() + timeout
        while not self._events and self._receive(deadline):
            pass
        events = list(self._events)
        self._events.clear()
        return events

    def wait(self, ids: Iterable[int], timeout: float) -> dict[int, dict[str, Any]]:
        """Wait until watched jobs are over; return the final ``state`` and details of each.

        Raises:
            TimeoutError: they are not after ``timeout`` seconds.
        """
        missing = set(ids)
        final: dict[int, dict[str, Any]] = {}
        deadline = time.monotonic() + timeout
        while missing:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{len(missing)} jobs are not over, for instance {min(missing)}")
            for number, state, _, detail in self.events(max(0.0, deadline - time.monotonic())):
                if state in FINAL:
                    final[number] = {**(detail or {}), "state": state}
                    missing.discard(number)
        return final

    def _complete(self, job: dict[str, Any]) -> dict[str, Any]:
        entry = {"key": uuid.uuid4().hex, **job}
        if "argv" in entry:
            entry["phases"] = [{"state": "ACTIVE", "argv": entry.pop("argv")}]
        if "env" not in entry:
            entry["env"] = self._own_env()["id"]
        return entry

    def _own_env(self) -> dict[str, Any]:
        if self._env is None:
            variables = {wire(name): wire(value) for name, value in os.environ.items()}
            umask = os.umask(0)
            os.umask(umask)
            affinity = None
            if hasattr(os, "sched_getaffinity"):
                affinity = sorted(os.sched_getaffinity(0))
            name = env_id(variables, umask, affinity)
            self._env = {"id": name, "vars": variables, "umask": umask, "affinity": affinity}
        return self._env

    def _receive(self, deadline: float) -> bool:
        """Take in what has arrived; return False if nothing did before the deadline."""
        ready, _, _ = select.select([self._socket], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            return False
        data = b""
        with contextlib.suppress(ConnectionError):
            data = self._socket.recv(1 << 18)
        if not data:
            raise KeeperError("the keeper closed the connection")
        for message in self._decoder.feed(data):
            if "n" in message:
                self._replies[message["n"]] = message
            else:
                self._events.extend(message["events"])
        return True
