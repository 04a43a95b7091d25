"""Finding the Grid Engine that is there, and starting one of our own."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from datetime import timedelta
from pathlib import Path

from exaworks.psij import Job, JobAttributes, JobExecutor, JobSpec, JobState, JobStatus
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig
from exaworks.psij.executors.grid_engine import GridEngineJobExecutor
from patience import output, until

SCRIPT = Path(__file__).parents[2] / "clusters" / "gridengine.sh"
LATER = "203001010000"


def why_no_grid_engine() -> str | None:
    """Why there is no Grid Engine to use; ``None`` if there is one."""
    problem = GridEngineJobExecutor.unusable()
    if problem is None:
        return None
    return f"{problem} (to start one: '{SCRIPT} install', '{SCRIPT} start', '{SCRIPT} env')"


def why_no_own_cluster() -> str | None:
    """Why we cannot start one; ``None`` if we can."""
    if os.geteuid() != 0:
        return "only root can start a Grid Engine to break"
    if not Path("/usr/sbin/sge_qmaster").exists():
        return f"sge_qmaster is not installed: run '{SCRIPT} install'"
    return None


class Cluster:
    """A Grid Engine of our own, in a folder of its own."""

    def __init__(self, port: int, **settings: object) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="exaworks-ge-", dir="/tmp"))
        self.root.chmod(0o755)
        self._environment = {
            **os.environ,
            "GE_ROOT": str(self.root),
            "GE_PORT": str(port),
            **{f"GE_{name}": str(value) for name, value in settings.items()},
        }

    def __call__(self, *words: str) -> str:
        """Run the cluster script."""
        done = subprocess.run(
            [str(SCRIPT), *words],
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{words}: {done.stdout}"
        return done.stdout

    def environment(self) -> dict[str, str]:
        """The variables with which commands reach it."""
        found = dict(re.findall(r"(SGE_\w+)=(\S+)", self("env")))
        return {**found, "PATH": f"/usr/lib/gridengine:{os.environ['PATH']}"}

    def set_global(self, **values: object) -> None:
        """Change the configuration of the cluster."""
        environment = {**os.environ, **self.environment()}
        text = subprocess.run(
            ["qconf", "-sconf"], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for name, value in values.items():
            text = re.sub(rf"^{name}\s.*$", f"{name} {value}", text, flags=re.MULTILINE)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "global")
            file.write_text(text)
            words = ["qconf", "-Mconf", str(file)]
            subprocess.run(words, env=environment, capture_output=True, check=True)

    def purge(self) -> None:
        """Stop it and remove all its files."""
        self("purge")


def quick(work: Path) -> JobExecutor:
    """An executor that asks often."""
    config = BatchSchedulerExecutorConfig(
        work_directory=work, queue_polling_interval=1, initial_queue_polling_delay=0.5
    )
    return JobExecutor.get_instance("grid_engine", config=config)


def shell(text: str, **fields: object) -> Job:
    """A job that runs a piece of shell."""
    return Job(JobSpec("/bin/sh", ["-c", text], **fields))  # type: ignore[arg-type]


def custom(duration: timedelta | None = None, **attributes: object) -> JobAttributes:
    """Attributes ``grid_engine.X``, and no time limit if none is given."""
    named = {f"grid_engine.{name}": value for name, value in attributes.items()}
    return JobAttributes(duration, custom_attributes=named)


def essence(status: JobStatus) -> tuple[JobState, str | None, int | None]:
    """State, reason, exit code."""
    return status.state, status.reason, status.exit_code


def accounted(job: Job) -> dict[str, str]:
    """What the accounting says about a job, which it does a moment after its end."""
    words = ["qacct", "-j", str(job.native_id)]
    until(lambda: subprocess.run(words, capture_output=True).returncode == 0, 30)
    lines = output(*words).splitlines()
    return {line.split()[0]: " ".join(line.split()[1:]) for line in lines if " " in line}
