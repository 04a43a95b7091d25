"""PSI/J jobs inside an engine: many small jobs in one allocation, without the queue of the site.

::

    from exaworks.psij import Job, JobSpec
    from exaworks.tasks import LocalEngine
    from exaworks.tasks.nested import EngineJobExecutor

    with LocalEngine() as engine:
        executor = EngineJobExecutor(engine)
        jobs = [Job(JobSpec("/bin/sh", ["-c", f"exit {n}"])) for n in range(3)]
        executor.submit_many(jobs)
        print([job.wait().exit_code for job in jobs])
"""

from exaworks.tasks.nested.executor import EngineJobExecutor

__all__ = ["EngineJobExecutor"]
