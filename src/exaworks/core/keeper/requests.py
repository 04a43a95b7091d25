"""What clients may ask the keeper for: one method an operation of the protocol."""

from __future__ import annotations

import json
import sqlite3
import time

from .job import Job, parse_request, seconds
from .protocol import VERSION, KeeperError
from .server import Connection
from .spawn import Environment
from .store import StoreUnavailable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .daemon import Daemon

MAX_LIST = 10_000
MAX_LIST_BYTES = 8 * 1024 * 1024
"""Bytes that the reply to one list request may have, about; a single job may exceed it."""

_MAX_ENVIRONMENTS = 64


class Requests:
    """Serves the requests of clients."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._environments: dict[str, Environment] = {}
        self._operations: dict[str, Callable[[Connection, Any], dict[str, Any]]] = {
            "hello": self._hello,
            "ping": self._ping,
            "env": self._env,
            "submit": self._submit,
            "watch": self._watch,
            "unwatch": self._unwatch,
            "list": self._list,
            "cancel": self._cancel,
            "hold": self._hold,
            "release": self._release,
            "stop": self._stop,
        }

    def serve(self, connection: Connection, request: Any) -> None:
        """Serve one request and queue the reply."""
        if not isinstance(request, dict):
            request = {}
        try:
            operation = self._operations.get(request.get("op", ""))
            if operation is None:
                raise KeeperError(f"unknown operation {request.get('op')!r}", "invalid")
            if not connection.greeted and operation != self._hello:
                raise KeeperError("the first request must be hello", "invalid")
            reply = operation(connection, request)
        except KeeperError as error:
            reply = {"error": {"code": error.code, "message": str(error)}}
        except StoreUnavailable as error:
            message = f"the keeper cannot use its database: {error}"
            reply = {"error": {"code": "busy", "message": message}}
        except sqlite3.Error:
            raise
        except Exception as error:
            # Whatever one client sends must not end the keeper of all.
            message = f"malformed request: {type(error).__name__}: {error}"
            reply = {"error": {"code": "invalid", "message": message}}
        reply["n"] = request.get("n")
        try:
            connection.reply(reply)
        except KeeperError as error:
            connection.reply(
                {"n": reply["n"], "error": {"code": error.code, "message": str(error)}}
            )

    def environment(self, name: str) -> Environment | None:
        """Return an environment context that a client has sent, at whatever time."""
        found = self._environments.get(name)
        if found is None:
            context = self._daemon.store.env(name)
            if context is not None:
                found = self._keep(name, Environment(context))
        return found

    def cached(self) -> list[str]:
        """Return the contexts that new jobs may name though no recorded job does."""
        return list(self._environments)

    def _keep(self, name: str, environment: Environment) -> Environment:
        if len(self._environments) >= _MAX_ENVIRONMENTS:
            del self._environments[next(iter(self._environments))]
        self._environments[name] = environment
        return environment

    def _hello(self, connection: Connection, request: Any) -> dict[str, Any]:
        if request["version"] != VERSION:
            raise KeeperError(
                f"the keeper speaks version {VERSION} of its protocol, not {request['version']}; "
                "use the release of exaworks that started it, or let it finish its jobs",
                "version",
            )
        connection.greeted = True
        return {"version": VERSION, **self._daemon.statistics()}

    def _ping(self, connection: Connection, request: Any) -> dict[str, Any]:
        return self._daemon.statistics()

    def _env(self, connection: Connection, request: Any) -> dict[str, Any]:
        context = {name: request.get(name) for name in ("id", "vars", "umask", "affinity")}
        environment = Environment(context)
        self._keep(request["id"], environment)
        self._daemon.store.add_env(request["id"], json.dumps(context, separators=(",", ":")))
        self._daemon.settle()
        return {}

    def _submit(self, connection: Connection, request: Any) -> dict[str, Any]:
        daemon = self._daemon
        jobs: list[Job] = []
        for number, entry in enumerate(request["jobs"]):
            try:
                jobs.append(parse_request(entry))
            except ValueError as error:
                raise KeeperError(f"job {number} of the request: {error}", "invalid") from None
        unknown = [name for name in {job.env for job in jobs} if self.environment(name) is None]
        if unknown:
            return {
                "error": {
                    "code": "unknown_env",
                    "message": f"unknown environment {', '.join(unknown)}",
                    "env": unknown,
                }
            }
        daemon.settle()
        known = daemon.store.ids([job.key for job in jobs])
        repeated = sorted({known[job.key] for job in jobs if job.key in known})
        now = time.time()
        ids = []
        for job in jobs:
            number = known.get(job.key, 0)
            if not number:
                job.submitted = now
                daemon.store.add(job)
                number = known[job.key] = job.id
                daemon.core.submit(job)
            ids.append(number)
            if number in daemon.core.jobs:
                daemon.watchers.add(number, connection)
        found = daemon.store.snapshots(repeated)
        return {"ids": ids, "known": list(found.values())}

    def _watch(self, connection: Connection, request: Any) -> dict[str, Any]:
        daemon = self._daemon
        ids = _ids(request)
        daemon.settle()
        found = daemon.store.snapshots(ids, bool(request.get("meta", True)))
        for number in ids:
            if number in daemon.core.jobs:
                daemon.watchers.add(number, connection)
        return {"snapshots": [found.get(number) for number in ids]}

    def _unwatch(self, connection: Connection, request: Any) -> dict[str, Any]:
        for number in _ids(request):
            self._daemon.watchers.remove(number, connection)
        return {}

    def _list(self, connection: Connection, request: Any) -> dict[str, Any]:
        store = self._daemon.store
        self._daemon.settle()
        meta = bool(request.get("meta", True))
        size = min(int(request.get("bytes") or MAX_LIST_BYTES), MAX_LIST_BYTES)
        if request.get("keys") is not None:
            numbers = list(store.ids([str(key) for key in request["keys"]]).values())
        elif request.get("ids") is not None:
            numbers = _ids(request)
        else:
            limit = min(int(request.get("limit") or MAX_LIST), MAX_LIST)
            before = request.get("before")
            before = None if before is None else int(before)
            return {"snapshots": store.newest(bool(request.get("live")), before, limit, meta, size)}
        snapshots, rest = store.page(numbers, meta, size)
        return {"snapshots": snapshots, "rest": rest}

    def _cancel(self, connection: Connection, request: Any) -> dict[str, Any]:
        daemon = self._daemon
        grace = request.get("grace")
        if grace is not None:
            grace = seconds("grace", grace)
        results: list[str | None] = []
        now = time.monotonic()
        for number in _ids(request):
            job = daemon.core.jobs.get(number)
            if job is not None:
                daemon.core.cancel(now, job, grace)
                results.append(None)
            else:
                results.append(self._why_not(number))
        return {"results": results}

    def _hold(self, connection: Connection, request: Any) -> dict[str, Any]:
        return self._each(request, self._daemon.core.hold, "the job has started already")

    def _release(self, connection: Connection, request: Any) -> dict[str, Any]:
        return self._each(request, self._daemon.core.release, "the job is not held")

    def _each(self, request: Any, action: Callable[[Job], bool], refusal: str) -> dict[str, Any]:
        results: list[str | None] = []
        for number in _ids(request):
            job = self._daemon.core.jobs.get(number)
            if job is None:
                results.append(self._why_not(number))
            else:
                results.append(None if action(job) else refusal)
        return {"results": results}

    def _why_not(self, number: int) -> str:
        self._daemon.settle()
        known = self._daemon.store.snapshots([number])
        return "the job is over" if known else "there is no such job"

    def _stop(self, connection: Connection, request: Any) -> dict[str, Any]:
        live = len(self._daemon.core.jobs)
        if live:
            raise KeeperError(f"the keeper still has {live} live jobs", "busy")
        self._daemon.stop()
        return {}


def _ids(request: Any) -> list[int]:
    ids = request["ids"]
    if not isinstance(ids, list) or not all(isinstance(number, int) for number in ids):
        raise ValueError("ids must be a list of numbers")
    return ids
