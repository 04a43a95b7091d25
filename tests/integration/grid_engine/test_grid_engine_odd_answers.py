"""Grid Engine's commands hang, fail now and then, and print what nobody has asked for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from grid_engine_cluster import LATER, custom, essence

from exaworks.psij import Job, JobExecutor, JobState, Reason, SubmitException
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig, pace
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

pytestmark = pytest.mark.grid_engine

Make = Callable[..., JobExecutor]

PROGRAMS = ("qstat", "qacct", "qconf", "qdel", "qsub")
AWAY = "error: commlib error: got select error (Connection refused)"
NO_RECEIPT = 'Unable to run job: got read error from qmaster: "timeout".\nExiting.'
# Two watchers that ask in turn must both be answered now and then.
TWO_OF_FIVE = "[ $((number % 5)) = 2 ] || [ $((number % 5)) = 3 ]"
NOW_AND_THEN = f"""\
[ $((number % 5)) = 3 ] && {{ {fails("Inconsistency detected by ld.so: dl-version.c: 204", 127)}; }}
{fails(AWAY)}"""
ABROAD = """\
[ "$LC_ALL" = C ] && exec "$real" "$@"
real "$@" | sed -e 's/running/rennt/g' -e 's/>r</>L</' -e s/T/./"""


@pytest.fixture(autouse=True)
def _shorter_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes after the pauses is tested here, not how long they are."""
    monkeypatch.setattr(pace, "_FIRST_BACKOFF", 1.0)


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OddCommands:
    return OddCommands(tmp_path / "bin", monkeypatch)


@pytest.fixture
def runs(tmp_path: Path, odd: OddCommands) -> Iterator[Runs]:
    runs = Runs(tmp_path / "runs")
    yield runs
    if runs.left:
        output(odd.real("qdel"), *runs.left)


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
        return JobExecutor.get_instance("grid_engine", config=config)

    return make


@pytest.fixture
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def all_kinds(odd: OddCommands, make: Make, runs: Runs) -> None:
    """See :func:`jobs_of_all_kinds`."""

    def cancel(job: Job) -> None:
        number, _, task = str(job.native_id).partition(".")
        output(odd.real("qdel"), number, "-t", task)

    waits = custom(timedelta(minutes=10), a=LATER)
    # sge_execd 8.1.9 may tell of an end a minute late, so that only the job itself tells in time.
    jobs_of_all_kinds(make(), None, runs, waits, cancel, forgets=True)


def test_greetings_warnings_and_garbage(odd: OddCommands, runs: Runs, make: Make) -> None:
    for program in PROGRAMS:
        odd.wrap(program, CHATTER)
    executor = make()
    assert executor.problem() is None
    all_kinds(odd, make, runs)
    waiting = [runs.job("true", attributes=custom(a=LATER)) for _ in range(3)]
    executor.submit_many(waiting)
    ids = {str(job.native_id) for job in waiting}
    assert ids <= set(executor.list())
    assert executor.find([job.id for job in waiting]) == {j.id: j.native_id for j in waiting}
    assert {job.native_id for job in executor.info(waiting)} == ids
    executor.cancel_many(waiting)  # type: ignore[attr-defined]
    assert {end(job).state for job in waiting} == {JobState.CANCELED}


def test_commands_that_fail_now_and_then(odd: OddCommands, runs: Runs, make: Make) -> None:
    for program in ("qstat", "qacct", "qconf"):
        odd.wrap(program, NOW_AND_THEN, TWO_OF_FIVE)
    for program in ("qsub", "qdel"):
        odd.wrap(program, fails(AWAY), EVERY_SECOND)
    all_kinds(odd, make, runs)
    assert all(odd.odd(program) for program in ("qstat", "qsub", "qdel"))


def test_commands_that_hang(odd: OddCommands, runs: Runs, make: Make) -> None:
    for program in PROGRAMS:
        odd.wrap(program, HANG, EVERY_THIRD)
    all_kinds(odd, make, runs)
    assert all(odd.odd(program) for program in ("qstat", "qsub", "qdel"))


