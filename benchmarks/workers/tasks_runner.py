"""One contestant of benchmarks/tasks.py: runs one test and prints figures as JSON."""

from __future__ import annotations

import json
import os
import resource
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
    return subprocess.call(["/bin/true"])


@contextmanager
def exaworks() -> Iterator[Executor]:
    from exaworks.tasks import LocalEngine

    with LocalEngine(WORKERS) as engine:
        yield engine


@contextmanager
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(WORKERS) as pool:
        yield pool


@contextmanager
def loky() -> Iterator[Executor]:
    from loky import get_reusable_executor

    executor = get_reusable_executor(max_workers=WORKERS)
    yield executor
    executor.shutdown()


@contextmanager
def dask() -> Iterator[Executor]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        yield client.get_executor(pure=False)


@contextmanager
def htex() -> Iterator[Any]:
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

        class Htex:
            def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
                return executor.submit(fn, {}, *args)

        yield Htex()
        parsl.dfk().cleanup()
        parsl.clear()


CONTESTANTS = {
    "exaworks": exaworks,
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
    alone: dict[str, Callable[[int], dict[str, float]]] = {
        "floor": floor, "hyperqueue": hyperqueue, "GNU parallel": parallel,
    }  # fmt: skip
    if contestant in alone:
        before = cpu()
        figures = alone[contestant](count)
        figures["cpu_us"] = (cpu() - before) / count * 1e6
    else:
        tests = {
            "functions": functions, "commands": commands, "latency": latency, "arrays": arrays,
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
