"""One contestant of benchmarks/tasks.py: runs one test and prints figures as JSON."""

from __future__ import annotations

import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

WORKERS = 2


def nothing() -> None:
    """The task."""


def twice(array: Any) -> Any:
    return array * 2


def true() -> int:
    import subprocess  # Parsl sends functions without what their module has imported

    return subprocess.call(["/bin/true"])


@contextmanager
def exaworks() -> Iterator[Executor]:
    from exaworks.tasks import LocalEngine

    with LocalEngine(WORKERS, gpus=1) as engine:
        yield engine


@contextmanager
def allocation() -> Iterator[Executor]:
    from exaworks.tasks import Allocation

    with Allocation(cores_per_node=WORKERS) as engine:
        engine.wait_ready()
        yield engine


@contextmanager
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(WORKERS) as pool:
        yield pool


@contextmanager
def loky() -> Iterator[Executor]:
    from loky import get_reusable_executor

    with get_reusable_executor(max_workers=WORKERS) as executor:
        yield executor


@contextmanager
def executorlib() -> Iterator[Executor]:
    from executorlib import SingleNodeExecutor

    with SingleNodeExecutor(max_workers=WORKERS, block_allocation=True) as pool:
        yield pool


@contextmanager
def dask_cluster() -> Iterator[Any]:
    from distributed import LocalCluster

    with LocalCluster(
        n_workers=WORKERS, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        yield cluster


@contextmanager
def dask() -> Iterator[Executor]:
    from distributed import Client

    with dask_cluster() as cluster, Client(cluster) as client:
        yield client.get_executor(pure=False)


@contextmanager
def on_dask() -> Iterator[Executor]:
    from exaworks.tasks.engines.dask import DaskEngine

    with dask_cluster() as cluster, DaskEngine(cluster, address="127.0.0.1") as engine:
        engine.wait_ready()
        yield engine


@contextmanager
def mpi() -> Iterator[Executor]:
    from mpi4py.futures import MPIPoolExecutor

    with MPIPoolExecutor(WORKERS) as pool:
        yield pool


@contextmanager
def on_mpi() -> Iterator[Executor]:
    from exaworks.tasks.engines.mpi import MPIEngine

    with MPIEngine(1, address="127.0.0.1", cores_per_node=WORKERS) as engine:
        engine.wait_ready()
        yield engine


@contextmanager
def on_radical() -> Iterator[Executor]:
    from exaworks.tasks.engines.radical import RadicalEngine

    with RadicalEngine(address="127.0.0.1", cores_per_node=WORKERS) as engine:
        engine.wait_ready()
        yield engine


@contextmanager
def htex_executor() -> Iterator[Any]:
    import tempfile

    import parsl
    from parsl.config import Config
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    with tempfile.TemporaryDirectory() as folder:
        executor = HighThroughputExecutor(
            max_workers_per_node=WORKERS,
            cores_per_worker=1,
            address="127.0.0.1",
            provider=LocalProvider(init_blocks=1, max_blocks=1),
        )
        parsl.load(Config(executors=[executor], run_dir=folder, initialize_logging=False))
        try:
            yield executor
        finally:
            parsl.dfk().cleanup()
            parsl.clear()


@contextmanager
def htex() -> Iterator[Any]:
    with htex_executor() as executor:

        class Htex:
            def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
                return executor.submit(fn, {}, *args)

        yield Htex()


@contextmanager
def on_htex() -> Iterator[Executor]:
    from exaworks.tasks.engines.parsl import ParslEngine

    with (
        htex_executor() as executor,
        ParslEngine(executor, address="127.0.0.1", cores_per_node=WORKERS) as engine,
    ):
        engine.wait_ready()
        yield engine


CONTESTANTS = {
    "exaworks": exaworks,
    "allocation": allocation,
    "executorlib": executorlib,
    "mpi4py.futures": mpi,
    "exaworks on dask": on_dask,
    "exaworks on parsl-htex": on_htex,
    "exaworks on mpi": on_mpi,
    "exaworks on radical": on_radical,
    "ProcessPoolExecutor": processes,
    "loky": loky,
    "dask": dask,
    "parsl-htex": htex,
}


def functions(pool: Any, count: int) -> dict[str, float]:
    begun = time.perf_counter()
    futures = [pool.submit(nothing) for _ in range(count)]
    for future in futures:
        future.result()
    return {"rate": count / (time.perf_counter() - begun)}


def commands(pool: Any, count: int) -> dict[str, float]:
    begun = time.perf_counter()
    if hasattr(pool, "launch_many"):
        from exaworks.tasks import TaskSpec

        futures = pool.launch_many([TaskSpec(["/bin/true"]) for _ in range(count)])
    else:
        futures = [pool.submit(true) for _ in range(count)]
    for future in futures:
        future.result()
    return {"rate": count / (time.perf_counter() - begun)}


def latency(pool: Any, count: int) -> dict[str, float]:
    seconds = []
    for _ in range(count):
        begun = time.perf_counter()
        pool.submit(nothing).result()
        seconds.append(time.perf_counter() - begun)
    return {"median_ms": statistics.median(seconds) * 1e3}


def arrays(pool: Any, count: int) -> dict[str, float]:
    import numpy

    array = numpy.ones(1_000_000)
    pool.submit(twice, array).result()
    begun = time.perf_counter()
    for _ in range(count):
        assert pool.submit(twice, array).result()[-1] == 2
    return {"ms": (time.perf_counter() - begun) / count * 1e3}


def die() -> float:
    """Ends its process; the parent is told when, by a file that both know."""
    with open(os.environ["EXAWORKS_BENCHMARK_DEATH"], "w") as file:
        file.write(repr(time.time()))
    os.kill(os.getpid(), signal.SIGKILL)
    return 0.0


def killed(pool: Any, count: int) -> dict[str, float]:
    """How long it takes from the end of a worker until its task has failed."""
    seconds = []
    for _ in range(count):
        # A worker that dies before it has served anybody is replaced only after a pause.
        for future in [pool.submit(time.sleep, 0.01) for _ in range(WORKERS * 3)]:
            future.result()
        problem = pool.submit(die).exception()
        seen = time.time()
        assert problem is not None
        with open(os.environ["EXAWORKS_BENCHMARK_DEATH"]) as file:
            seconds.append(seen - float(file.read()))
    return {"median_ms": statistics.median(seconds) * 1e3}


def mix(pool: Any, count: int) -> dict[str, float]:
    """Commands of one core, two cores, a GPU that is pretended, and two ranks: cores in use."""
    from exaworks.tasks import TaskSpec

    kinds: tuple[dict[str, Any], ...] = (
        {}, {}, {}, {"cores": 2}, {"gpus": 1}, {"gpus": 0.5}, {"ranks": 2, "launcher": "multiple"},
    )  # fmt: skip
    specs = [TaskSpec(["sleep", "0.05"], **kinds[n % len(kinds)]) for n in range(count)]
    begun = time.perf_counter()
    used = 0.0
    for spec, future in zip(specs, pool.launch_many(specs), strict=True):
        result = future.result()
        used += (result.ended - result.started) * spec.cores * spec.ranks
    return {"percent": used / (time.perf_counter() - begun) / WORKERS * 100}


def memory(pool: Any, count: int) -> dict[str, float]:
    """Bytes of this process for each function that waits."""
    blockers = [pool.submit(time.sleep, 0.5) for _ in range(WORKERS * 2)]
    before = resident()
    futures = [pool.submit(nothing) for _ in range(count)]
    grown = resident() - before
    for future in (*blockers, *futures):
        future.result()
    return {"bytes": grown / count}


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def radical(count: int) -> dict[str, float]:
    """/bin/true as tasks of RADICAL-Pilot itself."""
    import tempfile

    os.environ.setdefault("VIRTUAL_ENV", sys.prefix)
    os.environ["RADICAL_PROFILE"] = "False"
    import radical.pilot as rp

    with tempfile.TemporaryDirectory() as base:
        session = rp.Session(cfg={"base": base})
        try:
            pilots, manager = rp.PilotManager(session), rp.TaskManager(session)
            pilot = pilots.submit_pilots(
                rp.PilotDescription(
                    {"resource": "local.localhost", "cores": WORKERS, "runtime": 30}
                )
            )
            manager.add_pilots(pilot)
            pilot.wait(rp.PMGR_ACTIVE)
            begun = time.perf_counter()
            manager.submit_tasks(
                [rp.TaskDescription({"executable": "/bin/true"}) for _ in range(count)]
            )
            manager.wait_tasks()
            return {"rate": count / (time.perf_counter() - begun)}
        finally:
            session.close(download=False)


def floor(count: int) -> dict[str, float]:
    """Two plain spawners: processes that do nothing but posix_spawn and wait, two at a time."""
    text = (
        "import os,sys\n"
        "n=int(sys.argv[1]); left=0\n"
        "for i in range(n):\n"
        "    os.posix_spawn('/bin/true',['/bin/true'],os.environ); left+=1\n"
        "    if left==2: os.wait(); left-=1\n"
        "while left: os.wait(); left-=1\n"
    )
    begun = time.perf_counter()
    spawners = [
        subprocess.Popen([sys.executable, "-S", "-c", text, str(count // 2)]) for _ in range(2)
    ]
    for spawner in spawners:
        spawner.wait()
    return {"rate": count // 2 * 2 / (time.perf_counter() - begun)}


def hyperqueue(count: int) -> dict[str, float]:
    import tempfile

    from hyperqueue import Job, LocalCluster
    from hyperqueue.cluster import WorkerConfig

    with tempfile.TemporaryDirectory() as folder, LocalCluster(server_dir=folder) as cluster:
        cluster.start_worker(WorkerConfig(cores=WORKERS))
        client = cluster.client()

        def run(number: int) -> None:
            job = Job()
            for _ in range(number):
                job.program(["/bin/true"], stdout=None, stderr=None)
            client.wait_for_jobs([client.submit(job)])

        run(1)
        begun = time.perf_counter()
        run(count)
        return {"rate": count / (time.perf_counter() - begun)}


def parallel(count: int) -> dict[str, float]:
    words = "\n".join(str(n) for n in range(count)).encode()
    begun = time.perf_counter()
    subprocess.run(
        ["parallel", f"-j{WORKERS}", "/bin/true"], input=words, check=True, capture_output=True
    )
    return {"rate": count / (time.perf_counter() - begun)}


def cpu() -> float:
    """CPU seconds of this process and of all that it has waited for."""
    both = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def main() -> None:
    contestant, test, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    test = "functions" if test == "functions-through" else test
    test = "commands" if test == "commands-through" else test
    os.environ["EXAWORKS_BENCHMARK_DEATH"] = f"/tmp/exaworks-benchmark-{os.getpid()}"
    alone: dict[str, Callable[[int], dict[str, float]]] = {
        "floor": floor, "hyperqueue": hyperqueue, "GNU parallel": parallel, "radical": radical,
    }  # fmt: skip
    if contestant in alone:
        before = cpu()
        figures = alone[contestant](count)
        figures["cpu_us"] = (cpu() - before) / count * 1e6
    else:
        tests = {
            "functions": functions, "commands": commands, "latency": latency, "arrays": arrays,
            "killed": killed, "mix": mix, "memory": memory,
        }  # fmt: skip
        started = time.perf_counter()
        with CONTESTANTS[contestant]() as pool:
            pool.submit(nothing).result()
            ready = time.perf_counter() - started
            for future in [pool.submit(nothing) for _ in range(50)]:
                future.result()
            if test == "commands":
                commands(pool, 20)
            before = cpu()
            figures = tests[test](pool, count) if test != "start" else {}
            figures["start_s"] = ready
        if count:
            figures["cpu_us"] = (cpu() - before) / count * 1e6
    print(json.dumps(figures), flush=True)
    if threading.active_count() > 1:
        os._exit(0)


if __name__ == "__main__":
    main()
