"""Flux: an agent on each node of an instance, and ranks of tasks as jobs of it."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import subprocess
from collections import Counter
from typing import Any, ClassVar

from exaworks.tasks.cluster.engine import ClusterEngine
from exaworks.tasks.cluster.launch import Launch, ProcessSource
from exaworks.tasks.engine import Features
from exaworks.tasks.engines import flux_ranks
from exaworks.tasks.errors import EngineFailed, InvalidTaskError, UnsupportedError
from exaworks.tasks.scheduler import Placement
from exaworks.tasks.spec import TaskSpec

__all__ = ["FluxEngine", "FluxLaunch"]

_SECONDS_TO_ANSWER = 60.0

# Run once on each node by a broker: $0-RANK is a new folder on that node, and the arguments are the
# agent. An agent is told how many cores Flux has there (flux-R(1)), since that need not be as many
# as the system has, and at most as many as the batch job. Its name has the rank of the broker, as
# several may be on one host. What the batch system says of the node where the program runs is not
# true here. An agent ends with its broker, which it notices by the end of its standard input: that
# comes from a client of the broker that waits for an event that never comes. When the agent has
# ended, in whatever way, jobs with ranks that it has started are cancelled.
_AGENT = """\
rank=$(flux getattr rank) && folder=$0-$rank && mkdir -m 700 "$folder" || exit
printf '%s\\n' "$FLUX_URI" "$(command -v flux)" >"$folder/instance"
EXAWORKS_FLUX_NODE="$(flux getattr hostname) (rank $rank)"
cores=$(flux kvs get resource.R | flux R decode --include="$rank" --count=core)
most=${EXAWORKS_FLUX_MOST:-$cores}
EXAWORKS_FLUX_CORES=$((most < cores ? most : cores))
export EXAWORKS_FLUX_NODE EXAWORKS_FLUX_CORES
unset HOSTNAME SLURMD_NODENAME SLURM_NODEID SLURM_PROCID SLURM_LOCALID
mkfifo "$folder/broker"
(trap '' INT TERM; exec flux event sub exaworks.none) >"$folder/broker" 2>/dev/null &
client=$!
trap : INT TERM
"$@" <"$folder/broker"
code=$?
kill -KILL "$client"
for job in "$folder"/job.*; do
    [ ! -e "$job" ] || flux job raise --type=cancel --severity=0 "$(cat "$job")"
done
rm -rf "$folder"
exit $code
"""

# Run in a batch job: $0 is the number of nodes, and the arguments are the initial program of an
# instance over all of them. In a job of Flux each node runs this already. Slurm's plugin pmi2
# serves Flux's own client, too. Slurm need not confine Flux to the cores of the job, and Flux hides
# Slurm's variables from its initial program.
_START = """\
if [ -n "$FLUX_JOB_ID" ]; then
    set -- flux start "$@"
elif [ -n "$SLURM_JOB_ID" ]; then
    export EXAWORKS_FLUX_MOST="$SLURM_CPUS_ON_NODE"
    set -- srun --nodes="$0" --ntasks="$0" --ntasks-per-node=1 --mpi=pmi2 --overlap \\
        --cpu-bind=none --mem=0 --input=none --kill-on-bad-exit=0 --wait=0 --export=ALL \\
        flux start "$@"
elif [ "$0" = 1 ]; then
    set -- flux start "$@"
else
    set -- mpiexec -n "$0" -ppn 1 flux start "$@"
