"""Shell text for another machine, where only a POSIX shell is certain.

sshd hands a command line to the user's login shell, which may be any (csh and fish quote in their
own ways). So the text is sent in a form that all of them understand alike, and is run by
``/bin/sh``.

What comes back is framed, because start-up files of the shell may print something too, and
because ssh ends with code 255 both if the connection fails and if the command does.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from exaworks.psij.script import quote

__all__ = ["LONGEST", "Reply", "call", "encode", "framed", "once", "read_reply", "variables"]

LONGEST = 120_000
"""Bytes that an encoded text may have: Linux allows 128 KiB for one word of a command."""

_PLAIN = re.compile(rb"[A-Za-z0-9 _./:=,@+;()\[\]{}<>|&*?~#^-]")


def encode(text: str) -> str:
    """A command line that makes any login shell run ``text`` with ``/bin/sh``.

    Everything that some shell treats in a special way inside single quotes, or ``/bin/sh`` inside
    double quotes, or printf in a format, is written in octal.
    """
    coded = []
    for byte in text.encode("utf-8", "surrogateescape"):
        letter = bytes((byte,))
        coded.append(letter.decode() if _PLAIN.fullmatch(letter) else f"\\{byte:03o}")
    return f"""exec /bin/sh -c 'eval "$(printf "{"".join(coded)}")"'"""


def framed(marker: str, setup: Sequence[str], body: str) -> str:
    """Text that runs ``body`` in a subshell, with marks where its output begins and ends."""
    before = "".join(f"{line}\n" for line in setup)
    if before:  # it must not read what is meant for the body
        before = f"{{\n{before}}} </dev/null\n"
    return (
        f"{before}printf '%s\\n' {marker}\nprintf '%s\\n' {marker} >&2\n"
        f"(\n{body}\n)\n_psij_code=$?\nprintf '\\n%s %s\\n' {marker} \"$_psij_code\" >&2\nexit 0"
    )


@dataclass(frozen=True)
class Reply:
    """What a text has printed, and its exit code.

    Attributes:
        code: the exit code; ``None`` if the end did not arrive.
        out: what it printed.
        err: likewise, on standard error; without an end, whatever arrived.
        began: whether the text was begun.
    """

    code: int | None
    out: bytes
    err: bytes
    began: bool = True


def read_reply(marker: str, out: bytes, err: bytes) -> Reply:
    """Read what came back from :func:`framed` text."""
    mark = marker.encode()
    _, began, printed = out.partition(mark + b"\n")
    said, ended, code = err.rpartition(b"\n" + mark + b" ")
    if not began or not ended or not code.strip().isdigit():
        return Reply(None, printed, err.replace(mark + b"\n", b""), bool(began))
    return Reply(int(code), printed, said.partition(mark + b"\n")[2])


def variables(changes: Mapping[str, str], unset: Iterable[str]) -> str:
    """Text that unsets variables (``NAME*``: all that begin so) and then sets some."""
    names = [name for name in unset if not name.endswith("*")]
    begin = [name[:-1] for name in unset if name.endswith("*")]
    lines = [f"unset {' '.join(names)}"] if names else []
    if begin:
        pattern = "\\|".join(begin)
        lines.append(
            f"for _psij_name in $(env | sed -n 's/^\\(\\({pattern}\\)[A-Za-z0-9_]*\\)=.*/\\1/p'); "
            "do unset $_psij_name; done"
        )
    lines += [f"export {name}={quote(value)}" for name, value in changes.items()]
    return "".join(f"{line}\n" for line in lines)


MISSING = 127


def call(argv: Sequence[str]) -> str:
    """Text that runs a command; it ends with 127 and prints nothing if there is no such one."""
    program = quote(argv[0])
    words = " ".join(quote(word) for word in argv)
    return f"command -v {program} >/dev/null 2>&1 || exit {MISSING}\n{words}"


# Killing the outer shell, $$, keeps the mark of the end from being printed: there is no answer.
# The input is complete before anything happens: what is cut off half-way must not be submitted.
# The command then goes on even if the connection is lost, and whoever comes again with the same
# stem gets its answer.
_ONCE = """\
_psij_stem={stem}
[ -d "${{_psij_stem%/*}}" ] || mkdir -p -- "${{_psij_stem%/*}}" || exit 1
if [ ! -e "$_psij_stem.code" ]; then
    cat >"$_psij_stem.$$" || exit 1
    [ "$(wc -c <"$_psij_stem.$$")" -eq {length} ] ||
        {{ rm -f -- "$_psij_stem.$$"; kill -9 $$; exit 1; }}
    if mkdir -- "$_psij_stem.once" 2>/dev/null; then
        mv -f -- "$_psij_stem.$$" "$_psij_stem.in"
        (
            trap '' HUP
            (
                {command}
            ) <"$_psij_stem.in" >"$_psij_stem.out" 2>"$_psij_stem.err"
            echo $? >"$_psij_stem.tmp"
            mv -f -- "$_psij_stem.tmp" "$_psij_stem.code"
        )
    else
        rm -f -- "$_psij_stem.$$"
        _psij_left={patience}
        while [ ! -e "$_psij_stem.code" ] && [ "$_psij_left" -gt 0 ]; do
            sleep 1
            _psij_left=$((_psij_left - 1))
        done
    fi
fi
[ -e "$_psij_stem.code" ] || {{ kill -9 $$; exit 1; }}
cat -- "$_psij_stem.out"
cat -- "$_psij_stem.err" >&2
exit "$(cat -- "$_psij_stem.code")"
"""


def once(text: str, stem: str, length: int, patience: int) -> str:
    """Text that runs ``text`` once, however often it is sent; later ones get the first's answer.

    Args:
        text: what to run.
        stem: the beginning of paths for what must be kept.
        length: the number of bytes on standard input.
        patience: seconds to wait for the answer if another one runs it.
    """
    return _ONCE.format(stem=quote(stem), length=length, command=text, patience=patience)


def once_files(stem: str) -> tuple[list[str], str]:
    """The files that :func:`once` leaves behind, and the folder."""
    return [f"{stem}.{kind}" for kind in ("in", "out", "err", "code")], f"{stem}.once"
