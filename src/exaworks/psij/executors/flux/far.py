"""What a job of an instance on another machine starts with."""

from __future__ import annotations

import os
import subprocess

from exaworks.psij.exceptions import SubmitException
from exaworks.psij.executors.flux.address import Address
from exaworks.psij.executors.flux.task import utf8_only

__all__ = ["read_environment"]

_MARK = b"\0--environment--\0"
_OF_THE_CONNECTION = ("SSH_CLIENT", "SSH_CONNECTION", "SSH_TTY", "SSH_AUTH_SOCK", "SHLVL", "_")


def read_environment(address: Address, timeout: float) -> dict[str, str]:
    """The environment that commands have where the instance is: that of an ``ssh`` command.

    A job whose description names no environment has none at all (Flux 0.88), and ours means
    nothing there.

    Raises:
        SubmitException: the machine cannot be reached.
    """
    command = [*address.shell, r"printf '\0--environment--\0'; env -0"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout,
            start_new_session=True,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise SubmitException(
            f"the connection to {address.uri} failed: {problem}", problem, transient=True
        ) from problem
    _, found, data = done.stdout.partition(_MARK)
    if done.returncode or not found:
        words = done.stderr.decode("utf-8", "replace").strip() or f"exit code {done.returncode}"
        raise SubmitException(f"the connection to {address.uri} failed: {words}", transient=True)
    pairs = (os.fsdecode(item).partition("=") for item in data.split(b"\0") if b"=" in item)
    variables = {name: value for name, _, value in pairs if name not in _OF_THE_CONNECTION}
    return utf8_only(variables)
