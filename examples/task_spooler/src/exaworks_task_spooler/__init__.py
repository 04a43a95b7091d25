"""The entry point: which executors this distribution has, and where. It imports nothing else."""

from exaworks.psij import Descriptor

__all__ = ["EXECUTORS"]

EXECUTORS = [
    Descriptor(
        "task_spooler",
        "0.1.0",
        "exaworks_task_spooler.adapter.TaskSpoolerJobExecutor",
        ["tsp"],
        nice_name="Task Spooler",
    )
]
