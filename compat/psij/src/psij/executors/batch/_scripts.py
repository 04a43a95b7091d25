"""What clients call of psij-python's batch executors and ``exaworks.psij`` names otherwise."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import IO, Any

from exaworks.psij import Job
from exaworks.psij.executors.batch import BatchExecutor
from psij.executors._listing import CompleteInfo

__all__ = ["WithSubmitScript"]


class WithSubmitScript(CompleteInfo, BatchExecutor):
    """Adds the methods that write a job's script."""

    def _create_script_context(self, job: Job) -> dict[str, Any]:
        return {"job": job}

    def generate_submit_script(
        self, job: Job, context: dict[str, Any], submit_file: IO[str]
    ) -> None:
        """Write the script that would be submitted."""
        spec = copy.deepcopy(job.spec)
        if spec is not None and spec.directory is not None:
            spec.directory = Path(spec.directory).absolute()
        submit_file.write(self.render(Job(spec)).script or "")
