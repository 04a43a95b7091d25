"""The keeper's record of a live job, and the check of the request that makes one."""

from __future__ import annotations

import json
import re
from signal import Signals

from .protocol import ACTIVE, PHASES, QUEUED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WAITING = 0
"""The job waits for its first or next process to be started."""
STARTING = 1
"""A process of the job is about to be started; on disk: it may or may not have been."""
RUNNING = 2
"""A process of the job runs."""
ENDED = 3
"""The job is over."""

DEFAULT_GRACE = 5.0
DEFAULT_LIMIT = 4096

_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")


class Job:
    """One job that is not over yet.

    Times are seconds since the epoch, filled in by the daemon; the fields from ``kill`` on belong
    to the ending of the current phase and count in the core's own clock.
    """

    __slots__ = (
        "active",
        "canceled",
        "cpu",
        "delay",
        "duration",
        "ended",
        "env",
        "exit_code",
        "give_up",
        "grace",
        "held",
        "id",
        "index",
        "key",
        "kill",
        "kill_at",
        "limit",
        "maxrss",
        "message",
        "meta",
        "pid",
        "pid_start",
        "pool",
        "reason",
        "root_gone",
        "root_status",
        "signal",
        "spec",
        "stage",
        "started",
        "state",
        "states",
        "submitted",
        "wake",
    )

    def __init__(self, key: str, spec: str, env: str, states: tuple[str, ...]) -> None:
        self.id = 0
        self.key = key
        self.spec = spec
        self.env = env
        self.states = states
        self.meta: str | None = None
        self.duration: float | None = None
        self.grace = DEFAULT_GRACE
        self.pool = ""
        self.limit = DEFAULT_LIMIT

        self.state = QUEUED
        self.stage = WAITING
        self.index = 0
        self.held = False
        self.canceled = False
        self.pid: int | None = None
        self.pid_start = 0
        self.submitted = 0.0
        self.started: float | None = None
        self.active: float | None = None
        self.ended: float | None = None
        self.exit_code: int | None = None
        self.signal: int | None = None
        self.reason: str | None = None
        self.message: str | None = None
        self.cpu = 0.0
        self.maxrss = 0

        self.kill = 0
        self.kill_at = 0.0
        self.give_up = 0.0
        self.wake = 0.0
        self.delay = 0.0
        self.root_gone = False
        self.root_status: int | None = None

    @property
    def failed(self) -> bool:
        """Whether something has gone wrong that decides the job's end."""
        return self.reason is not None

    @property
    def phase_writes_log(self) -> bool:
        """Whether the process of the current phase writes to the job's log, not to its files."""
        phase = json.loads(self.spec)["phases"][self.index]
        return not phase.get("stdio", self.states[self.index] == ACTIVE)

    @property
    def may_have_log(self) -> bool:
        """Whether any phase may have written to the job's log."""
        return len(self.states) > 1 or self.states[0] != ACTIVE or '"stdio":false' in self.spec

    @property
    def outcome(self) -> str:
        """What PSIJ_OUTCOME says in the phases after the main one."""
        return "cancel" if self.canceled else "error" if self.failed else "success"


_STATES: dict[tuple[str, ...], tuple[str, ...]] = {}


def parse_request(request: Any) -> Job:
    """Return the job that one entry of a submit request describes.

    Raises:
        ValueError: a field is missing or wrong; the message names it.
    """
    if not isinstance(request, dict):
        raise ValueError(f"a job must be an object, not {type(request).__name__}")
    get = request.get
    key = get("key")
    if not isinstance(key, str) or not _KEY.fullmatch(key):
        raise ValueError(f"key must be 1 to 100 letters, digits or ._-, not {key!r}")
    env = get("env")
    if not isinstance(env, str):
        raise ValueError(f"env must be the id of an environment context, not {env!r}")
    phases = get("phases")
    if not isinstance(phases, list) or not phases:
        raise ValueError("phases must be a list of at least one phase")
    states = tuple([_phase_state(phase) for phase in phases])
    ranks = [PHASES.index(state) for state in states]
    if ranks != sorted(ranks):
        raise ValueError(f"phases must be in the order {', '.join(PHASES)}, not {states}")
    spec: dict[str, Any] = {"phases": phases}
    for name in ("cwd", "stdin", "stdout", "stderr"):
        path = get(name)
        if path is not None:
            if not isinstance(path, str) or not path:
                raise ValueError(f"{name} must be a path or null, not {path!r}")
            spec[name] = path
    env_set = get("env_set")
    if env_set:
        if not isinstance(env_set, dict) or not all(map(_is_text, env_set.values())):
            raise ValueError("env_set must map names to text")
        spec["env_set"] = env_set
    job = Job(key, json.dumps(spec, separators=(",", ":")), env, _STATES.setdefault(states, states))
    duration = get("duration")
    if duration is not None:
        job.duration = seconds("duration", duration)
        if job.duration == 0:
            raise ValueError("duration must be more than 0 seconds")
    if get("grace") is not None:
        job.grace = seconds("grace", request["grace"])
    if get("pool") is not None:
        if not isinstance(request["pool"], str) or not request["pool"].isprintable():
            raise ValueError(f"pool must be a name, not {request['pool']!r}")
        job.pool = request["pool"]
    limit = get("limit")
    if limit is not None:
        if not isinstance(limit, int) or isinstance(limit, bool) or not 1 <= limit < 2**31:
            raise ValueError(f"limit must be a positive number of jobs, not {limit!r}")
        job.limit = limit
    job.held = bool(get("held"))
    if get("meta") is not None:
        job.meta = json.dumps(request["meta"], separators=(",", ":"))
    return job


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _phase_state(phase: Any) -> str:
    if not isinstance(phase, dict):
        raise ValueError("a phase must be an object")
    state = phase.get("state", ACTIVE)
    if state not in PHASES:
        raise ValueError(f"the state of a phase must be one of {', '.join(PHASES)}, not {state!r}")
    argv = phase.get("argv")
    if not isinstance(argv, list) or not argv or not all(map(_is_text, argv)) or not argv[0]:
        raise ValueError(f"argv must be a list of text starting with the executable, not {argv!r}")
    return str(state)


def seconds(name: str, value: Any) -> float:
    """Return ``value`` of the field ``name`` as a number of seconds.

    Raises:
        ValueError: it is none, or negative.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e12:
        raise ValueError(f"{name} must be a number of seconds, not {value!r}")
    return float(value)


def decode_status(status: int) -> tuple[int, int | None]:
    """Return exit code (128 + n for signal n, as shells have it) and signal of a wait status."""
    number = status & 0x7F
    if number:
        return 128 + number, number
    return (status >> 8) & 0xFF, None


def describe_end(code: int, number: int | None) -> str:
    """Return a sentence on how a process ended that nobody asked to end."""
    if number is None:
        return f"exit code {code}"
    try:
        name = f"signal {number} ({Signals(number).name})"
    except ValueError:
        name = f"signal {number}"
    if number == 9:
        return (
            f"killed by {name}, which the keeper did not send; "
            "the kernel's out-of-memory killer is a usual cause"
        )
    return f"killed by {name}"
