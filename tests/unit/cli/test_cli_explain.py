"""Plain words for why a job waits or has failed."""

from __future__ import annotations

from pathlib import Path

import pytest

from exaworks.cli import slurm_reasons
from exaworks.cli.endings import code_meaning, hints, signal_meaning
from exaworks.cli.explain import Explanation, explain
from exaworks.cli.store import Store
from exaworks.psij import Job, JobAttributes, JobSpec, JobState, JobStatus, Reason

# squeue(1), "JOB REASON CODES", of several versions of Slurm
REASONS = """
AccountNotAllowed AccountingPolicy AssocGrpBB AssocGrpBillingMinutes AssocGrpBilling
AssocGrpCPUMinutesLimit AssocGrpCpuLimit AssocGrpCPURunMinutesLimit AssocGrpGRES
AssocGrpGRESMinutes AssocGrpJobsLimit AssocGrpMemLimit AssocGrpMemRunMinutes AssocGrpNodeLimit
AssocGrpSubmitJobsLimit AssocGrpWallLimit AssociationJobLimit AssociationResourceLimit
AssociationTimeLimit AssocMaxBBMinutesPerJob AssocMaxCpuPerJobLimit AssocMaxCPUMinutesPerJobLimit
AssocMaxGRESPerJob AssocMaxJobsLimit AssocMaxMemPerJob AssocMaxNodePerJobLimit
AssocMaxSubmitJobLimit AssocMaxWallDurationPerJobLimit BadConstraints BeginTime
BurstBufferOperation BurstBufferResources BurstBufferStageIn Cleaning DeadLine Dependency
DependencyNeverSatisfied FrontEndDown InactiveLimit InvalidAccount InvalidQOS JobArrayTaskLimit
JobHeldAdmin JobHeldUser JobHoldMaxRequeue JobLaunchFailure Licenses MaxMemPerLimit NodeDown
NonZeroExitCode None OutOfMemory PartitionConfig PartitionDown PartitionInactive
PartitionNodeLimit PartitionTimeLimit Priority Prolog QOSGrpBB QOSGrpCpuLimit
QOSGrpCPUMinutesLimit QOSGrpGRES QOSGrpJobsLimit QOSGrpMemLimit QOSGrpNodeLimit
QOSGrpSubmitJobsLimit QOSGrpWallLimit QOSJobLimit QOSMaxCpuPerJobLimit QOSMaxCpuPerUserLimit
QOSMaxGRESPerUser QOSMaxJobsPerUserLimit QOSMaxJobsPerAccountLimit QOSMaxMemoryPerJob
QOSMaxNodePerUserLimit QOSMaxSubmitJobPerUserLimit QOSMaxWallDurationPerJobLimit
QOSMinCpuNotSatisfied QOSMinGRES QOSMinMemory QOSNotAllowed QOSResourceLimit QOSTimeLimit
QOSUsageThreshold RaisedSignal ReqNodeNotAvail Reservation ReservationDeleted Resources
SystemFailure TimeLimit
"""


@pytest.mark.parametrize("reason", REASONS.split())
def test_reasons_of_slurm_are_explained(reason: str) -> None:
    meaning = slurm_reasons.meaning(reason)
    assert meaning is not None
    assert meaning.text.endswith(".")
    assert slurm_reasons.meaning(f"({reason})") == meaning


@pytest.mark.parametrize(
    ("reason", "part"),
    [
        ("ReqNodeNotAvail, UnavailableNodes:node[1-3]", "down, drained, or reserved"),
        ("(ReqNodeNotAvail(Unavailable:node1))", "down, drained, or reserved"),
        ("launch failed requeued held", "start failed"),
        (
            "QOSMaxCpuPerUserLimit",
            "this user use as much as its quality of service (QOS) allows (CPUs)",
        ),
        ("QOSMaxNodePerJobLimit", "more nodes than its quality of service (QOS) allows one job"),
        ("AssocGrpCPUMinutesLimit", "All jobs of its account together"),
        ("AssocGrpCPUMinutesLimit", "(CPU minutes)"),
        ("QOSMinGRES", "less GPUs"),
        ("AssocMaxSubmitJobLimit", "(submitted jobs)"),
    ],
)
def test_what_reasons_of_slurm_mean(reason: str, part: str) -> None:
    meaning = slurm_reasons.meaning(reason)
    assert meaning is not None
    assert part in meaning.text


@pytest.mark.parametrize("reason", ["", "Unheard", "42", "QO SMax"])
def test_unknown_reasons_are_not_made_up(reason: str) -> None:
    assert slurm_reasons.meaning(reason) is None


