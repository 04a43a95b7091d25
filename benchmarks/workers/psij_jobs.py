"""One contestant of benchmarks/psij.py, in a process of its own; prints one line of JSON.

usage: psij_jobs.py MODULE EXECUTOR TEST COUNT

MODULE is exaworks.psij, psij, or floor (a bare loop of os.posix_spawn and wait, no library). Only
what both libraries have is used, but for TEST "bulk" (submit_many).
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

TRUE = "/bin/true"


def own_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def keeper_cpu(home: str | None) -> float:
    """CPU seconds of the keeper of ExaWorks jobs and of the jobs it has reaped."""
    total = 0.0
    ticks = os.sysconf("SC_CLK_TCK")
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if home is None or home not in (entry / "cmdline").read_text():
                continue
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        total += sum(map(int, fields[11:15])) / ticks
    return total


def rss_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def floor(count: int) -> dict[str, Any]:
    """One spawning thread: start a process, wait for it, start the next."""
    begin, cpu = time.perf_counter(), own_cpu() + children_cpu()
    for _ in range(count):
        pid = os.posix_spawn(TRUE, [TRUE], os.environ)
        os.waitpid(pid, 0)
    spent = time.perf_counter() - begin
    used = own_cpu() + children_cpu() - cpu
    return {"completed/s": count / spent, "CPU ms/job": 1000 * used / count}


class Watch:
    """Notes when callbacks came."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.submitted: dict[str, float] = {}
        self.active: dict[str, float] = {}
        self.final: dict[str, float] = {}
        self.bad: list[str] = []
        self.threads = 0
        self.done = threading.Event()

    def __call__(self, job: Any, status: Any) -> None:
        now = time.time()
        if status.state.name == "ACTIVE":
            self.active[job.id] = now
        elif status.final:
            self.final[job.id] = now
            if status.state.name != "COMPLETED":
                self.bad.append(str(status))
            if len(self.final) == self.count:
                self.threads = threading.active_count()
                self.done.set()


def milliseconds(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    return {
        "median": 1000 * statistics.median(ordered),
        "p99": 1000 * ordered[int(0.99 * (len(ordered) - 1))],
    }


def jobs(module: Any, executor: Any, count: int, bulk: bool) -> dict[str, Any]:
    """No-op jobs, submitted in a loop or in bulk."""
    watch = Watch(count)
    executor.set_job_status_callback(watch)
    home = os.environ.get("EXAWORKS_HOME")
    # the first job starts what has to be started once
    first = module.Job(module.JobSpec(executable=TRUE))
    watch.count = 1
    executor.submit(first)
    if not watch.done.wait(600):
        raise SystemExit("the first job has not ended")
    watch.__init__(count)  # type: ignore[misc]
    before = rss_kib()
    everything = [module.Job(module.JobSpec(executable=TRUE)) for _ in range(count)]
    cpu, cpu_all = own_cpu(), own_cpu() + children_cpu() + keeper_cpu(home)
    begin = time.time()
    if bulk:
        executor.submit_many(everything)
        watch.submitted = {job.id: begin for job in everything}
    else:
        for job in everything:
            watch.submitted[job.id] = time.time()
            executor.submit(job)
    submitted = time.time()
    threads = threading.active_count()
    if not watch.done.wait(1800):
        raise SystemExit(f"only {len(watch.final)} of {count} jobs have ended")
    end = max(watch.final.values())
    used, used_all = own_cpu() - cpu, own_cpu() + children_cpu() + keeper_cpu(home) - cpu_all
    return {
        "submitted/s": count / (submitted - begin),
        "completed/s": count / (end - begin),
        "last completion s": end - begin,
        "submit to ACTIVE ms": milliseconds(
            [watch.active[i] - watch.submitted[i] for i in watch.active]
        )
        if watch.active
        else None,
        "submit to end ms": milliseconds(
            [watch.final[i] - watch.submitted[i] for i in watch.final]
        ),
        "CPU ms/job": 1000 * used_all / count,
        "own CPU ms/job": 1000 * used / count,
        "KiB/job": (rss_kib() - before) / count,
        "threads": max(threads, watch.threads),
        "not completed": len(watch.bad),
    }


def latency(module: Any, executor: Any, count: int, pause: float) -> dict[str, Any]:
    """From the end of a job to its callback: each job writes down when it ends."""
    watch = Watch(count)
    executor.set_job_status_callback(watch)
    folder = Path(tempfile.mkdtemp(dir=os.environ.get("BENCHMARK_SHARED")))
    names = {}
    for i in range(count):
        wait = f"sleep {pause * (1 + i % 5)}; " if pause else ""
        script = f"{wait}date +%s.%N > '{folder}/{i}'"
        job = module.Job(module.JobSpec(executable="/bin/sh", arguments=["-c", script]))
        names[job.id] = folder / str(i)
        executor.submit(job)
    if not watch.done.wait(600):
        raise SystemExit(f"only {len(watch.final)} of {count} jobs have ended")
    ended = {i: float(path.read_text()) for i, path in names.items()}
    return {"end to callback ms": milliseconds([watch.final[i] - ended[i] for i in ended])}


def watching(module: Any, executor: Any, count: int) -> dict[str, Any]:
    """Attach to jobs that wait in the queue, and do nothing else for some time.

    Their ids are in the file BENCHMARK_IDS, one a line; BENCHMARK_SECONDS says how long.
    """
    ids = Path(os.environ["BENCHMARK_IDS"]).read_text().split()[:count]
    queued = threading.Event()
    seen = set()

    def changed(job: Any, status: Any) -> None:
        seen.add(job.id)
        if len(seen) == count:
            queued.set()

    executor.set_job_status_callback(changed)
    cpu, begin = own_cpu() + children_cpu(), time.time()
    jobs = [module.Job() for _ in ids]
    for job, native_id in zip(jobs, ids, strict=True):
        executor.attach(job, native_id)
    if not queued.wait(300):
        raise SystemExit(f"only {len(seen)} of {count} jobs were seen")
    known = time.time() - begin
    time.sleep(float(os.environ["BENCHMARK_SECONDS"]))
    return {
        "all states known s": known,
        "CPU s": own_cpu() + children_cpu() - cpu,
        "threads": threading.active_count(),
    }


def main() -> None:
    name, backend, test, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    if name == "floor":
        print(json.dumps(floor(count)))
        return
    module = importlib.import_module(name)
    executor = module.JobExecutor.get_instance(backend)
    if test == "watch":
        result = watching(module, executor, count)
    elif test == "latency":
        result = latency(module, executor, count, pause=1.0 if backend != "local" else 0.0)
    else:
        result = jobs(module, executor, count, test == "bulk")
    print(json.dumps(result))


if __name__ == "__main__":
    main()
