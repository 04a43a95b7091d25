"""When to stop because tasks have failed."""

from __future__ import annotations

import re
from dataclasses import dataclass

import click

__all__ = ["Halt"]

_LEAST = 3
"""How many must have failed for a percentage to matter, as long as it is not known of how many."""


@dataclass(frozen=True)
class Halt:
    """When to stop.

    Attributes:
        now: end the tasks that run, too.
        failed: after how many failures; ``None``: never.
        percent: the number is a percentage.
    """

    now: bool = False
    failed: float | None = None
    percent: bool = False

    @classmethod
    def parse(cls, text: str) -> Halt:
        """``never``, ``soon``, ``now``, ``now,fail=3``, ``soon,fail=10%``.

        Raises:
            click.BadParameter: it is not of that form.
        """
        if text == "never":
            return cls()
        match = re.fullmatch(r"(soon|now)(?:,fail=(\d+(?:\.\d+)?)(%?))?", text)
        number = 0.0 if match is None else float(match[2] or 1)
        if match is None or not number or (match[3] != "%" and number % 1):
            raise click.BadParameter(
                f"{text!r} says nothing; write for instance soon, now,fail=3 or soon,fail=10%."
            )
        return cls(match[1] == "now", number, match[3] == "%")

    def reached(self, failed: int, total: int | None, known: int) -> bool:
        """Whether to stop.

        Args:
            failed: how many have failed.
            total: how many tasks there are; ``None``: that is not known.
            known: how many are known so far.
        """
        if self.failed is None or not failed:
            return False
        if not self.percent:
            return failed >= self.failed
        if total is None and failed < _LEAST:
            return False
        return failed * 100 >= self.failed * (known if total is None else total)