@pytest.mark.parametrize(
    ("code", "part"),
    [
        (1, "general failure"),
        (126, "could not execute"),
        (127, "did not find the command"),
        (137, "SIGKILL"),
        (139, "SIGSEGV"),
        (152, "SIGXCPU"),
        (153, "SIGXFSZ"),
    ],
)
def test_exit_codes(code: int, part: str) -> None:
    assert part in (code_meaning(code) or "")


def test_other_exit_codes_mean_nothing() -> None:
    assert [code_meaning(code) for code in (3, 42, 200)] == [None] * 3
    assert signal_meaning(9) is not None
    assert signal_meaning(40) is None


@pytest.mark.parametrize(
    ("output", "part"),
    [
        ("a.out: error while loading shared libraries: libx.so.2: cannot open", "libx.so.2"),
        ("ModuleNotFoundError: No module named 'numpy'", "numpy"),
        ("sh: 1: frobnicate: not found", "frobnicate was not found"),
        ("bash: frobnicate: command not found", "frobnicate was not found"),
        ("cat: /data/x: No such file or directory", "/data/x does not exist"),
        ("/bin/x: Permission denied", "/bin/x may not be"),
        ("RuntimeError: CUDA out of memory. Tried to", "GPU"),
        ("terminate called after throwing an instance of 'std::bad_alloc'", "--memory"),
        ("write: No space left on device", "full"),
        ("./a: /lib/libc.so.6: version `GLIBC_2.38' not found", "GLIBC_2.38"),
    ],
)
def test_last_words(output: str, part: str) -> None:
    assert any(part in hint for hint in hints(output))


def test_last_words_that_say_nothing() -> None:
    assert hints("step 1000 of 1000\ndone {0}") == []


@pytest.fixture
def ended(store: Store, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Makes a job that has ended, and explains it."""

    def make(status: JobStatus, stderr: str = "", executor: str = "local") -> Explanation:
        (tmp_path / "stderr").write_text(stderr)
        spec = JobSpec("prog", stderr_path=tmp_path / "stderr", attributes=JobAttributes())
        job = Job(spec)
        store.add([job], executor, None, None)
        job._native_id, job._status = "7", JobStatus(JobState.QUEUED)
        store.accepted([job])
        store.update([(job.id, status)])
        return explain(store.get([job.id])[0], None)

    return make


def everything(found: Explanation) -> str:
    return "\n".join([found.summary, *found.causes, *found.advice])


def test_a_failure_with_its_last_words(ended) -> None:  # type: ignore[no-untyped-def]
    lines = [f"line {n}" for n in range(30)]
    status = JobStatus(JobState.FAILED, None, None, 127, {"reason": Reason.EXIT_CODE})
    found = ended(status, "\n".join([*lines, "sh: solve: not found\x1b[31m"]))
    assert "failed with exit code 127" in found.summary
    assert "did not find the command" in everything(found)
    assert "solve was not found" in everything(found)
    assert len(found.output) == 10
    assert found.output[-1] == r"sh: solve: not found\x1b[31m"


@pytest.mark.parametrize(
    ("status", "part"),
    [
        (JobStatus(JobState.FAILED, exit_code=137, metadata={"signal": 9}), "by SIGKILL"),
        (JobStatus(JobState.FAILED, exit_code=137, metadata={"signal": 9}), "memory ran out"),
        (JobStatus(JobState.FAILED, metadata={"reason": Reason.TIMEOUT}), "--time"),
        (JobStatus(JobState.FAILED, metadata={"reason": Reason.OUT_OF_MEMORY}), "--memory"),
        (JobStatus(JobState.FAILED, metadata={"reason": Reason.NODE_FAILURE}), "again"),
        (JobStatus(JobState.FAILED, metadata={"reason": Reason.PREEMPTED}), "priority"),
        (JobStatus(JobState.FAILED, metadata={"reason": Reason.LAUNCH}), "could not be started"),
        (JobStatus(JobState.FAILED, metadata={"reason": Reason.STAGING}), "--stage-in"),
        (JobStatus(JobState.FAILED, metadata={"reason": Reason.LOST}), "no record of its end"),
        (JobStatus(JobState.FAILED, message="very bad"), "very bad"),
        (JobStatus(JobState.CANCELED, message="by an operator"), "cancelled"),
        (JobStatus(JobState.COMPLETED, exit_code=0), "ended well"),
    ],
)
def test_kinds_of_ends(ended, status: JobStatus, part: str) -> None:  # type: ignore[no-untyped-def]
    assert part in everything(ended(status))


def test_the_schedulers_word_for_a_failure(ended) -> None:  # type: ignore[no-untyped-def]
    metadata = {"reason": Reason.SCHEDULER, "scheduler_reason": "JobLaunchFailure"}
    found = ended(JobStatus(JobState.FAILED, metadata=metadata), executor="slurm")
    assert "slurm says 'JobLaunchFailure': It could not be started on the node" in everything(found)
    assert "--directory" in everything(found)
