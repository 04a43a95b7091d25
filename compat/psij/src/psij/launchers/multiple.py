"""The launcher for several copies of a program, as a base for launchers of third parties."""

from __future__ import annotations

from pathlib import Path

from exaworks.psij import Job, JobExecutorConfig
from exaworks.psij.validate import resources
from psij.launchers.script_based_launcher import ScriptBasedLauncher

__all__ = ["MultipleLauncher"]


class MultipleLauncher(ScriptBasedLauncher):
    """Starts ``process_count`` copies; the script gets the count before the executable."""

    def __init__(
        self,
        script_path: Path = Path(__file__).parent / "scripts" / "multi_launch.sh",
        config: JobExecutorConfig | None = None,
    ) -> None:
        super().__init__(script_path=script_path, config=config)

    def get_additional_args(self, job: Job) -> list[str]:
        """The number of processes."""
        return [str(resources(job).computed_process_count)]
