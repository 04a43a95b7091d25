"""Ways to hand a job to an instance: signed by nobody, or by the ``flux`` command."""

from __future__ import annotations

import base64
import errno as errnos
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from exaworks.psij.exceptions import SubmitException
from exaworks.psij.executors.flux.jobid import job_number
from exaworks.psij.executors.flux.messages import FluxError

__all__ = ["Order", "envelope", "refused", "submit_by_command", "to_json", "wants_signature"]

_AT_ONCE = 8


@dataclass(frozen=True)
class Order:
    """A job on its way to Flux.

    Attributes:
        jobspec: its description, in JSON.
        urgency: its urgency.
    """

    jobspec: bytes
    urgency: int

    def request(self, uid: int) -> dict[str, Any]:
        """The payload for ``job-ingest.submit``."""
        return {"J": envelope(self.jobspec, uid), "urgency": self.urgency, "flags": 0}


def envelope(jobspec: bytes, uid: int) -> str:
    """A jobspec in an envelope without a signature, for the owner of an instance (RFC 39).

    Args:
        jobspec: the description of the job, in JSON.
        uid: the numeric id of the user; the broker compares it with that of the connection.
    """
    fields = ("version", "i1", "userid", f"i{uid}", "mechanism", "snone")
    header = base64.b64encode(b"".join(field.encode() + b"\0" for field in fields)).decode()
    return f"{header}.{base64.b64encode(jobspec).decode()}.none"


def submit_by_command(
    flux: str, uri: str, orders: Sequence[Order], timeout: float
) -> Iterator[int | SubmitException]:
    """Submit with ``flux job submit``, a few at a time, which signs as the site demands.

    Args:
        flux: the command.
        uri: the address of the instance.
        orders: the jobs.
        timeout: seconds that a command may take.

    Yields:
        for each job its number, or why it was not accepted.
    """
    for start in range(0, len(orders), _AT_ONCE):
        part = orders[start : start + _AT_ONCE]
        running = [_start(flux, uri, order) for order in part]
        try:
            for order, process in zip(part, running, strict=True):
                if isinstance(process, SubmitException):
                    yield process
                else:
                    yield _finish(process, order, timeout)
        finally:
            for process in running:
                if not isinstance(process, SubmitException) and process.poll() is None:
                    process.kill()
                    process.communicate()


def _start(flux: str, uri: str, order: Order) -> subprocess.Popen[bytes] | SubmitException:
    words = [flux, "job", "submit", f"--urgency={order.urgency}", "-"]
    try:
        return subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "FLUX_URI": uri},
        )
    except OSError as problem:
        return SubmitException(
            f"{uri} wants jobs to be signed, but {flux!r} cannot be run: {problem}. Put flux into "
            "PATH, or name it in FluxExecutorConfig(flux=...)",
            problem,
        )


def _finish(
    process: subprocess.Popen[bytes], order: Order, timeout: float
) -> int | SubmitException:
    with process:
        try:
            out, err = process.communicate(order.jobspec, timeout)
        except subprocess.TimeoutExpired as problem:
            process.kill()
            return SubmitException(
                f"`flux job submit` did not end within {timeout:g} s", problem, transient=True
            )
    number = job_number(out.decode("utf-8", "replace").strip())
    if process.returncode or number is None:
        words = (err or out).decode("utf-8", "replace").strip()
        return SubmitException(f"`flux job submit`: {words or f'exit code {process.returncode}'}")
    return number


def to_json(jobspec: dict[str, Any]) -> bytes:
    """A jobspec as text.

    Raises:
        UnicodeEncodeError: it has text that is not valid Unicode.
    """
    return json.dumps(jobspec, separators=(",", ":"), ensure_ascii=False).encode()


def wants_signature(answer: object) -> bool:
    """Whether an instance refuses a job because we are not its owner."""
    return isinstance(answer, FluxError) and answer.errno == errnos.EPERM and "sign" in str(answer)


def refused(problem: Exception) -> SubmitException:
    """Why a job was not accepted."""
    if isinstance(problem, SubmitException):
        return problem
    # A queue may be enabled again, and services that are not loaded are being started or stopped.
    transient = isinstance(problem, FluxError) and (
        problem.errno in (errnos.ENOSYS, errnos.EAGAIN, errnos.EHOSTUNREACH)
        or "disabled" in problem.message
    )
    return SubmitException(f"Flux did not accept the job: {problem}", problem, transient)
