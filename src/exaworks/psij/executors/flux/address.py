"""Where a Flux instance is."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

__all__ = ["SYSTEM_INSTANCE", "Address", "find_address"]

SYSTEM_INSTANCE = "local:///run/flux/local"
"""The system instance of a cluster (flux-environment(7), ``FLUX_URI``)."""


@dataclass(frozen=True)
class Address:
    """The socket of a broker.

    Attributes:
        uri: the address as Flux writes it.
        path: the path of the socket.
        command: the command whose standard streams lead to the socket; ``None`` if the socket is
            on this machine.
        shell: the command that runs its next word in a shell where the socket is.
    """

    uri: str
    path: str
    command: tuple[str, ...] | None = None
    shell: tuple[str, ...] = ()

    @property
    def remote(self) -> bool:
        """Whether jobs may run where neither our environment nor our files are."""
        return self.command is not None


def find_address(url: str | None, environ: Mapping[str, str]) -> Address:
    """Find out where the instance is.

    Args:
        url: ``local:///path`` or a path, ``ssh://[user@]host[:port]/path``, or ``None``: what
            ``FLUX_URI`` says, and otherwise the system instance.
        environ: the environment. ``FLUX_SSH`` and ``FLUX_SSH_RCMD`` name the programs ``ssh``
            and the far ``flux``, as for Flux's own connector (flux-environment(7)).

    Raises:
        ValueError: the address is of no known form.
    """
    text = url or environ.get("FLUX_URI") or SYSTEM_INSTANCE
    if text.startswith("/"):
        text = f"local://{text}"
    parts = urlsplit(text)
    path = unquote(parts.path)
    known = parts.scheme in ("local", "ssh") and path.startswith("/") and len(path) > 1
    if known and not (parts.query or parts.fragment or "\0" in path):
        if parts.scheme == "local" and not parts.netloc:
            return Address(text, path)
        host = parts.netloc.rpartition("@")[2]
        if parts.scheme == "ssh" and re.match(r"[\w[]", host) and not parts.netloc.startswith("-"):
            shell = _shell(text, environ)
            return Address(text, path, (*shell, _relay(path, environ)), shell)
    raise ValueError(
        f"{text!r} is no address of a Flux instance; write local:///path/of/the/socket or "
        "ssh://host/path/of/the/socket (`flux uri` and FLUX_URI show it)"
    )


def _shell(text: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    parts = urlsplit(text)
    port = ("-p", str(parts.port)) if parts.port is not None else ()
    user = f"{unquote(parts.username)}@" if parts.username else ""
    return (environ.get("FLUX_SSH", "ssh"), *port, f"{user}{parts.hostname}")


def _relay(path: str, environ: Mapping[str, str]) -> str:
    """``flux relay``, which connects its standard streams to the socket.

    The folder of the socket has a link to the instance's own ``flux``, for the case that it is
    not in the ``PATH`` of the far side.
    """
    flux = environ.get("FLUX_SSH_RCMD")
    if flux is not None:
        return f"exec {flux} relay {shlex.quote(path)}"
    folder = shlex.quote(os.path.join(os.path.dirname(path), "bin"))
    return f'exec env PATH="$PATH":{folder}:/usr/bin flux relay {shlex.quote(path)}'
