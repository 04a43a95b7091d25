"""Slurm's commands hang, fail now and then, and print what nobody has asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from exaworks.psij import (
    Job,
    JobAttributes,
    JobExecutor,
    JobState,
    Reason,
    SubmitException,
)
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig, monitor, pace
from odd_commands import (
    CHATTER,
    CUT,
    EVERY_SECOND,
    EVERY_THIRD,
    HANG,
    LOST_LINES,
    OddCommands,
    Runs,
    fails,
    jobs_of_all_kinds,
    watch,
)
from patience import end, output, until

pytestmark = pytest.mark.slurm

Make = Callable[..., JobExecutor]

PROGRAMS = ("squeue", "sacct", "scontrol", "scancel", "sbatch")
AWAY = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
TIMED_OUT = "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
NONSENSE = "Inconsistency detected by ld.so: dl-version.c: 204"
ABROAD = """\
[ "$LC_ALL" = C ] && exec "$real" "$@"
real "$@" | sed -e s/RUNNING/RENNT/ -e s/PENDING/WARTET/ -e s/T/./"""


@pytest.fixture(autouse=True)
def _shorter_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after the pauses is tested here, not how long they are."""
    monkeypatch.setattr(pace, "_FIRST_BACKOFF", 1.0)
    monkeypatch.setattr(monitor, "INFERENCE_PATIENCE", 3.0)


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OddCommands:
    return OddCommands(tmp_path / "bin", monkeypatch)


