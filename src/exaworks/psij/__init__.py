"""PSI/J, the Portable Submission Interface for Jobs: submit, watch and manage batch jobs.

::

    from exaworks.psij import Job, JobExecutor, JobSpec

    executor = JobExecutor.get_instance("local")      # or "slurm", ...
    job = Job(JobSpec("/bin/date", stdout_path="/tmp/date.txt"))
    executor.submit(job)
    print(job.wait())

Importing this package starts no thread and no process.
"""

from exaworks.core.plugins import Descriptor
from exaworks.psij.exceptions import (
    InvalidJobException,
    InvalidJobTypeException,
    InvalidStateException,
    PSIJException,
    SubmitException,
    UnreachableStateException,
)
from exaworks.psij.job import FunctionJobStatusCallback, Job, JobStatusCallback
from exaworks.psij.job_attributes import JobAttributes
from exaworks.psij.job_executor import BulkSubmitException, JobExecutor, Rendered
from exaworks.psij.job_executor_config import JobExecutorConfig
from exaworks.psij.job_info import JobInfo
from exaworks.psij.job_launcher import Launcher
from exaworks.psij.job_spec import JobSpec
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import JobStatus, Reason
from exaworks.psij.resource_spec import ResourceSpec, ResourceSpecV1
from exaworks.psij.serialize import JSONSerializer
from exaworks.psij.staging import URI, StageIn, StageOut, StageOutFlags, StagingMode
from exaworks.psij.waiting import (
    ALL_COMPLETED,
    FIRST_COMPLETED,
    FIRST_FAILED,
    DoneAndNotDone,
    as_completed,
    wait,
)

__all__ = [
    "ALL_COMPLETED",
    "FIRST_COMPLETED",
    "FIRST_FAILED",
    "URI",
    "BulkSubmitException",
    "Descriptor",
    "DoneAndNotDone",
    "FunctionJobStatusCallback",
    "InvalidJobException",
    "InvalidJobTypeException",
    "InvalidStateException",
    "JSONSerializer",
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
    "PSIJException",
    "Reason",
    "Rendered",
    "ResourceSpec",
    "ResourceSpecV1",
    "StageIn",
    "StageOut",
    "StageOutFlags",
    "StagingMode",
    "SubmitException",
    "UnreachableStateException",
    "as_completed",
    "wait",
]
