"""The version of this software and the configuration of the system it runs on.

The ExaWorks policies ask every component for its version and configuration at run time; this is
that, as data. ``exaworks info`` prints it.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import exaworks
from exaworks.core import config

__all__ = ["system_info"]

_PACKAGES: Final = ("click", "cloudpickle", "packaging", "rich")
_PREFIXES: Final = ("EXAWORKS_", "PSIJ_")
_VARIABLES: Final = ("NO_COLOR", "SLURM_CONF", "TMPDIR")
_TOOLS: Final = {"slurm": ("sbatch", "--version"), "mpi": ("mpirun", "--version")}
_TIMEOUT: Final = 5.0


def system_info() -> dict[str, Any]:
    """Version and system configuration, as data that JSON can hold.

    Programs of schedulers and of MPI are asked for their version, each for at most 5 seconds.

    Returns:
        a dictionary with the keys ``exaworks`` (version), ``python``, ``packages`` (version of
        each package that is used, or ``None``), ``platform``, ``paths``, ``environment`` (the
        variables in force here that change what ExaWorks does), and ``tools`` (the path and
        version of each program that was found).
    """
    return {
        "exaworks": exaworks.__version__,
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "executable": sys.executable,
        },
        "packages": {name: _package_version(name) for name in _PACKAGES},
        "platform": _platform(),
        "paths": {
            "package": str(Path(exaworks.__file__).parent),
            "home": str(config.home()),
        },
        "environment": {
            name: value
            for name, value in sorted(os.environ.items())
            if name.startswith(_PREFIXES) or name in _VARIABLES
        },
        "tools": {name: found for name in _TOOLS if (found := _tool(name)) is not None},
    }


def _platform() -> dict[str, Any]:
    try:
        usable = len(os.sched_getaffinity(0))
    except AttributeError:  # only Linux has it
        usable = os.cpu_count() or 1
    return {
        "system": platform.system(),
        "release": platform.release(),
        "machine": platform.machine(),
        "distribution": _distribution(),
        "hostname": socket.gethostname(),
        "cpus": os.cpu_count(),
        "usable_cpus": usable,
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
    }


def _distribution() -> str | None:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    except OSError:
        return None


def _package_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _tool(name: str) -> dict[str, str | None] | None:
    program, *arguments = _TOOLS[name]
    path = shutil.which(program)
    if path is None:
        return None
    version = None
    try:
        done = subprocess.run(
            [path, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            errors="replace",
            timeout=_TIMEOUT,
            check=False,
        )
        version = next(iter(done.stdout.splitlines()), None)
    except (OSError, subprocess.TimeoutExpired):
        pass
    return {"path": path, "version": version}
