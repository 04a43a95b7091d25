"""How a job is to be scheduled (PSI/J specification, "JobAttributes")."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from exaworks.psij.exceptions import InvalidJobTypeException

if TYPE_CHECKING:
    from exaworks.psij.job import Job

__all__ = ["JobAttributes"]

logger = logging.getLogger(__name__)

_DEFAULT_DURATION: Final = timedelta(minutes=10)
_UNITS: Final = {"d": 86400, "h": 3600, "m": 60, "s": 1}


class JobAttributes:
    """Duration, queue, account and other directions to the scheduler.

    Attributes:
        queue_name: the queue (Slurm: partition) to submit to.
        account: the account, allocation or project that pays.
        reservation_id: an advance reservation to run in.
        dependencies: jobs that must have begun or ended before, by kind: ``{"afterok": [job]}``.
            A job is a :class:`Job` that was submitted, or the native id of one of the same
            executor. The kinds are ``after`` (it has begun), ``afterok`` (it has succeeded),
            ``afternotok`` (it has failed or was cancelled) and ``afterany`` (it has ended). All
            conditions must hold; if one can hold no longer, the job is cancelled.
    """

    __slots__ = (
        "_duration",
        "account",
        "custom_attributes",
        "dependencies",
        "queue_name",
        "reservation_id",
    )

    def __init__(
        self,
        duration: timedelta | None = _DEFAULT_DURATION,
        queue_name: str | None = None,
        account: str | None = None,
        reservation_id: str | None = None,
        custom_attributes: dict[str, Any] | None = None,
        project_name: str | None = None,
        dependencies: Mapping[str, Iterable[Job | str]] | None = None,
    ) -> None:
        """Make attributes.

        Args:
            duration: walltime limit; 10 minutes if not given (PSI/J specification); ``None``
                leaves it to the queue's default. The executor for this machine, which has no
                queue to protect, enforces only a duration that was given.
            queue_name: see the class.
            account: see the class.
            reservation_id: see the class.
            custom_attributes: options for one executor, by name: ``{"slurm.constraint": "gpu"}``
                becomes ``--constraint=gpu`` on Slurm and is ignored elsewhere. ``None``, ``""``
                or ``True`` as the value gives an option without a value.
            project_name: deprecated name of ``account``.
            dependencies: see the class.

        Raises:
            InvalidJobTypeException: ``duration`` is not a :class:`datetime.timedelta`.
        """
        self._duration: timedelta | _Default | None = _DEFAULT
        if duration is not _DEFAULT_DURATION:
            self.duration = duration
        self.queue_name = queue_name
        self.account = account
        self.reservation_id = reservation_id
        self.custom_attributes = custom_attributes
        self.dependencies = (
            {kind: list(jobs) for kind, jobs in dependencies.items()} if dependencies else None
        )
        if project_name is not None:
            self.project_name = project_name

    @property
    def duration(self) -> timedelta | None:
        """The walltime limit; ``None`` for the queue's default."""
        return _DEFAULT_DURATION if isinstance(self._duration, _Default) else self._duration

    @duration.setter
    def duration(self, value: timedelta | None) -> None:
        if value is not None and not isinstance(value, timedelta):
            raise InvalidJobTypeException(
                f"attributes.duration must be a datetime.timedelta, not {value!r}; "
                "for text such as '1:30:00' use JobAttributes.parse_walltime"
            )
        self._duration = value

    @property
    def duration_given(self) -> bool:
        """Whether the duration was set on purpose, rather than being the default."""
        return not isinstance(self._duration, _Default)

    @property
    def project_name(self) -> str | None:
        """Deprecated name of :attr:`account`."""
        return self.account

    @project_name.setter
    def project_name(self, value: str | None) -> None:
        logger.debug("JobAttributes.project_name is deprecated; use account")
        self.account = value

    def set_custom_attribute(self, name: str, value: object) -> None:
        """Set one custom attribute."""
        if self.custom_attributes is None:
            self.custom_attributes = {}
        self.custom_attributes[name] = value

    def get_custom_attribute(self, name: str) -> Any:
        """The value of one custom attribute, or ``None``."""
        return None if self.custom_attributes is None else self.custom_attributes.get(name)

    @staticmethod
    def parse_walltime(walltime: str) -> timedelta:
        """Read a walltime.

        Args:
            walltime: ``hh:mm:ss``, ``d-hh:mm:ss``, ``hh:mm``, ``mm`` (minutes), or numbers with
                units as in ``90s``, ``1.5 h`` and ``1d 12h`` (d, h, m, s).

        Raises:
            ValueError: the text is none of these.
        """
        text = walltime.strip()
        clock = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+)(?::(\d+))?", text)
        if clock:
            days, hours, minutes, seconds = (int(g or 0) for g in clock.groups())
            return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if re.fullmatch(r"\d+", text):
            return timedelta(minutes=int(text))
        if re.fullmatch(r"(?:\d+(?:\.\d+)?\s*[dhms]\s*)+", text):
            parts = re.findall(r"(\d+(?:\.\d+)?)\s*([dhms])", text)
            return timedelta(seconds=sum(float(n) * _UNITS[u] for n, u in parts))
        raise ValueError(
            f"Unknown walltime {walltime!r}; write hh:mm:ss, d-hh:mm:ss, hh:mm, mm, "
            "or numbers with units such as '90s', '1.5 h', '1d 12h'"
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, JobAttributes):
            return NotImplemented
        names = ("duration", *(name for name in self.__slots__ if name != "_duration"))
        return all(getattr(self, name) == getattr(other, name) for name in names)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return (
            f"JobAttributes(duration={self.duration}, queue_name={self.queue_name}, "
            f"account={self.account}, reservation_id={self.reservation_id}, "
            f"custom_attributes={self.custom_attributes}, dependencies={self.dependencies})"
        )


class _Default:
    """Marks a duration that nobody set. One instance, also after pickling and copying."""

    def __reduce__(self) -> str:
        return "_DEFAULT"

    def __copy__(self) -> _Default:
        return self

    def __deepcopy__(self, memo: object) -> _Default:
        return self


_DEFAULT: Final = _Default()
