"""The module ``psij`` on top of :mod:`exaworks.psij`: a drop-in for psij-python.

All names of psij-python 0.9.11 and of its main branch, and those of older releases that clients
still import. Importing it prints nothing, starts no thread and takes no signal handler; plugins
in ``psij-descriptors`` folders are looked for when an executor or launcher is asked for by a name
that is not known yet.
"""

from exaworks.psij import (
    FunctionJobStatusCallback,
    InvalidJobException,
    InvalidStateException,
    Job,
    JobAttributes,
    JobExecutor,
    JobExecutorConfig,
    JobInfo,
    JobSpec,
    JobState,
    JobStatus,
    JobStatusCallback,
    Launcher,
    ResourceSpec,
    ResourceSpecV1,
    SubmitException,
    UnreachableStateException,
)
from psij import _plugins
from psij.portable import Export, Import
from psij.version import VERSION

__version__ = VERSION

__all__ = [
    "VERSION",
    "Export",
    "FunctionJobStatusCallback",
    "Import",
    "InvalidJobException",
    "InvalidStateException",
    "Job",
    "JobAttributes",
    "JobExecutor",
    "JobExecutorConfig",
    "JobInfo",
    "JobSpec",
    "JobState",
    "JobStatus",
    "JobStatusCallback",
    "Launcher",
    "ResourceSpec",
    "ResourceSpecV1",
    "SubmitException",
    "UnreachableStateException",
    "__version__",
]

_plugins.install()
