"""Other machines: commands and files over SSH, where this machine would be used otherwise."""

from __future__ import annotations

from collections.abc import Sequence

from exaworks.psij.remote.address import Address
from exaworks.psij.runner import LocalRunner, Runner

__all__ = ["Address", "make_runner"]


def make_runner(
    url: str | None,
    timeout: float,
    ssh_command: Sequence[str] = ("ssh",),
    setup: Sequence[str] = (),
) -> Runner:
    """What runs commands at a place. Nothing is connected yet.

    Args:
        url: ``ssh://user@host:port``; ``None`` or ``"localhost"``: this machine.
        timeout: seconds that a command may take if it does not say itself.
        ssh_command: the words that begin every command line of ssh.
        setup: lines of shell to run there before each command.

    Raises:
        ValueError: the URL is not one that commands can be run at.
    """
    if url in (None, "", "localhost"):
        return LocalRunner(timeout)
    from exaworks.psij.remote.connection import Connection
    from exaworks.psij.remote.ssh import SshRunner

    connection = Connection.get(Address.parse(str(url)), tuple(ssh_command))
    return SshRunner(connection, timeout, setup)
