"""Moving files in before a job and out after it (the staging of psij-python's main branch)."""

from __future__ import annotations

from enum import Enum, Flag
from pathlib import Path
from urllib.parse import unquote, urlparse

from exaworks.psij.exceptions import InvalidJobTypeException

__all__ = ["URI", "StageIn", "StageOut", "StageOutFlags", "StagingMode"]


class URI:
    """The location of a file, local or remote (RFC 3986).

    Raises:
        ValueError: the text is not a URI.
    """

    __slots__ = ("_local_path", "_text", "parts")

    def __init__(self, urlstring: str) -> None:
        self._text = urlstring
        self._local_path: str | None = None
        self.parts = urlparse(urlstring)
        _ = self.parts.port  # a port that is no number is an error now, not later

    @classmethod
    def of_path(cls, path: Path) -> URI:
        """The location of a file of this file system, whatever characters its path has."""
        uri = cls("")
        uri._text = uri._local_path = str(path)
        return uri

    @property
    def hostname(self) -> str | None:
        """The host, or ``None``."""
        return self.parts.hostname

    @property
    def port(self) -> int | None:
        """The port, or ``None``."""
        return self.parts.port

    @property
    def scheme(self) -> str:
        """The scheme; empty for a plain path."""
        return self.parts.scheme

    @property
    def netloc(self) -> str:
        """User, password, host and port as written."""
        return self.parts.netloc

    @property
    def path(self) -> str:
        """The path. For a text without scheme and host, all of the text.

        Percent-encoded characters of a ``file:`` URI are decoded (RFC 8089).
        """
        if self._local_path is not None:
            return self._local_path
        if not self.parts.scheme and not self.parts.netloc:
            return self._text
        return unquote(self.parts.path) if self.scheme == "file" else self.parts.path

    @property
    def params(self) -> str:
        """Parameters of the last path element."""
        return self.parts.params

    @property
    def query(self) -> str:
        """The part after ``?``."""
        return self.parts.query

    @property
    def fragment(self) -> str:
        """The part after ``#``."""
        return self.parts.fragment

    @property
    def username(self) -> str | None:
        """The user, or ``None``."""
        return self.parts.username

    @property
    def password(self) -> str | None:
        """The password, or ``None``."""
        return self.parts.password

    @property
    def is_local(self) -> bool:
        """Whether it is a file of this machine's file system: no scheme or ``file:``, no host."""
        return self.scheme in ("", "file") and self.hostname in (None, "localhost")

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"URI({self._text!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, URI):
            return NotImplemented
        return (self._text, self.is_local) == (other._text, other.is_local)

    def __hash__(self) -> int:
        return hash(self._text)


class StagingMode(Enum):
    """How a file gets to its target."""

    COPY = 1
    """Copied, directories with all they contain."""
    LINK = 2
    """A symbolic link to the (absolute) source is made."""
    MOVE = 3
    """Moved: afterwards the source is gone."""


class StageOutFlags(Flag):
    """When a file is staged out (or cleaned up)."""

    NONE = 0
    """No condition: the same as ``ALWAYS``."""
    IF_PRESENT = 1
    """A missing file is not an error."""
    ON_SUCCESS = 2
    """If the job's exit code was zero."""
    ON_ERROR = 4
    """If the job failed."""
    ON_CANCEL = 8
    """If the job was cancelled."""
    ALWAYS = 14
    """Whatever became of the job."""


def normalize_flags(flags: StageOutFlags) -> StageOutFlags:
    """Add ``ALWAYS`` to flags that name no outcome."""
    return flags if flags & StageOutFlags.ALWAYS else flags | StageOutFlags.ALWAYS


def _uri(place: URI | Path | str) -> URI:
    if isinstance(place, URI):
        return place
    if not isinstance(place, (str, Path)):
        raise InvalidJobTypeException(f"a file to stage must be a path or a URI, not {place!r}")
    return URI.of_path(place) if isinstance(place, Path) else URI(place)


def _mode(mode: StagingMode) -> StagingMode:
    if not isinstance(mode, StagingMode):
        raise InvalidJobTypeException(f"mode must be a StagingMode, not {mode!r}")
    return mode


class StageIn:
    """A file or directory to bring to the job before it starts.

    Attributes:
        source: where it is. A relative path is relative to the working directory of the process
            that submits the job.
        target: where the job finds it. A relative path is relative to the job's directory.
        mode: how it gets there.
    """

    __slots__ = ("mode", "source", "target")

    def __init__(
        self,
        source: URI | Path | str,
        target: Path | str,
        mode: StagingMode = StagingMode.COPY,
    ) -> None:
        self.source = _uri(source)
        self.target = Path(target)
        self.mode = _mode(mode)

    def _key(self) -> tuple[object, ...]:
        return (self.source, self.target, self.mode)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, StageIn) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"StageIn[{self.source} -> {self.target}, {self.mode}]"


class StageOut:
    """A file or directory to take away when the job has ended.

    Attributes:
        source: where the job leaves it. A relative path is relative to the job's directory.
        target: where to put it. A relative path is relative to the working directory of the
            process that submits the job.
        mode: how it gets there.
    """

    __slots__ = ("_flags", "mode", "source", "target")

    def __init__(
        self,
        source: Path | str,
        target: URI | Path | str,
        flags: StageOutFlags = StageOutFlags.ALWAYS,
        mode: StagingMode = StagingMode.COPY,
    ) -> None:
        self.source = Path(source)
        self.target = _uri(target)
        self.flags = flags
        self.mode = _mode(mode)

    @property
    def flags(self) -> StageOutFlags:
        """When to stage out. Flags that name no outcome mean all outcomes."""
        return self._flags

    @flags.setter
    def flags(self, flags: StageOutFlags) -> None:
        if not isinstance(flags, StageOutFlags):
            raise InvalidJobTypeException(f"flags must be StageOutFlags, not {flags!r}")
        self._flags = normalize_flags(flags)

    def _key(self) -> tuple[object, ...]:
        return (self.source, self.target, self.flags, self.mode)

    def __eq__(self, other: object) -> bool:
        return self._key() == other._key() if isinstance(other, StageOut) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._key())

    def __repr__(self) -> str:
        return f"StageOut[{self.source} -> {self.target}, {self.flags}, {self.mode}]"
