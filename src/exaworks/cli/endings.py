"""What exit codes and last words of programs usually mean."""

from __future__ import annotations

import re
from typing import Final

from exaworks.cli.output import signal_name

__all__ = ["code_meaning", "hints", "signal_meaning"]

_CODES: Final = {
    1: "The program reported a general failure; its last words may tell more.",
    2: "Often: the program did not understand its arguments (a shell: wrong syntax).",
    124: "Often: `timeout` inside the job ended the program.",
    126: "A shell found the command but could not execute it: it has no permission to (chmod +x), "
    "is a directory, or is made for another kind of machine.",
    127: "A shell did not find the command: is it spelled right, is it in PATH where the job runs, "
    "is a module to be loaded (--pre-launch)? It can also be a missing shared library.",
    128: "The program asked to exit with a value that is no exit code.",
    255: "Often: ssh or a remote start failed, or the program exited with -1.",
}
_SIGNALS: Final = {
    "SIGKILL": "Something ended it by force. Most often that is the system or the scheduler, "
    "because memory ran out: try more --memory, or fewer processes on a node.",
    "SIGTERM": "Something asked it to end: the scheduler (time limit, preemption, cancellation), "
    "or a person.",
    "SIGSEGV": "The program accessed memory that is not its own: a fault in the program or a "
    "library, or a stack that is too small (ulimit -s).",
    "SIGBUS": "The program accessed memory that could not be had: often a full /dev/shm or a "
    "mapped file that was cut.",
    "SIGABRT": "The program gave up by itself: a failed assertion, an uncaught C++ exception, or "
    "MPI_Abort. Its last words tell.",
    "SIGFPE": "The program divided whole numbers by zero, or was told to stop at floating point "
    "errors.",
    "SIGILL": "The program used an instruction that this processor does not have: it was perhaps "
    "built for another kind of node (-march=native).",
    "SIGINT": "It was interrupted as by ctrl-C.",
    "SIGHUP": "Its terminal or session was closed.",
    "SIGPIPE": "It wrote to something that nobody read any more.",
    "SIGXCPU": "It used more CPU time than it was allowed (ulimit -t).",
    "SIGXFSZ": "It wrote a file larger than it was allowed (ulimit -f).",
}
_HINTS: Final = (
    (
        r"error while loading shared libraries: (\S+)",
        "The library {0} was not found: load the module that has it in a --pre-launch script, or "
        "set LD_LIBRARY_PATH with --env.",
    ),
    (
        r"(?:ModuleNotFoundError|ImportError): No module named '?([\w.]+)",
        "Python did not find {0}: is the right environment active where the job runs?",
    ),
    (r"version `?(GLIBC\w*_[\d.]+)' not found", "The program needs a newer system ({0})."),
    (r"(?i)cuda[^\n]*out of memory", "The GPU's memory was too small for the problem."),
    (
        r"MemoryError|std::bad_alloc|(?i:cannot allocate memory)|(?i:oom[- ]kill)",
        "Memory ran out: try more --memory, or fewer processes on a node.",
    ),
    (r"(?i)disk quota exceeded", "Your disk quota is used up."),
    (r"(?i)no space left on device", "The disk is full where the job writes."),
    (r"(?i)too many open files", "The limit on open files is too low (ulimit -n)."),
    (r"(?i)stale file handle", "A file on the shared file system was removed while it was used."),
    (
        r"(\S+): (?:command )?not found",
        "{0} was not found: is it in PATH where the job runs?",
    ),
    (r"(\S+): Permission denied", "{0} may not be read, written or executed."),
    (r"(\S+): No such file or directory", "{0} does not exist where the job runs."),
)


def code_meaning(code: int) -> str | None:
    """What an exit code usually means; ``None`` if nothing can be said."""
    if code in _CODES:
        return _CODES[code]
    if 128 < code < 160:
        name = signal_name(code - 128)
        about = _SIGNALS.get(name)
        return f"128 + {code - 128}: a process of it was ended by {name}." + (
            f" {about}" if about else ""
        )
    return None


def signal_meaning(number: int) -> str | None:
    """What being ended by a signal usually means; ``None`` if nothing can be said."""
    return _SIGNALS.get(signal_name(number))


def hints(output: str) -> list[str]:
    """What the last words of a program suggest."""
    found = []
    for pattern, text in _HINTS:
        match = re.search(pattern, output)
        if match is not None:
            found.append(text.format(*(group.strip("'\"`:") for group in match.groups())))
    return found[:3]
