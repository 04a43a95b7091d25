"""Everything that clients import is there, and importing it has no side effects."""

import importlib
import subprocess
import sys

import pytest

NAMES = {
    "psij": "JobExecutor JobExecutorConfig Job JobStatusCallback JobSpec JobAttributes JobStatus "
    "JobState ResourceSpec ResourceSpecV1 Launcher SubmitException InvalidJobException "
    "UnreachableStateException Export Import VERSION __version__",
    "psij.descriptor": "Descriptor",
    "psij.exceptions": "InvalidJobException SubmitException",
    "psij.executors": "LocalJobExecutor",
    "psij.executors.batch.batch_scheduler_executor": "BatchSchedulerExecutor "
    "BatchSchedulerExecutorConfig InvalidJobStateError UNKNOWN_ERROR check_status_exit_code",
    "psij.executors.batch.escape_functions": "bash_escape",
    "psij.executors.batch.script_generator": "SubmitScriptGenerator TemplatedScriptGenerator",
    "psij.executors.batch.cobalt": "CobaltExecutorConfig CobaltJobExecutor",
    "psij.executors.batch.lsf": "LsfExecutorConfig LsfJobExecutor",
    "psij.executors.batch.nqsv": "NQSVExecutorConfig NQSVJobExecutor",
    "psij.executors.batch.pbs": "PBSJobExecutor",
    "psij.executors.batch.pbs_base": "PBSExecutorConfig",
    "psij.executors.batch.pbs_classic": "PBSClassicJobExecutor",
    "psij.executors.batch.slurm": "SlurmExecutorConfig SlurmJobExecutor",
    "psij.executors.batch.template_function_library": "ALL walltime_to_minutes",
    "psij.executors.flux": "FluxJobExecutor",
    "psij.executors.local": "LocalJobExecutor",
    "psij.job": "FunctionJobStatusCallback Job JobStatusCallback",
    "psij.job_attributes": "JobAttributes",
    "psij.job_executor": "JobExecutor",
    "psij.job_executor_config": "JobExecutorConfig",
    "psij.job_launcher": "Launcher",
    "psij.job_spec": "JobSpec",
    "psij.job_state": "JobState JobStateOrder",
    "psij.job_status": "JobStatus",
    "psij.launcher": "Launcher",
    "psij.launchers": "AprunLauncher JsrunLauncher MPILauncher MultipleLauncher SingleLauncher "
    "SrunLauncher ScriptBasedLauncher",
    "psij.launchers.aprun": "AprunLauncher",
    "psij.launchers.jsrun": "JsrunLauncher",
    "psij.launchers.mpirun": "MPILauncher",
    "psij.launchers.multiple": "MultipleLauncher",
    "psij.launchers.script_based_launcher": "ScriptBasedLauncher",
    "psij.launchers.single": "SingleLauncher",
    "psij.launchers.srun": "SrunLauncher",
    "psij.resource_spec": "ResourceSpec ResourceSpecV1",
    "psij.serialize": "JSONSerializer Serializer",
    "psij.staging": "StageIn StageOut StageOutFlags StagingMode URI",
    "psij.version": "VERSION",
}

QUIET = """
import os, signal, sys, threading
from psij import *
import psij
psij.JobExecutor.get_executor_names(), psij.Launcher.get_launcher_names()
psij.JobExecutor.get_instance("local"), psij.JobExecutor.get_instance("slurm")
assert threading.active_count() == 1
assert signal.getsignal(signal.SIGCHLD) == signal.SIG_DFL
"""


@pytest.mark.parametrize("module", NAMES)
def test_names(module: str) -> None:
    loaded = importlib.import_module(module)
    for name in NAMES[module].split():
        assert hasattr(loaded, name), name


def test_importing_is_silent_and_starts_nothing() -> None:
    done = subprocess.run([sys.executable, "-c", QUIET], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_objects_are_those_of_exaworks() -> None:
    import exaworks.psij
    import psij

    assert psij.Job is exaworks.psij.Job
    executor = psij.JobExecutor.get_instance("local")
    assert isinstance(executor, psij.executors.local.LocalJobExecutor)
    assert isinstance(executor, exaworks.psij.JobExecutor)


def test_listing_of_plugins() -> None:
    done = subprocess.run([sys.executable, "-m", "psij", "plugins"], capture_output=True, text=True)
    assert done.returncode == 0
    assert "local" in done.stdout
    assert "mpirun" in done.stdout