@pytest.mark.parametrize("how", [CUT, LOST_LINES], ids=["in-a-line", "between-lines"])
def test_lists_that_are_cut_short(odd: OddCommands, runs: Runs, make: Make, how: str) -> None:
    """A job that is not in such a list may well exist."""
    executor, other = make(), make("elsewhere")
    waiting = [runs.job("true", attributes=custom(a=LATER)) for _ in range(6)]
    running = [runs.job(f"sleep 2; exit {code}") for code in range(3)]
    executor.submit_many(waiting)
    executor.submit_many(running)
    watched = watch(other, waiting)
    for job in watched:
        assert job.wait(30, JobState.QUEUED) is not None
    odd.wrap("qstat", how)
    assert [essence(end(job))[2] for job in running] == [0, 1, 2]
    until(lambda: odd.odd("qstat") > 3)
    assert {job.status.state for job in (*waiting, *watched)} == {JobState.QUEUED}
    odd.mend("qstat")
    executor.cancel_many(waiting)  # type: ignore[attr-defined]
    assert {end(job).state for job in waiting} == {JobState.CANCELED}


def test_a_submission_whose_answer_is_cut_short(odd: OddCommands, runs: Runs, make: Make) -> None:
    """It must not be taken for the id of another job."""
    odd.wrap("qsub", 'real "$@" | head -c 2', "[ $number = 1 ]")
    executor = make()
    job, after = runs.job("exit 3"), runs.job("exit 4")
    try:
        executor.submit(job)
    except SubmitException as problem:
        assert "printed no id" in str(problem)
        assert (job.native_id, job.status.state) == (None, JobState.NEW)
    else:
        assert essence(end(job)) == (JobState.FAILED, Reason.EXIT_CODE, 3)
    executor.submit(after)
    assert essence(end(after)) == (JobState.FAILED, Reason.EXIT_CODE, 4)
    assert runs.count()[job.id] <= 1


@pytest.mark.parametrize("how", [HANG, fails(NO_RECEIPT)], ids=["hangs", "fails"])
@pytest.mark.parametrize("count", [1, 3])
def test_a_submission_that_was_taken_without_an_answer(
    odd: OddCommands, runs: Runs, make: Make, how: str, count: int
) -> None:
    """The job has begun when the submission is given up, and must not be submitted again."""
    odd.wrap("qsub", f'real "$@" >"$answer"; {runs.wait}; {how}', "[ $number = 1 ]")
    jobs = [runs.job("sleep 4; exit 3") for _ in range(count)]
    try:
        make(command_timeout=3).submit_many(jobs)
    except SubmitException as problem:
        assert problem.transient or "time" in str(problem)
    else:
        failed = (JobState.FAILED, Reason.EXIT_CODE, 3)
        assert {essence(end(job)) for job in jobs} == {failed}
    assert runs.count() == {job.id: 1 for job in jobs}


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/New_York"], indirect=True)
def test_other_languages_and_time_zones(
    odd: OddCommands, runs: Runs, make: Make, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LC_ALL", "ja_JP.UTF-8")
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    for program in PROGRAMS[:-1]:
        odd.wrap(program, ABROAD)
    executor = make()
    before = time.time()
    job = runs.job("sleep 300")
    executor.submit(job)
    [other] = watch(make("elsewhere"), [job])
    seen: list[float] = []
    for each in (job, other):
        assert each.wait(30, JobState.ACTIVE) is not None
        seen.append(each.status.time)
    info = executor.info([job])[0].current_info
    assert info is not None
    now = datetime.now()
    for moment in (info.submission_time, info.dispatch_time):
        assert moment is None or abs(now - moment) < timedelta(minutes=1), (now, moment)
    assert info.dispatch_time is not None
    assert executor.list()
    job.cancel()
    for each in (job, other):
        assert end(each).state is JobState.CANCELED
        seen.append(each.status.time)
    assert all(before - 1 <= moment <= time.time() + 1 for moment in seen), (before, seen)
    for program in PROGRAMS[:-1]:
        assert set(odd.locales(program)) <= {"C"}, program
    assert odd.locales("qstat")
