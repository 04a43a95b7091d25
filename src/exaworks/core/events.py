"""The one stream of events: every state change of every component passes here.

Progress bars, logs, dashboards and exporters subscribe; no component knows them. With no
subscriber, emitting costs a check of an empty tuple.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Event", "emit", "has_subscribers", "subscribe"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Event:
    """Something changed its state.

    Attributes:
        time: when, in seconds since the epoch.
        component: which component says so: ``"psij"``, ``"tasks"``, ...
        id: the id, within the component, of what changed.
        state: the name of the state entered.
        detail: further facts, such as ``exit_code`` and ``message``.
    """

    time: float
    component: str
    id: str
    state: str
    detail: Mapping[str, Any] = field(default_factory=dict)


Subscriber = Callable[[Event], None]
_subscribers: tuple[Subscriber, ...] = ()
_lock = threading.Lock()


def subscribe(subscriber: Subscriber) -> Callable[[], None]:
    """Call ``subscriber`` with every event from now on.

    It is called in the thread that delivers callbacks and must return quickly; an exception from
    it is logged.

    Returns:
        a function that ends the subscription.
    """
    global _subscribers
    with _lock:
        _subscribers = (*_subscribers, subscriber)

    def unsubscribe() -> None:
        global _subscribers
        with _lock:
            _subscribers = tuple(s for s in _subscribers if s is not subscriber)

    return unsubscribe


def has_subscribers() -> bool:
    """Whether anybody listens, so that events are worth making."""
    return bool(_subscribers)


def emit(event: Event) -> None:
    """Hand an event to all subscribers."""
    for subscriber in _subscribers:
        try:
            subscriber(event)
        except BaseException:  # also SystemExit: it may end its own work, not everybody's
            logger.exception("a subscriber to events failed: %r", subscriber)
