"""``exaworks engines``."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import click

from exaworks.cli.settings import command as make_command

if TYPE_CHECKING:
    from exaworks.tasks import Features

__all__ = ["command"]


@make_command("engines")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects.")
@click.option("--markdown", is_flag=True, help="Print what they can do as a table of Markdown.")
def command(as_json: bool, markdown: bool) -> None:
    """List the engines, what they can do, and which can be used here.

    Prints a line for each: its name, its version, whether it can be used here, what it can do, and
    why it cannot be used. Tasks run on one of them: with `exaworks map --engine NAME`, or from
    Python with get_engine(NAME).

    \b
    Examples:
      exaworks engines
      exaworks engines --json
    """
    from exaworks.cli.output import clean, print_json, print_table

    if as_json and markdown:
        raise click.UsageError("--json and --markdown exclude each other.")
    found = _engines()
    if as_json:
        print_json([each.as_json() for each in found])
        return
    names = _feature_names()
    if markdown:
        for row in (
            ["engine", *(name.replace("_", " ") for name in names)],
            ["---"] * (len(names) + 1),
            *([f"`{each.name}`", *each.cells(names)] for each in found),
        ):
            click.echo(f"| {' | '.join(row)} |")
        return
    print_table(
        (
            *("ENGINE", "VERSION", "USABLE"),
            *(name.replace("_", " ").upper() for name in names),
            "WHY NOT",
        ),
        [
            (
                *(each.name, each.version, "yes" if each.reason is None else "no"),
                *each.cells(names),
                clean(each.reason or ""),
            )
            for each in found
        ],
    )


@dataclass(frozen=True)
class _Engine:
    name: str
    version: str
    reason: str | None
    features: Features | None

    def cells(self, names: list[str]) -> list[str]:
        """Its features as text; empty if they are not known."""
        if self.features is None:
            return [""] * len(names)
        return [_text(getattr(self.features, name)) for name in names]

    def as_json(self) -> dict[str, Any]:
        """What JSON output says about it."""
        return {
            "name": self.name,
            "version": self.version,
            "usable": self.reason is None,
            "reason": self.reason,
            "features": None if self.features is None else asdict(self.features),
        }


def _engines() -> list[_Engine]:
    from exaworks.tasks import InvalidTaskError, engine_class, engine_descriptors

    found: dict[str, _Engine] = {}
    for descriptor in engine_descriptors():  # of several versions, the newest comes last
        name, version = descriptor.name, str(descriptor.version)
        try:
            cls = engine_class(name)
        except InvalidTaskError as problem:
            found[name] = _Engine(name, version, str(problem), None)
        else:
            found[name] = _Engine(name, version, cls.unusable(), cls.features)
    return list(found.values())


def _feature_names() -> list[str]:
    from exaworks.tasks import Features

    return [field.name for field in fields(Features)]


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)
