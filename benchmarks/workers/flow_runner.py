"""One contestant of benchmarks/flow.py: runs one shape of graph and prints figures as JSON."""

from __future__ import annotations

import gc
import json
import os
import random
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

WORKERS = 2

Submit = Callable[..., Any]


def work(*values: Any) -> int:
    """The task. (To Parsl, a parameter called inputs is something else.)"""
    return 1


@contextmanager
def on_inline() -> Iterator[Submit]:
    from exaworks.flow import Flow
    from exaworks.tasks import InlineEngine

    with Flow(InlineEngine()) as flow:
        yield lambda *values: flow.call(work, *values)


@contextmanager
def on_threads() -> Iterator[Submit]:
    from exaworks.flow import Flow

    with ThreadPoolExecutor(WORKERS) as threads, Flow(threads) as flow:
        yield lambda *values: flow.call(work, *values)


@contextmanager
def on_local() -> Iterator[Submit]:
    from exaworks.flow import Flow
    from exaworks.tasks import LocalEngine

    with LocalEngine(WORKERS) as engine, Flow(engine) as flow:
        yield lambda *values: flow.call(work, *values)


class Nothing(ThreadPoolExecutor):
    """An executor that costs nothing: what is left is the graph."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:  # type: ignore[override]
        return ONE


ONE: Future[Any] = Future()
ONE.set_result(1)


@contextmanager
def on_nothing() -> Iterator[Submit]:
    from exaworks.flow import Flow

    with Nothing(1) as nothing, Flow(nothing) as flow:
        yield lambda *values: flow.call(work, *values)


@contextmanager
def parsl(executor: Any, logging: bool) -> Iterator[Submit]:
    import parsl
    from parsl.config import Config

    with tempfile.TemporaryDirectory() as folder:
        config = Config(executors=[executor], run_dir=folder, initialize_logging=logging)
        parsl.load(config)
        try:
            yield parsl.python_app(work)
        finally:
            parsl.dfk().cleanup()
            parsl.clear()


def parsl_threads(logging: bool) -> Any:
    from parsl.executors import ThreadPoolExecutor as Threads

    return parsl(Threads(max_threads=WORKERS), logging)


def parsl_htex() -> Any:
    from parsl.executors import HighThroughputExecutor
    from parsl.providers import LocalProvider

    executor = HighThroughputExecutor(
        max_workers_per_node=WORKERS,
        address="127.0.0.1",
        provider=LocalProvider(init_blocks=1, max_blocks=1),
    )
    return parsl(executor, False)


@contextmanager
def dask_futures() -> Iterator[Submit]:
    from distributed import Client, LocalCluster

    with (
        LocalCluster(
            n_workers=WORKERS, threads_per_worker=1, dashboard_address=None, silence_logs=50
        ) as cluster,
        Client(cluster) as client,
    ):
        yield lambda *values: client.submit(work, *values, pure=False)


CONTESTANTS: dict[str, Callable[[], Any]] = {
    "exaworks, the graph alone": on_nothing,
    "exaworks on inline": on_inline,
    "exaworks on threads": on_threads,
    "exaworks on local": on_local,
    "parsl on threads, no log": lambda: parsl_threads(False),
    "parsl on threads": lambda: parsl_threads(True),
    "parsl on HTEX, no log": parsl_htex,
    "dask futures": dask_futures,
}


def bag(submit: Submit, count: int) -> list[Any]:
    return [submit() for _ in range(count)]


def chain(submit: Submit, count: int) -> list[Any]:
    last = submit()
    for _ in range(count - 1):
        last = submit(last)
    return [last]


def fan(submit: Submit, count: int) -> list[Any]:
    """One, then many, then one."""
    first = submit()
    return [submit(*[submit(first) for _ in range(count - 2)])]


def stencil(submit: Submit, count: int) -> list[Any]:
    """Each of a row of a hundred needs three of the row before."""
    row = [submit() for _ in range(100)]
    for _ in range(count // 100 - 1):
        row = [submit(*row[max(0, i - 1) : i + 2]) for i in range(100)]
    return row


def dag(submit: Submit, count: int) -> list[Any]:
    """Each needs up to three of the thousand before, at random."""
    rng = random.Random(1)
    calls: list[Any] = []
    for number in range(count):
        before = calls[-1000:]
        calls.append(submit(*rng.sample(before, min(len(before), number % 4))))
    return calls


SHAPES = {"bag": bag, "chain": chain, "fan": fan, "stencil": stencil, "random": dag}


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def pending(submit: Submit, count: int) -> dict[str, float]:
    """Bytes of this process for each call that waits, and blocks of memory that are left of each.

    That is when all have ended, and one of them is still held.
    """
    gate: Future[Any] = Future()
    first = submit(gate)
    gc.collect()
    before, blocks = resident(), sys.getallocatedblocks()
    calls = [submit(first) for _ in range(count)]
    gc.collect()
    waiting = resident() - before
    gate.set_result(1)
    for call in calls:
        call.result()
    calls = calls[-1:]
    time.sleep(1)
    del call
    gc.collect()
    return {"bytes": waiting / count, "left": (sys.getallocatedblocks() - blocks) / count}


def main() -> None:
    contestant, shape, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
    with CONTESTANTS[contestant]() as submit:
        for call in [submit() for _ in range(20)]:
            call.result()
        begun = time.perf_counter()
        if shape == "pending":
            figures = pending(submit, count)
        else:
            for call in SHAPES[shape](submit, count):
                call.result()
            figures = {"us": (time.perf_counter() - begun) / count * 1e6}
        print(json.dumps(figures), flush=True)
    if threading.active_count() > 1:
        os._exit(0)


if __name__ == "__main__":
    main()
