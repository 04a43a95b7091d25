"""The address of a machine that is reached over SSH."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

__all__ = ["Address"]

_NAME = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9_.:%-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@\\+-]*")


@dataclass(frozen=True)
class Address:
    """Whom to connect to.

    Attributes:
        host: a name or number, or an alias of the user's SSH configuration.
        user: the account there; ``None``: what the SSH configuration says.
        port: the port; ``None``: what the SSH configuration says.
    """

    host: str
    user: str | None = None
    port: int | None = None

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read ``ssh://user@host:port``.

        Raises:
            ValueError: it is something else.
        """
        problem = f"{url!r} is no address; write ssh://host, ssh://user@host or ssh://user@host:22"
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as wrong:
            raise ValueError(problem) from wrong
        if parts.scheme != "ssh":
            raise ValueError(problem)
        if parts.password is not None:
            raise ValueError(
                f"the address of {parts.hostname} contains a password: leave it out; ssh asks for "
                "it, or use a key and its agent"
            )
        if parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError(f"{problem}; a folder is set with the work_directory of the settings")
        # urlsplit makes the host lower-case, but an alias of the SSH configuration may not be
        host = parts.netloc.rpartition("@")[2]
        if host.startswith("["):
            host = host[1:].partition("]")[0]
        elif port is not None or host.endswith(":"):
            host = host.rpartition(":")[0]
        user = unquote(parts.username) if parts.username else None
        # neither may look like an option of ssh
        if not _NAME.fullmatch(host) or (user is not None and not _USER.fullmatch(user)):
            raise ValueError(problem)
        return cls(host, user, port)

    @property
    def destination(self) -> str:
        """The word for the command line of ssh."""
        return f"{self.user}@{self.host}" if self.user else self.host

    def __str__(self) -> str:
        return self.destination + (f":{self.port}" if self.port is not None else "")
