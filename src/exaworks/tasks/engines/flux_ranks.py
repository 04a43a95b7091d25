"""A program of its own, which runs the ranks of a task as one job of Flux.

The agent on the first of their nodes runs it in the place of a launcher. It imports nothing but the
standard library, so that it begins in no time. (flux-run(1) takes 0.2 s of CPU, asks for as many
slots on each node, and leaves the job alone when it is ended itself.)

Arguments: the folder that the agent of this node was given (see :mod:`.flux`), a JSON object, and
the words of the command. The object has

- ``brokers``: pairs of a broker's rank and how many ranks of the task are there, in their order,
- ``cores`` of each rank, and the ``name`` of the job,
- ``grace``: how many seconds after SIGTERM this process may still live.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from typing import Any

__all__ = ["carried", "describe", "main"]

FLUX_GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for tasks of a job that is cancelled (flux-config-exec(5),
``kill-timeout``)."""

_PART_OF_GRACE = 0.9
"""After this part of the grace ranks are killed, since this process is when it is over."""


def is_utf8(*texts: str) -> bool:
    """Whether texts are such as JSON can carry."""
    try:
        for text in texts:
            text.encode()
    except UnicodeEncodeError:
        return False
    return True


def carried(words: list[str]) -> list[str]:
    """A command that means exactly ``words``.

    Flux carries UTF-8 only, and the job shell replaces ``{{...}}`` in arguments: such words go
    through a shell, in ASCII (POSIX.1-2017, printf: ``%b`` reads ``\\0`` and octal digits).
    """
    if is_utf8(*words) and not any("{{" in word for word in words):
        return words
    data = os.fsencode(" ".join(["exec", *map(shlex.quote, words)]))
    text = "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b"\\{" else f"\\0{byte:03o}" for byte in data
    )
    return ["/bin/sh", "-c", 'eval "$(printf %b "$0")"', text]


def describe(wanted: dict[str, Any], words: list[str]) -> dict[str, Any]:
    """The job: jobspec version 1 (Flux RFC 14 and RFC 25).

    Version 1 has as many slots on each node. So the job asks for the least number of ranks that is
    on one, which is certainly there, and a map of tasks (RFC 34) says where they really are. They
    are not bound to cores: the engine has decided on those, and Flux knows nothing of that.
    """
    brokers: list[tuple[int, int]] = wanted["brokers"]
    places = {rank: place for place, rank in enumerate(sorted(rank for rank, _ in brokers))}
    blocks = [[places[rank], 1, count, 1] for rank, count in brokers]
    core = {"type": "core", "count": wanted["cores"]}
    least = min(count for _, count in brokers)
    slot = {"type": "slot", "label": "task", "count": least, "with": [core]}
    node = {"type": "node", "count": len(brokers), "with": [slot]}
    total = {"total": sum(count for _, count in brokers)}
    options = {
        "cpu-affinity": "off",
        "taskmap": {"scheme": "manual", "value": json.dumps(blocks)},
        # A rank that fails ends the others, and one that ends does not (flux-shell(1)).
        "exit-on-error": 1,
        "exit-timeout": "none",
    }
    system = {
        "duration": 0,
        "cwd": os.getcwd(),
        "environment": {n: v for n, v in os.environ.items() if is_utf8(n, v)},
        "constraints": {"ranks": [",".join(map(str, sorted(places)))]},
        "job": {"name": wanted["name"]},
        "shell": {"options": options},
    }
    return {
        "version": 1,
        "resources": [node],
        "tasks": [{"command": carried(words), "slot": "task", "count": total}],
        "attributes": {"system": system},
    }


class _Job:
    """A job that ends when this process is told to."""

    def __init__(self, folder: str, grace: float) -> None:
        with open(os.path.join(folder, "instance")) as file:
            uri, self._flux = file.read().splitlines()
        self._record = os.path.join(folder, f"job.{os.getpid()}")
        self._environment = {**os.environ, "FLUX_URI": uri, "FLUX_F58_FORCE_ASCII": "1"}
        self._grace = grace
        self._id: str | None = None
        self._told = False

    def _job(self, *words: str) -> bool:
        """Run a command of flux-job(1), which says nothing; whether it has succeeded."""
        return not subprocess.run(
            [self._flux, "job", *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=self._environment,
            start_new_session=True,
        ).returncode

    def submit(self, spec: dict[str, Any]) -> None:
        """Hand it over, and note its id for the case that this process is killed.

        Raises:
            SystemExit: Flux does not accept it.
        """
        # In a session of its own, so that a signal does not end it between submission and answer.
        done = subprocess.run(
            [self._flux, "job", "submit"],
            input=json.dumps(spec),
            stdout=subprocess.PIPE,
            text=True,
            env=self._environment,
            start_new_session=True,
        )
        if done.returncode:
            raise SystemExit("Flux has not accepted the ranks as a job")
        with open(self._record, "w") as file:
            file.write(done.stdout)
        self._id = done.stdout.strip()
        if self._told:
            self.end()

    def wait(self) -> int:
        """Hand on what is printed and read until it has ended; its exit code."""
        assert self._id is not None
        attached = subprocess.Popen(
            [self._flux, "job", "attach", self._id], env=self._environment, start_new_session=True
        )
        code = attached.wait()
        if code:  # perhaps only this command has failed
            self._cancel()
        os.unlink(self._record)
        return code if code >= 0 else 128 - code

    def told(self, *_: object) -> None:
        """SIGTERM has come."""
        if not self._told:
            self._told = True
            if self._id is not None:
                self.end()

    def end(self) -> None:
        """End the job within the grace."""
        assert self._id is not None
        if self._grace > FLUX_GRACE and self._job("kill", "--signal=SIGTERM", self._id):
            signal.signal(signal.SIGALRM, lambda *_: self._cancel())
            signal.setitimer(signal.ITIMER_REAL, self._grace - FLUX_GRACE)
        else:
            self._cancel()
            signal.signal(signal.SIGALRM, lambda *_: self._kill())
            signal.setitimer(signal.ITIMER_REAL, max(self._grace * _PART_OF_GRACE, 1e-6))

    def _cancel(self) -> None:
        assert self._id is not None
        self._job("raise", "--type=cancel", "--severity=0", self._id)

    def _kill(self) -> None:
        assert self._id is not None
        self._job("kill", "--signal=SIGKILL", self._id)


def main() -> None:
    """Run them; the exit code is the greatest of theirs, 128 + n for signal n."""
    folder, text, *words = sys.argv[1:]
    wanted = json.loads(text)
    job = _Job(folder, wanted["grace"])
    signal.signal(signal.SIGTERM, job.told)
    job.submit(describe(wanted, words))
    sys.exit(job.wait())


if __name__ == "__main__":
    main()
