"""The base class for launchers of third parties that are a script."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from exaworks.psij import Job, JobExecutorConfig, Launcher
from exaworks.psij.validate import command

__all__ = ["ScriptBasedLauncher"]


class ScriptBasedLauncher(Launcher):
    """Starts a job through a bash script.

    The script is given: the job's id, a log file (or nothing), the pre- and the post-launch script
    (or nothing), the files for standard input, output and error, then
    :meth:`get_additional_args`, then the executable and its arguments. It may source
    ``launcher_lib.sh`` from its own folder, which takes the first seven, and defines ``log``,
    ``pre_launch`` and ``post_launch``. The script redirects the standard streams itself.

    The files are copied to the work directory, which compute nodes can read, under a name that
    depends on their content.
    """

    wraps_everything = True

    def __init__(self, script_path: Path, config: JobExecutorConfig | None = None) -> None:
        """Make a launcher.

        Args:
            script_path: the script.
            config: settings.
        """
        super().__init__(config)
        self._script_path = Path(script_path)
        self._deployed: Path | None = None
        self._lock = threading.Lock()

    def _files_to_deploy(self) -> list[Path]:
        """The files that the script needs, itself among them."""
        return [Path(__file__).parent / "scripts" / "launcher_lib.sh", self._script_path]

    def _deploy(self) -> Path:
        files = [(path, path.read_bytes()) for path in self._files_to_deploy()]
        digest = hashlib.sha256()
        for path, content in files:
            digest.update(path.name.encode() + b"\0" + content + b"\0")
        folder = self.config.work_directory / digest.hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        for path, content in files:
            target = folder / path.name
            if target.exists():
                continue
            unfinished = folder / f".{path.name}.{os.getpid()}.{threading.get_ident()}"
            unfinished.write_bytes(content)
            unfinished.chmod(path.stat().st_mode & 0o777)
            unfinished.rename(target)
        return folder

    def get_additional_args(self, job: Job) -> list[str]:
        """Words to give to the script before the executable."""
        return []

    def get_launch_command(self, job: Job, log_file: str | None = None) -> list[str]:
        """The command that runs the script."""
        with self._lock:
            if self._deployed is None:
                self._deployed = self._deploy()
        spec = job.spec
        assert spec is not None
        if log_file is None and self.config.launcher_log_file is not None:
            log_file = str(self.config.launcher_log_file)
        return [
            "/bin/bash",
            str(self._deployed / self._script_path.name),
            job.id,
            log_file or "",
            "" if spec.pre_launch is None else str(spec.pre_launch),
            "" if spec.post_launch is None else str(spec.post_launch),
            *(
                "/dev/null" if path is None else str(path)
                for path in (spec.stdin_path, spec.stdout_path, spec.stderr_path)
            ),
            *self.get_additional_args(job),
            *command(spec),
        ]