@pytest.fixture
def runs(tmp_path: Path, odd: OddCommands) -> Iterator[Runs]:
    runs = Runs(tmp_path / "runs")
    yield runs
    if runs.left:
        output(odd.real("scancel"), *runs.left)


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Makes executors that ask often and have little patience."""

    def make(work: str = "work", **settings: object) -> JobExecutor:
        settings = {
            "queue_polling_interval": 1,
            "initial_queue_polling_delay": 0.2,
            "command_timeout": 2,
            **settings,
        }
        config = BatchSchedulerExecutorConfig(
            work_directory=tmp_path / work,
            **settings,  # type: ignore[arg-type]
        )
        return JobExecutor.get_instance("slurm", config=config)

    return make


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def later(minutes: int = 10) -> JobAttributes:
    return JobAttributes(timedelta(minutes=minutes), custom_attributes={"slurm.begin": "now+1hour"})


def essence(job: Job) -> tuple[JobState, str | None, int | None]:
    status = end(job)
    return status.state, status.reason, status.exit_code


def all_kinds(odd: OddCommands, make: Make, runs: Runs) -> None:
    """See :func:`jobs_of_all_kinds`."""

    def cancel(job: Job) -> None:
        output(odd.real("scancel"), str(job.native_id))

    jobs_of_all_kinds(make(), make("elsewhere"), runs, later(), cancel)


def test_greetings_warnings_and_garbage(odd: OddCommands, runs: Runs, make: Make) -> None:
    for program in PROGRAMS:
        odd.wrap(program, CHATTER)
    executor = make()
    assert executor.problem() is None
    all_kinds(odd, make, runs)
    waiting = [runs.job("true", attributes=later()) for _ in range(3)]
    executor.submit_many(waiting)
    ids = {str(job.native_id) for job in waiting}
    assert ids <= set(executor.list())
    assert executor.find([job.id for job in waiting]) == {j.id: j.native_id for j in waiting}
    assert {job.native_id for job in executor.info(waiting)} == ids
    executor.cancel_many(waiting)  # type: ignore[attr-defined]
    assert {end(job).state for job in waiting} == {JobState.CANCELED}


# Two watchers that ask in turn must both be answered now and then.
TWO_OF_FIVE = "[ $((number % 5)) = 2 ] || [ $((number % 5)) = 3 ]"
NOW_AND_THEN = f"""\
[ $((number % 5)) = 3 ] && {{ {fails(NONSENSE, 127)}; }}
{fails(AWAY)}"""


def test_commands_that_fail_now_and_then(odd: OddCommands, runs: Runs, make: Make) -> None:
    for program in ("squeue", "sacct", "scontrol"):
        odd.wrap(program, NOW_AND_THEN, TWO_OF_FIVE)
    for program in ("sbatch", "scancel"):
        odd.wrap(program, fails(AWAY), EVERY_SECOND)
    all_kinds(odd, make, runs)
    assert all(odd.odd(program) for program in ("squeue", "sbatch", "scancel"))


def test_commands_that_hang(odd: OddCommands, runs: Runs, make: Make) -> None:
    for program in PROGRAMS:
        odd.wrap(program, HANG, EVERY_THIRD)
    all_kinds(odd, make, runs)
    assert all(odd.odd(program) for program in ("squeue", "sbatch", "scancel"))


@pytest.mark.parametrize("how", [CUT, LOST_LINES], ids=["in-a-line", "between-lines"])
def test_lists_that_are_cut_short(odd: OddCommands, runs: Runs, make: Make, how: str) -> None:
    """A job that is not in such a list may well exist, and the accounting says that it does."""
    executor, other = make(), make("elsewhere")
    waiting = [runs.job("true", attributes=later()) for _ in range(6)]
    running = [runs.job(f"sleep 2; exit {code}") for code in range(3)]
    executor.submit_many(waiting)
    executor.submit_many(running)
    watched = watch(other, waiting)
    for job in watched:
        assert job.wait(30, JobState.QUEUED) is not None
    odd.wrap("squeue", how)
    odd.wrap("sacct", 'real "$@"')
    also = watch(other, running)
    assert [essence(job)[2] for job in running] == [0, 1, 2]
    until(lambda: odd.odd("squeue" if how is CUT else "sacct") > 3)
    assert {job.status.state for job in (*waiting, *watched)} == {JobState.QUEUED}
    odd.mend("squeue")
    assert [essence(job)[2] for job in also] == [0, 1, 2]
    executor.cancel_many(waiting)  # type: ignore[attr-defined]
    assert {end(job).state for job in (*waiting, *watched)} == {JobState.CANCELED}


def test_attaching_to_an_element_that_is_gone(runs: Runs, make: Make) -> None:
    """It was cancelled while it waited, and is only known by its absence from the array."""
    waiting = [runs.job("true", attributes=later()) for _ in range(3)]
    executor = make()
    executor.submit_many(waiting)
    output("scancel", str(waiting[1].native_id))
    [other] = watch(make("elsewhere"), [waiting[1]])
    assert essence(other)[:2] == (JobState.CANCELED, Reason.CANCELED), other.status
    executor.cancel_many([waiting[0], waiting[2]])  # type: ignore[attr-defined]
    assert {end(job).state for job in waiting} == {JobState.CANCELED}


def test_a_submission_whose_answer_is_cut_short(odd: OddCommands, runs: Runs, make: Make) -> None:
    """It must not be taken for the id of another job."""
    odd.wrap("sbatch", 'real "$@" | head -c 3', "[ $number = 1 ]")
    executor = make()
    job, after = runs.job("exit 3"), runs.job("exit 4")
    try:
        executor.submit(job)
    except SubmitException as problem:
        assert "printed no job id" in str(problem)
        assert (job.native_id, job.status.state) == (None, JobState.NEW)
    else:
        assert essence(job) == (JobState.FAILED, Reason.EXIT_CODE, 3)
    executor.submit(after)
    assert essence(after) == (JobState.FAILED, Reason.EXIT_CODE, 4)
    assert runs.count()[job.id] <= 1


@pytest.mark.parametrize("how", [HANG, fails(TIMED_OUT)], ids=["hangs", "fails"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_submission_that_was_taken_without_an_answer(
    odd: OddCommands, runs: Runs, make: Make, how: str, count: int
) -> None:
    """The job has begun when the submission is given up, and must not be submitted again."""
    odd.wrap("sbatch", f'real "$@" >"$answer"; {runs.wait}; {how}', "[ $number = 1 ]")
    jobs = [runs.job("sleep 4; exit 3") for _ in range(count)]
    try:
        make(command_timeout=3).submit_many(jobs)
    except SubmitException as problem:
        assert problem.transient or "time" in str(problem)
    else:
        assert {essence(job) for job in jobs} == {(JobState.FAILED, Reason.EXIT_CODE, 3)}
    assert runs.count() == {job.id: 1 for job in jobs}


def test_a_submission_that_is_given_up_before_the_job_has_begun(
    odd: OddCommands, runs: Runs, make: Make
) -> None:
    odd.wrap("sbatch", f'real --begin=now+5 "$@" >"$answer"; {HANG}', "[ $number = 1 ]")
    job = runs.job("exit 3")
    make().submit(job)
    assert essence(job) == (JobState.FAILED, Reason.EXIT_CODE, 3)
    given_up = output("tail", "-n", "1", *map(str, odd.answers("sbatch"))).strip()
    done = "squeue -h -t all -o %T -j " + given_up
    until(lambda: output(*done.split()).strip() == "FAILED")
    assert runs.count() == {job.id: 1}


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"], indirect=True)
def test_other_languages_and_time_zones(
    odd: OddCommands, runs: Runs, make: Make, zone: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    for program in PROGRAMS[:-1]:
        odd.wrap(program, ABROAD)
    executor, other = make(), make("elsewhere")
    before = time.time()
    seen: list[float] = []
    job = runs.job('date +%Z; echo "$LC_ALL"; sleep 300', stdout_path=tmp_path / "out")
    waiting = runs.job("true", attributes=later())
    executor.submit_many([job, waiting])
    others = watch(other, [job, waiting])
    for each in (job, others[0]):
        assert each.wait(30, JobState.ACTIVE) is not None
        seen.append(each.status.time)
    running, queued = (executor.info([each])[0].current_info for each in (job, waiting))
    assert running is not None
    assert queued is not None
    assert queued.estimated_start is not None
    now = datetime.now()
    for moment in (running.submission_time, running.dispatch_time, queued.submission_time):
        assert moment is not None
        assert abs(now - moment) < timedelta(minutes=1), (now, moment)
    starts = datetime.fromisoformat(queued.estimated_start)
    assert abs(starts - now - timedelta(hours=1)) < timedelta(minutes=1)
    assert executor.list()
    executor.cancel_many([job, waiting])  # type: ignore[attr-defined]
    for each in (job, waiting, *others):
        assert essence(each)[0] is JobState.CANCELED
        seen.append(each.status.time)
    assert all(before - 1 <= moment <= time.time() + 1 for moment in seen), (before, seen)
    for program in PROGRAMS[:-1]:
        assert set(odd.locales(program)) <= {"C"}, program
    assert odd.locales("squeue")
    zone_name, language = (tmp_path / "out").read_text().split()
    assert (zone_name, language) == (time.tzname[time.localtime().tm_isdst], "ja_JP.UTF-8")


def test_five_thousand_jobs_in_the_queue(odd: OddCommands, runs: Runs, make: Make) -> None:
    """None is forgotten, and watching them takes as many commands as watching one."""
    odd.wrap("squeue", 'exec "$real" "$@"')
    executor, other = make(command_timeout=60), make("elsewhere", command_timeout=60)
    waiting = [runs.job("true", attributes=later()) for _ in range(5000)]
    executor.submit_many(waiting)
    watched = watch(other, waiting)
    for job in watched:
        assert job.wait(60, JobState.QUEUED) is not None
    asked, since = odd.odd("squeue"), time.monotonic()
    job = runs.job("sleep 5; exit 3")
    executor.submit(job)
    assert essence(job) == (JobState.FAILED, Reason.EXIT_CODE, 3)
    seconds = time.monotonic() - since
    assert 0 < odd.odd("squeue") - asked <= 2 * (seconds + 2)  # each executor, once a second
    executor.cancel_many(waiting)
    for each in (waiting, watched):
        assert {end(job).state for job in each} == {JobState.CANCELED}
    assert set(runs.count()) == {job.id}
