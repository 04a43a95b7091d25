"""What has become of a job, from what has become of its task."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import Any

from exaworks.psij.executors.batch.report import Report, parse_report
from exaworks.psij.executors.batch.verdict import Tracked, of_report
from exaworks.psij.job_state import JobState
from exaworks.psij.job_status import JobStatus, Reason
from exaworks.tasks.errors import NodeLost, OutOfMemory, TaskFailed, TaskTimeout, WorkerLost
from exaworks.tasks.future import TaskFuture
from exaworks.tasks.result import TaskResult

__all__ = ["canceled", "failed", "result_of", "verdict"]

_TAIL = 400
_WAS_CANCELED = "was cancelled"


def canceled(native_id: str) -> JobStatus:
    """Somebody has asked for it."""
    metadata = {"native_id": native_id, "reason": Reason.CANCELED}
    return JobStatus(JobState.CANCELED, message=_WAS_CANCELED, metadata=metadata)


def failed(native_id: str, reason: str, message: str, exit_code: int | None = None) -> JobStatus:
    """It has not run to an end of its own."""
    metadata = {"native_id": native_id, "reason": reason}
    return JobStatus(JobState.FAILED, None, message, exit_code, metadata)


def result_of(task: TaskFuture[Any]) -> TaskResult | None:
    """How the command of a task that is done has run, if it has."""
    if task.cancelled():
        return None
    problem = task.exception(0)
    found = task.result(0) if problem is None else getattr(problem, "result", None)
    return found if isinstance(found, TaskResult) else None


def verdict(native_id: str, task: TaskFuture[Any], scripted: bool, asked: bool) -> JobStatus:
    """The final status of a job whose task is done.

    Args:
        native_id: the job.
        task: its task.
        scripted: whether the task runs a script that reports how the job ended.
        asked: whether somebody has asked for the job to be cancelled.
    """
    if task.cancelled():
        if asked:
            return canceled(native_id)
        text = "the engine was shut down, or gave up the task, before the job had ended"
        return failed(native_id, Reason.SCHEDULER, text)
    status = _of_outcome(native_id, task.exception(0), result_of(task), scripted)
    if asked and _was_ended(status):  # the engine heard of its end before it was through with that
        metadata = {**(status.metadata or {}), "reason": Reason.CANCELED}
        return JobStatus(JobState.CANCELED, status.time, _WAS_CANCELED, status.exit_code, metadata)
    return status


def _was_ended(status: JobStatus) -> bool:
    """Whether it may have been the engine that has ended a job, or did not start it."""
    if status.reason == Reason.SIGNAL:
        return status.signal in (signal.SIGTERM, signal.SIGKILL)
    return status.reason == Reason.LAUNCH and status.exit_code is None


def _of_outcome(
    native_id: str, problem: BaseException | None, result: TaskResult | None, scripted: bool
) -> JobStatus:
    if result is not None:
        return _of_result(native_id, problem, result, scripted)
    if isinstance(problem, WorkerLost):
        reason = Reason.NODE_FAILURE if isinstance(problem, NodeLost) else Reason.LOST
        return failed(native_id, reason, str(problem))
    if isinstance(problem, TaskFailed):
        return failed(native_id, Reason.LAUNCH, str(problem), problem.exit_code)
    return failed(native_id, Reason.SCHEDULER, f"{type(problem).__name__}: {problem}")


def _of_result(
    native_id: str, problem: BaseException | None, result: TaskResult, scripted: bool
) -> JobStatus:
    report = (_report(result) if scripted else None) or _own_report(result)
    end = of_report(Tracked(native_id, native_id, None, 0.0, nodes=result.node), report)
    state, message, metadata = end.state, end.message, {**end.metadata, "started": result.started}
    if result.signal is None and report.signal is not None:
        # Something has returned a number that looks as if a signal had ended it.
        metadata.pop("signal", None)
        if metadata.get("reason") == Reason.SIGNAL:
            metadata["reason"], message = Reason.EXIT_CODE, f"exit code {report.code}"
    if report.phase not in ("launch", "end"):
        message = _with_tail(message, result)
    if isinstance(problem, (TaskTimeout, OutOfMemory)):
        timeout = isinstance(problem, TaskTimeout)
        metadata["reason"] = Reason.TIMEOUT if timeout else Reason.OUT_OF_MEMORY
        state, message = JobState.FAILED, str(problem)
    if scripted and result.stderr_path is not None:  # there was more than is captured
        if state is JobState.FAILED:
            metadata["log"] = result.stderr_path
        else:
            _remove(result.stderr_path)
    return JobStatus(state, report.time, message, end.exit_code, metadata)


def _report(result: TaskResult) -> Report | None:
    """What the script says; ``None`` if it was killed before it could say anything."""
    printed = result.stdout
    if result.stdout_path is not None:
        with contextlib.suppress(OSError), open(result.stdout_path, "rb") as file:
            printed = file.read()
        _remove(result.stdout_path)
    return parse_report(printed, result.ended)


def _own_report(result: TaskResult) -> Report:
    """What a script would have said."""
    code = 128 + result.signal if result.signal is not None else result.exit_code or 0
    return Report("task", "", result.ended, None, code=code, phase="end")


def _with_tail(message: str | None, result: TaskResult) -> str | None:
    """A message with what a script has printed before it came to that."""
    if message is None:
        return None
    said = result.stderr.decode("utf-8", "replace").strip().removesuffix(message).strip()
    return f"{message}; the end of what was printed: {said[-_TAIL:]}" if said else message


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
