"""Slurm: an agent on each node of a job, and ranks of tasks as steps (srun)."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from typing import Any, ClassVar

from exaworks.tasks.cluster.engine import ClusterEngine
from exaworks.tasks.cluster.launch import Launch, ProcessSource
from exaworks.tasks.engine import Features
from exaworks.tasks.errors import EngineFailed, UnsupportedError
from exaworks.tasks.scheduler import Placement
from exaworks.tasks.spec import TaskSpec

__all__ = ["SlurmEngine", "SlurmLaunch"]


# An srun that is killed leaves its ranks. So some time after SIGTERM, which it passes on, they are
# killed by the name of the step.
_STEP = """
grace=$1
shift
insist() {
    sleep "$grace"
    squeue -h -s -j "$SLURM_JOB_ID" -o '%i %j' | while read -r step name; do
        [ "$name" != "$EXAWORKS_TASK_ID" ] || scancel -s KILL "$step"
    done
}
trap 'trap "" TERM; insist &' TERM
srun --job-name="$EXAWORKS_TASK_ID" "$@" <&0 &
srun=$!
while :; do
    wait $srun
    code=$?
    kill -0 $srun 2>/dev/null || exit $code
done
"""


class SlurmLaunch(Launch):
    """With srun (srun(1)); what a step may use is not taken from other steps (``--overlap``)."""

    name: ClassVar[str] = "srun"
    can_spread: ClassVar[bool] = True
    settings: ClassVar[dict[str, Any]] = {"cores_from": "SLURM_CPUS_ON_NODE"}
    # The job goes on with the other nodes when one fails (sbatch(1)).
    attributes: ClassVar[dict[str, Any]] = {"slurm.no-kill": None}

    def words(self, agent: list[str], nodes: int) -> list[str]:
        """See :meth:`Launch.words`."""
        return [
            "srun", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1", "--overlap",
            "--cpu-bind=none", "--mem=0", "--input=none", "--kill-on-bad-exit=0", "--wait=0",
            "--no-kill", "--export=ALL", *agent,
        ]  # fmt: skip

    def check(self, spec: TaskSpec) -> None:
        """See :meth:`Launch.check`."""
        if spec.gpus and spec.ranks > 1:
            raise UnsupportedError(
                "ranks that are started by srun share the GPUs of their node: launch ranks with "
                "GPUs with launcher='mpirun', on one node"
            )

    def spread(self, spec: TaskSpec, placement: Placement, names: dict[int, str]) -> list[str]:
        """See :meth:`Launch.spread`. The engine has decided which rank is where."""
        counts = Counter(rank.node for rank in placement.ranks)
        hosts = ",".join(names[node] for node, count in counts.items() for _ in range(count))
        return [
            "/bin/sh", "-c", _STEP, "sh", f"{spec.grace:g}",
            f"--nodes={len(counts)}", f"--ntasks={spec.ranks}", f"--nodelist={hosts}",
            "--distribution=arbitrary", f"--cpus-per-task={spec.cores}", "--overlap",
            "--cpu-bind=none", "--mem=0", "--input=none" if spec.stdin is None else "--input=all",
            "--export=ALL",
        ]  # fmt: skip


class SlurmEngine(ClusterEngine):
    """Runs tasks on the nodes of the Slurm job that this program runs in.

    An agent is started on each node by one step. So tasks cost no steps, of which Slurm runs some
    tens a second and, on some machines, only so many at a time. Commands of several ranks are
    steps, over as many nodes as they need.
    """

    name: ClassVar[str] = "slurm"
    features: ClassVar[Features] = Features(
        "on the nodes of a Slurm job", spread=True, several_nodes=True, allocation=True
    )
    launch_in_job: ClassVar[type[Launch]] = SlurmLaunch

    def __init__(self, nodes: int | None = None, **settings: Any) -> None:
        """Start agents.

        Args:
            nodes: on how many nodes of the job; ``None``: all.
            settings: see :class:`ClusterEngine`.

        Raises:
            EngineFailed: this is no Slurm job, or srun cannot be run.
            InvalidTaskError: a value makes no sense.
        """
        reason = self.unusable()
        if reason is not None:
            raise EngineFailed(reason)
        count = int(os.environ.get("SLURM_JOB_NUM_NODES") or os.environ.get("SLURM_NNODES") or 1)
        launch = SlurmLaunch()
        source = ProcessSource(
            launch, count if nodes is None else nodes, f"slurm job {os.environ['SLURM_JOB_ID']}"
        )
        super().__init__([source], launch=launch, **settings)

    @classmethod
    def unusable(cls) -> str | None:
        """See :meth:`Engine.unusable`."""
        if shutil.which("srun") is None:
            return "there is no srun in PATH"
        if "SLURM_JOB_ID" not in os.environ:
            return (
                "this is no Slurm job (SLURM_JOB_ID is not set): get one with "
                "Allocation(executor='slurm') or salloc"
            )
        return None
