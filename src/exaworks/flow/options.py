"""How a call is to be run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import timedelta
from typing import Any

from exaworks.flow.retry import NEVER, Retry
from exaworks.tasks.errors import InvalidTaskError
from exaworks.tasks.options import DEFAULT, Options
from exaworks.tasks.resources import Resources
from exaworks.tasks.spec import TaskSpec

__all__ = ["PLAIN", "CallOptions"]

_NEEDS = tuple(each.name for each in fields(Resources))
_OF_COMMANDS = (
    "after", "before", "directory", "environment", "grace", "inherit_environment", "launcher",
    "stderr", "stdin", "stdout",
)  # fmt: skip
_OTHERS = ("cache", "engine", "name", "priority", "retries", "tags", "time_limit")


@dataclass(frozen=True)
class CallOptions:
    """How a call is to be run. Most calls of a program share a few of these.

    Attributes:
        engine: which of the engines of the flow runs it; ``None``: the first.
        task: what the engine is told.
        retry: when it is run again.
        cache: whether its result is kept, and taken from there if it is the same call; ``None``:
            as the flow says.
        tags: words for people and reports.
        command: further fields of :class:`~exaworks.tasks.TaskSpec`, for commands.
    """

    engine: str | None = None
    task: Options = DEFAULT
    retry: Retry = NEVER
    cache: bool | None = None
    tags: tuple[str, ...] = ()
    command: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str | None:
        """What the call is called."""
        return self.task.name

    def but(self, given: Mapping[str, Any]) -> CallOptions:
        """The same with other values.

        Args:
            given: options by name: ``cache``, ``engine``, ``name``, ``priority``, ``retries``
                (a number or a :class:`Retry`), ``tags``, ``time_limit`` (seconds or a
                ``timedelta``), ``resources``, those of :class:`~exaworks.tasks.Resources`, and for
                commands further fields of :class:`~exaworks.tasks.TaskSpec`.

        Raises:
            InvalidTaskError: one is unknown, or a value makes no sense.
        """
        if not given:
            return self
        given = dict(given)
        resources = self.task.resources
        if "resources" in given:
            resources = Resources.of(given.pop("resources"))
        needs = {name: given.pop(name) for name in _NEEDS if name in given}
        if needs:
            resources = replace(resources, **needs)
        command = {name: given.pop(name) for name in _OF_COMMANDS if name in given}
        for name in given:
            if name not in _OTHERS:
                known = ", ".join(sorted((*_OTHERS, "resources", *_NEEDS, *_OF_COMMANDS)))
                raise InvalidTaskError(f"there is no option {name!r}; there are: {known}")
        task = Options(
            resources,
            _whole("priority", given.get("priority", self.task.priority)),
            _seconds(given.get("time_limit", self.task.time_limit)),
            name=given.get("name", self.task.name),
        )
        return CallOptions(
            given.get("engine", self.engine),
            DEFAULT if task == DEFAULT else task,
            Retry.of(given.get("retries", self.retry)),
            _yes_or_no(given.get("cache", self.cache)),
            _words(given.get("tags", self.tags)),
            {**self.command, **command},
        )

    def spec(self, words: list[str], name: str, streams: Mapping[str, Any]) -> TaskSpec:
        """A command with these options.

        Args:
            words: its words.
            name: what it is called if the options do not say it.
            streams: fields that the call itself gives, such as ``stdout``.

        Raises:
            InvalidTaskError: a value makes no sense.
        """
        task, needs = self.task, self.task.resources
        return TaskSpec(
            words,
            name=task.name or name,
            priority=task.priority,
            time_limit=task.time_limit,
            **{each: getattr(needs, each) for each in _NEEDS},
            **{**self.command, **streams},
        )


PLAIN = CallOptions()


def _whole(name: str, value: Any) -> int:
    if type(value) is not int:
        raise InvalidTaskError(f"{name} must be a whole number, not {value!r}")
    return value


def _seconds(value: Any) -> float | None:
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value > 0:
        raise InvalidTaskError(f"time_limit must be a number of seconds above 0, not {value!r}")
    return float(value)


def _yes_or_no(value: Any) -> bool | None:
    if value is not None and type(value) is not bool:
        raise InvalidTaskError(f"cache must be True or False, not {value!r}")
    return value


def _words(value: Any) -> tuple[str, ...]:
    words = (value,) if isinstance(value, str) else value
    if not isinstance(words, Iterable) or not all(isinstance(word, str) for word in words):
        raise InvalidTaskError(f"tags must be words, not {value!r}")
    return tuple(words)
