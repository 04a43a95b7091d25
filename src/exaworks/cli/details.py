"""All that is remembered of one job, for people."""

from __future__ import annotations

import shlex
from datetime import datetime

import click

from exaworks.cli.output import STATE_STYLES, clean, short_duration
from exaworks.cli.record import UNKNOWN, Record
from exaworks.cli.verdict import describe
from exaworks.psij import JobSpec
from exaworks.psij.serialize import spec_to_dict

__all__ = ["command_line", "print_details"]


def command_line(spec: JobSpec) -> str:
    """The command of a job, as one would type it."""
    words = [str(word) for word in (spec.executable or "", *(spec.arguments or ()))]
    return clean(shlex.join(words))


def print_details(record: Record) -> None:
    """Print one fact a line."""
    spec = record.job_spec
    state = describe(record.shown_state, record.exit_code, record.signal, record.message)
    if record.shown_state == UNKNOWN:
        state = f"{UNKNOWN}: the submission was interrupted before it was answered"
    color = STATE_STYLES.get(record.shown_state)
    facts = [
        ("Job", f"{record.id}  {clean(record.name)}"),
        ("State", click.style(clean(state), fg=None if color == "dim" else color)),
        ("Executor", " ".join(filter(None, (record.executor, record.url, record.native_id)))),
        ("UUID", record.uuid),
        ("Command", command_line(spec)),
        ("Directory", clean(str(spec.directory)) if spec.directory else ""),
        ("Resources", _resources(spec)),
        ("Attributes", _attributes(spec)),
        ("Submitted", f"{_local(record.submitted)} from {record.host}"),
        ("Started", _local(record.started)),
        ("Ended", _local(record.ended)),
        ("Run time", short_duration(record.run_time)),
        ("Output", clean(str(record.stream("stdout") or ""))),
        ("Errors", clean(str(record.stream("stderr") or ""))),
    ]
    shown = ("reason", "signal", "native_id", "started")
    for name, value in record.metadata.items():
        if name not in shown and value is not None:
            facts.append((name.replace("_", " ").capitalize(), clean(str(value))))
    for name, text in facts:
        if text:
            click.echo(f"{name + ':':<18} {text}")


def _local(time: float | None) -> str:
    if time is None:
        return ""
    return datetime.fromtimestamp(time).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def _resources(spec: JobSpec) -> str:
    return _pairs(spec_to_dict(spec).get("resources", {}), "__version")


def _attributes(spec: JobSpec) -> str:
    given = dict(spec_to_dict(spec)["attributes"])
    given.update(given.pop("custom_attributes", {}) or {})
    return _pairs(given)


def _pairs(data: dict[str, object], but: str = "") -> str:
    return clean(", ".join(f"{name}={value}" for name, value in data.items() if name != but))
