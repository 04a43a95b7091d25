"""Ids of Flux jobs: a number of 64 bits, written in several ways (Flux RFC 19)."""

from __future__ import annotations

import re

__all__ = ["job_number", "native_id"]

_DIGITS = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_LIMIT = 1 << 63


def native_id(number: int) -> str:
    """The id as F58 text with the ASCII prefix, such as ``fKTQ4Ty``.

    All commands of Flux take it; the other prefix, the letter of a guilder (``ƒ``), is lost in
    a locale without UTF-8.
    """
    digits = ""
    while number:
        number, rest = divmod(number, 58)
        digits = _DIGITS[rest] + digits
    return f"f{digits or _DIGITS[0]}"


def job_number(text: str) -> int | None:
    """The number of a job.

    Args:
        text: F58, decimal, hexadecimal (``0x...``) or dotted hexadecimal.

    Returns:
        the number; ``None`` if it cannot be an id.
    """
    number: int | None = None
    if text.isascii() and text.isdigit() and len(text) < 20:
        number = int(text)
    elif re.fullmatch(r"0x[0-9a-fA-F]{1,16}", text):
        number = int(text, 16)
    elif re.fullmatch(r"[0-9a-fA-F]{4}(\.[0-9a-fA-F]{4}){3}", text):
        number = int(text.replace(".", ""), 16)
    elif re.fullmatch(rf"[fƒ][{_DIGITS}]{{1,12}}", text):
        number = 0
        for digit in text[1:]:
            number = number * 58 + _DIGITS.index(digit)
    return number if number is not None and number < _LIMIT else None