fi
exec "$@"
"""

# The initial program. Without a PMI that fits, each broker is an instance of its own.
_CHECK = """\
[ "$(flux getattr size)" = "$0" ] || {
    echo "Flux has started over $(flux getattr size) of $0 nodes: it has found no PMI" >&2
    exit 1
}
exec "$@"
"""


class FluxLaunch(Launch):
    """With flux-exec(1), which starts agents beside Flux's jobs, so that they take no cores.

    The ranks of a task are a job of Flux, on the brokers that the engine has chosen.
    """

    name: ClassVar[str] = "flux"
    can_spread: ClassVar[bool] = True
    settings: ClassVar[dict[str, Any]] = {
        "cores_from": "EXAWORKS_FLUX_CORES",
        "name_from": "EXAWORKS_FLUX_NODE",
        "parent": True,
    }

    def __init__(self, brokers: str | None = None) -> None:
        """Choose a folder.

        Args:
            brokers: their ranks in the instance that is there, as an idset (Flux RFC 22);
                ``None``: an instance is started over the nodes of a batch job.
        """
        self._brokers = brokers
        self._folder = f"/tmp/exaworks-flux-{secrets.token_hex(8)}"  # and -RANK, on each node
        self._python = "python3"

    def words(self, agent: list[str], nodes: int) -> list[str]:
        """See :meth:`Launch.words`. The environment goes with them through Flux's messages."""
        self._python = agent[0]
        start = [
            "flux", "exec", "--noinput", "--dir=/", f"--rank={self._brokers or 'all'}",
            "sh", "-c", _AGENT, self._folder, *agent,
        ]  # fmt: skip
        if self._brokers is not None:
            return start
        return ["sh", "-c", _START, str(nodes), "sh", "-c", _CHECK, str(nodes), *start]

    def launcher(self, executor: str) -> str:
        """See :meth:`Launch.launcher`.

        In a job of Flux each node runs them, so that the brokers find each other by its PMI.
        """
        return "multiple" if executor == "flux" else super().launcher(executor)

    def check(self, spec: TaskSpec) -> None:
        """See :meth:`Launch.check`."""
        if spec.gpus:
            raise UnsupportedError(
                "Flux would choose other GPUs for ranks than this engine: launch ranks with GPUs "
                "with launcher='mpirun', on one node"
            )

    def spread(self, spec: TaskSpec, placement: Placement, names: dict[int, str]) -> list[str]:
        """See :meth:`Launch.spread`. The engine has decided which rank is where."""
        counts = Counter(rank.node for rank in placement.ranks)
        brokers = [(rank_in(names[node]), count) for node, count in counts.items()]
        wanted = {
            "brokers": brokers, "cores": spec.cores, "name": spec.title, "grace": spec.grace,
        }  # fmt: skip
        return [
            self._python, "-I", "-S", os.path.abspath(flux_ranks.__file__),
            f"{self._folder}-{brokers[0][0]}", json.dumps(wanted),
        ]  # fmt: skip


def rank_in(name: str) -> int:
    """The rank of a broker, from what its agent is called: ``"node3 (rank 7)"``."""
    return int(name.rpartition("(rank ")[2].rstrip(")"))


class FluxEngine(ClusterEngine):
    """Runs tasks on the nodes of the Flux instance that ``FLUX_URI`` names.

    ::

        flux alloc --nodes=4 python program.py

        with FluxEngine() as engine:
            ...

    An agent is started on each node beside Flux's jobs: a task costs no job, whose shell alone
    takes 27 ms of CPU, and the cores stay free for jobs. So Flux does not know of tasks: others
    should not submit to that instance meanwhile. Commands of several ranks are jobs of Flux, with
    its PMI, over as many nodes as they need.
    """

    name: ClassVar[str] = "flux"
    features: ClassVar[Features] = Features(
        "on the nodes of a Flux instance", spread=True, several_nodes=True, allocation=True
    )
    launch_in_job: ClassVar[type[Launch]] = FluxLaunch

    def __init__(self, nodes: int | None = None, **settings: Any) -> None:
        """Start agents.

        Args:
            nodes: on how many nodes of the instance; ``None``: all that are up.
            settings: see :class:`ClusterEngine`.

        Raises:
            EngineFailed: there is no instance, it has fewer nodes, or does not let us in.
            InvalidTaskError: a value makes no sense.
        """
        if nodes is not None and (type(nodes) is not int or nodes < 1):
            raise InvalidTaskError(f"nodes must be a whole number of at least 1, not {nodes!r}")
        reason = self.unusable()
        if reason is not None:
            raise EngineFailed(reason)
        up = brokers_up()
        if nodes is not None and len(up) < nodes:
            raise EngineFailed(f"of the Flux instance, {len(up)} nodes are up; {nodes} are wanted")
        chosen = up[:nodes]
        launch = FluxLaunch(",".join(map(str, chosen)))
        source = ProcessSource(launch, len(chosen), f"flux instance {os.environ['FLUX_URI']}")
        super().__init__([source], launch=launch, **settings)

    @classmethod
    def unusable(cls) -> str | None:
        """See :meth:`Engine.unusable`. Tries to connect, unless that needs ``ssh``."""
        if shutil.which("flux") is None:
            return "there is no flux in PATH"
        if "FLUX_URI" not in os.environ:
            return (
                "this program runs in no Flux instance (FLUX_URI is not set): start it with "
                "flux alloc or flux start, or get an instance with Allocation(executor='flux')"
            )
        from exaworks.psij.executors.flux.executor import FluxJobExecutor

        return FluxJobExecutor.unusable()


def brokers_up() -> list[int]:
    """The ranks of the brokers whose nodes can run jobs, in ascending order.

    Raises:
        EngineFailed: the instance does not tell, or there are none.
    """
    words = ["flux", "resource", "list", "--states=up", "--no-header", "--format={ranks}"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS_TO_ANSWER)
    except (OSError, subprocess.SubprocessError) as problem:
        raise EngineFailed(f"{shlex.join(words)}: {problem}") from problem
    if done.returncode or not done.stdout.strip():
        raise EngineFailed(f"no node of the Flux instance is up: {done.stderr.strip()}")
    found: set[int] = set()
    for part in ",".join(done.stdout.split()).split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return sorted(found)
