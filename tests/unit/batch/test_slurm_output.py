"""What Slurm prints, recorded from a real one, and garbage."""

import string
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import JobState, Reason
from exaworks.psij.executors.batch import Accepted, Observation, Rejected
from exaworks.psij.executors.slurm import SlurmAdapter
from exaworks.psij.runner import Command, CommandResult

DATA = Path(__file__).parent / "data"
S = JobState
adapter = SlurmAdapter()


def recorded(name: str) -> str:
    return (DATA / name).read_text()


def result(
    stdout: str = "", code: int | None = 0, stderr: str = "", scope: str = "", missing: bool = False
) -> CommandResult:
    return CommandResult(Command(("sbatch",), scope=scope), code, stdout, stderr, missing)


def squeue(text: str) -> dict[str, Observation]:
    answer = adapter.parse_query(result(text))
    assert answer.problem is None
    return {o.native_id: o for o in answer.observations}


def sacct(text: str) -> dict[str, Observation]:
    return {o.native_id: o for o in adapter.parse_accounting(result(text)).observations}


def test_squeue() -> None:
    seen = squeue(recorded("squeue.txt"))
    assert len(seen) == 19
    assert (seen["23"].state, seen["23"].cause) == (S.QUEUED, "BeginTime")
    assert (seen["21_5"].state, seen["21_5"].cause) == (S.QUEUED, "JobArrayTaskLimit")
    assert (seen["21_0"].state, seen["21_0"].nodes) == (S.ACTIVE, "node1")
    assert (seen["15"].state, seen["15"].exit_code, seen["15"].signal) == (S.FAILED, 7, None)
    assert (seen["16"].exit_code, seen["16"].signal) == (139, 11)
    cancelled = seen["25"]
    assert (cancelled.state, cancelled.reason) == (S.CANCELED, Reason.CANCELED)
    assert (cancelled.exit_code, cancelled.signal) == (143, 15)


def test_a_script_that_could_not_be_started() -> None:
    for seen in (squeue(recorded("squeue.txt"))["17"], sacct(recorded("sacct.txt"))["17"]):
        assert (seen.state, seen.reason) == (S.FAILED, Reason.LAUNCH)
        assert (seen.exit_code, seen.signal) == (None, None)
        assert "could not be started" in (seen.message or "")


def test_sacct() -> None:
    seen = sacct(recorded("sacct.txt"))
    assert (seen["1"].state, seen["1"].reason) == (S.FAILED, Reason.PREEMPTED)
    assert (seen["3"].state, seen["3"].exit_code, seen["3"].nodes) == (S.COMPLETED, 0, "node[1-2]")
    assert (seen["12"].exit_code, seen["12"].signal) == (137, 9)
    assert (seen["25"].state, seen["25"].exit_code) == (S.CANCELED, None)
    assert "by user 0" in (seen["25"].message or "")
    assert [seen[f"26_{i}"].state for i in range(4)] == [S.QUEUED] * 4


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("4_[0-2]", ["4_0", "4_1", "4_2"]),
        ("4_[1,5-6%2]", ["4_1", "4_5", "4_6"]),
        ("4_3", ["4_3"]),
    ],
)
def test_elements_that_sacct_puts_together(name: str, ids: list[str]) -> None:
    assert list(sacct(f"{name}|CANCELLED by 7|0:0|None assigned|None\n")) == ids


@pytest.mark.parametrize(
    ("word", "state", "reason"),
    [
        ("TIMEOUT", S.FAILED, Reason.TIMEOUT),
        ("DEADLINE", S.FAILED, Reason.TIMEOUT),
        ("NODE_FAIL", S.FAILED, Reason.NODE_FAILURE),
        ("BOOT_FAIL", S.FAILED, Reason.NODE_FAILURE),
        ("OUT_OF_MEMORY", S.FAILED, Reason.OUT_OF_MEMORY),
        ("PREEMPTED", S.FAILED, Reason.PREEMPTED),
        ("REQUEUED", S.QUEUED, None),
        ("REQUEUE_HOLD", S.QUEUED, None),
        ("SPECIAL_EXIT", S.QUEUED, None),
        ("RESV_DEL_HOLD", S.QUEUED, None),
        ("SUSPENDED", S.ACTIVE, None),
        ("COMPLETING", S.ACTIVE, None),
        ("STAGE_OUT", S.ACTIVE, None),
        ("REVOKED", None, None),
        ("SOMETHING_NEW", None, None),
    ],
)
def test_states(word: str, state: JobState | None, reason: str | None) -> None:
    for seen in (
        squeue(f"5|{word}|0|0|n1|None|\n")["5"],
        sacct(f"5|{word}|0:0|n1|None\n")["5"],
    ):
        assert (seen.state, seen.reason, seen.word) == (state, reason, word)
        assert (seen.message is not None) == (reason is not None)


@pytest.mark.parametrize("status", ["1792", "7:0"])
def test_exit_codes_of_old_and_new_versions(status: str) -> None:
    assert squeue(f"5|FAILED|{status}|0|n1|NonZeroExitCode|\n")["5"].exit_code == 7


def test_reasons_may_contain_anything() -> None:
    text = "5|PENDING|0|2||(ReqNodeNotAvail, UnavailableNodes:n[1-3]|x)|\n"
    seen = squeue(text)["5"]
    assert seen.cause == "(ReqNodeNotAvail, UnavailableNodes:n[1-3]|x)"
    assert seen.restarts == 2


def test_out_of_memory_as_a_reason() -> None:
    assert squeue("5|FAILED|9|0|n|OutOfMemory|\n")["5"].reason == Reason.OUT_OF_MEMORY


def test_a_time_limit_shows_while_the_job_is_completing() -> None:
    assert squeue("5|COMPLETING|0|0|n|TimeLimit|\n")["5"].reason == Reason.TIMEOUT


def test_unknown_ids_are_no_failure_of_squeue() -> None:
    answer = adapter.parse_query(result("", 1, "slurm_load_jobs error: Invalid job id specified\n"))
    assert (answer.problem, list(answer.observations)) == (None, [])


@pytest.mark.parametrize(
    "failed",
    [
        result(
            "", 1, "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
        ),
        result("", None, ""),
        result("", None, missing=True),
        result("", 1, "squeue: error: slurm_receive_msg: Socket timed out on send/recv operation"),
    ],
)
def test_a_failing_squeue_is_a_problem(failed: CommandResult) -> None:
    assert adapter.parse_query(failed).problem


def test_no_accounting() -> None:
    off = result("", 1, "Slurm accounting storage is disabled\n")
    answer = adapter.parse_accounting(off)
    assert answer.unavailable
    assert answer.problem
    down = result("", 1, "sacct: error: slurm_persist_conn_open: connection refused")
    assert not adapter.parse_accounting(down).unavailable


garbage = st.text(alphabet=string.printable + "é\x1e\x1f", max_size=60).map(
    lambda t: t.replace("\n", " ").replace("\r", " ")
)


@given(st.lists(garbage, max_size=5), st.lists(garbage, max_size=5))
def test_garbage_harms_no_other_line(before: list[str], after: list[str]) -> None:
    good = "77777_3|RUNNING|0|0|node7|None|"
    seen = squeue("\n".join([*before, good, *after]) + "\n")
    assert seen["77777_3"].state is S.ACTIVE
    good = "77777_3|COMPLETED|0:0|node7|None"
    assert sacct("\n".join([*before, good, *after]) + "\n")["77777_3"].state is S.COMPLETED


@given(st.lists(garbage, max_size=5))
def test_garbage_is_reported_not_raised(lines: list[str]) -> None:
    answer = adapter.parse_query(result("\n".join(lines)))
    assert len(answer.observations) + len(answer.skipped) <= len(lines)
    adapter.parse_accounting(result("\n".join(lines)))
    adapter.parse_list(result("\n".join(lines)))
    adapter.parse_details(result("\x1e".join(lines)))
    adapter.parse_site(result("\n".join(lines)))
    adapter.parse_submit(result("\n".join(lines)), None)
    adapter.read_log("\n".join(lines))


def test_other_clusters() -> None:
    ids = ["5", "6;east", "7_1;east"]
    commands = adapter.query_commands(ids)
    assert [c.scope for c in commands] == ["", "east"]
    assert "--clusters=east" in commands[1].argv
    assert commands[1].argv[commands[1].argv.index("-j") + 1] == "6,7"
    text = "CLUSTER: east\n7_1|RUNNING|0|0|n|None|\n"
    answer = adapter.parse_query(result(text, scope="east"))
    assert [o.native_id for o in answer.observations] == ["7_1;east"]
    assert not answer.skipped
    assert adapter.record_name("7_1;east") == ("east", "7_1")
    assert adapter.record_name("7_1") == (None, "7_1")


def test_very_many_jobs_are_asked_for_together() -> None:
    (command,) = adapter.query_commands([str(i) for i in range(5000)])
    assert "--me" in command.argv
    (command,) = adapter.query_commands([f"4_{i}" for i in range(5000)])
    assert command.argv[command.argv.index("-j") + 1] == "4"


@pytest.mark.parametrize(
    ("native_id", "good"),
    [("12", True), ("12_3", True), ("12;c-1", True), ("12_3;c", True), ("", False), ("x", False),
     ("12 ", False), ("-1", False), ("12_[1-2]", False), ("1;a b", False), ("\u0661", False)],
)  # fmt: skip
def test_ids(native_id: str, good: bool) -> None:
    problem = adapter.check_id(native_id)
    assert (problem is None) is good
    assert good or repr(native_id) in (problem or "")


def test_submission() -> None:
    assert adapter.parse_submit(result("42\n"), None) == Accepted(["42"])
    assert adapter.parse_submit(result("42;east\n"), None) == Accepted(["42;east"])
    assert adapter.parse_submit(result("42\n"), 2) == Accepted(["42_0", "42_1"])
    assert adapter.parse_submit(result("42;e\n"), 2) == Accepted(["42_0;e", "42_1;e"])
    chatty = "Welcome to HAL 9000\n-> checking budget: ok 17\n42\n"
    assert adapter.parse_submit(result(chatty), None) == Accepted(["42"])
    odd = adapter.parse_submit(result("ok\n"), None)
    assert isinstance(odd, Rejected)
    assert odd.uncertain


@pytest.mark.parametrize(
    ("stderr", "transient", "limit", "uncertain"),
    [
        ("sbatch: error: Batch job submission failed: Invalid partition name specified", 0, 0, 0),
        (
            "sbatch: error: AssocMaxSubmitJobLimit\nsbatch: error: Batch job submission failed: "
            "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
            1, 1, 0,
        ),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: ...", 1, 1, 0),
        (
            "sbatch: error: QOSMaxWallDurationPerJobLimit\nsbatch: error: Batch job submission "
            "failed: Job violates accounting/QOS policy (job submit limit, user's size and/or time "
            "limits)",
            0, 0, 0,
        ),
        (
            "sbatch: error: Batch job submission failed: Unable to contact slurm controller "
            "(connect failure)",
            1, 0, 0,
        ),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation",
         1, 0, 1),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", 1, 1, 0),
        ("sbatch: error: Batch job submission failed: Resource temporarily unavailable", 1, 1, 0),
    ],
)  # fmt: skip
def test_rejections(stderr: str, transient: int, limit: int, uncertain: int) -> None:
    rejected = adapter.parse_submit(result("", 1, stderr), None)
    assert isinstance(rejected, Rejected)
    assert (rejected.transient, rejected.queue_limit, rejected.uncertain) == (
        bool(transient),
        bool(limit),
        bool(uncertain),
    )
    assert "sbatch: error" not in rejected.message


def test_no_commands_no_configuration_no_answer() -> None:
    rejected = adapter.parse_submit(result(code=None, missing=True), None)
    assert isinstance(rejected, Rejected)
    assert "not in PATH" in rejected.message
    assert not rejected.transient
    fatal = "sbatch: fatal: Could not establish a configuration source"
    rejected = adapter.parse_submit(result("", 1, fatal), None)
    assert isinstance(rejected, Rejected)
    assert "SLURM_CONF" in rejected.message
    rejected = adapter.parse_submit(result(code=None), None)
    assert isinstance(rejected, Rejected)
    assert rejected.transient
    assert rejected.uncertain


def test_site() -> None:
    site = adapter.parse_site(result(recorded("scontrol-config.txt")))
    assert site is not None
    assert (site.name, site.array_limit, sorted(site.requeue_codes)) == ("exatest", 10001, [99])
    text = (
        "MaxArraySize = 1001\nSchedulerParameters = a,max_array_tasks=50,b\nRequeueExit = 1,5-7\n"
    )
    site = adapter.parse_site(result(text))
    assert site is not None
    assert (site.array_limit, sorted(site.requeue_codes)) == (50, [1, 5, 6, 7])
    assert adapter.parse_site(result("", 1)) is None


def test_ping() -> None:
    up = "Slurmctld(primary) at a is DOWN\nSlurmctld(backup) at b is UP\n"
    assert adapter.parse_ping(result(up)) is None
    down = "Slurmctld(primary) at a is DOWN\n"
    for code in (0, 1):
        assert "DOWN" in (adapter.parse_ping(result(down, code)) or "")


def test_cancelling_many_elements_takes_few_words() -> None:
    ids = ["9", *(f"4_{i}" for i in range(1000)), "5_1", "5_3", "4_2000"]
    (command,) = adapter.cancel_commands(ids)
    assert command.argv == ("scancel", "9", "4_[0-999,2000]", "5_[1,3]")


@given(st.sets(st.tuples(st.integers(1, 3), st.integers(0, 300)), min_size=1))
def test_cancelling_cancels_exactly_these(elements: set[tuple[int, int]]) -> None:
    wanted = {f"{base}_{index}" for base, index in elements}
    words = [w for command in adapter.cancel_commands(wanted) for w in command.argv[1:]]
    lines = "".join(f"{word}|COMPLETED|0:0|n|None\n" for word in words)
    assert set(sacct(lines)) == wanted


def test_requests() -> None:
    assert adapter.parse_request(result()) is None
    done = "scancel: error: Kill job error on job id 5: Job/step already completing or completed"
    assert adapter.parse_request(result("", 1, done)) is None
    denied = adapter.parse_request(result("", 1, "scancel: error: Access/permission denied"))
    assert denied is not None
    assert not denied.transient


def test_list() -> None:
    assert adapter.parse_list(result("5|PENDING\n6_1|RUNNING\n7|FAILED\nx|y\n8|NEWWORD\n")) == [
        "5",
        "6_1",
        "8",
    ]


def test_details() -> None:
    found = {d.observation.native_id: d for d in adapter.parse_details(
        result(recorded("squeue-details.txt")))}  # fmt: skip
    assert len(found) == 19
    held = found["22"]
    assert held.held
    assert held.spec.name == "odd | name\nwith \x1f"
    assert str(held.spec.directory) == "/tmp"
    assert held.spec.attributes.account == "proj2"
    assert held.info.owner == "root"
    assert held.info.dispatch_time is None
    running = found["21_0"]
    assert not running.held
    assert running.info.dispatch_time == datetime(2026, 11, 22, 13, 52, 11)
    assert (running.info.wall_time, running.info.resourcelist) == (3, "node1")
    big = found["24"]
    assert big.spec.attributes.duration == timedelta(days=2, hours=1)
    assert big.spec.attributes.queue_name == "batch"
    assert big.spec.resources is not None
    assert big.spec.resources.node_count == 2  # type: ignore[attr-defined]
    assert big.spec.resources.exclusive_node_use  # type: ignore[attr-defined]
    assert found["23"].info.estimated_start == "2026-11-22T14:52:10"


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("slurmstepd-n1: error: StepId=5.batch exceeded memory limit (9 > 1), being killed",
         Reason.OUT_OF_MEMORY),
        ("slurmstepd: error: Detected 1 oom_kill event in StepId=5.batch. Some of the step tasks",
         Reason.OUT_OF_MEMORY),
        ("slurmstepd-n1: error: *** JOB 1 ON n1 CANCELLED AT 2026-11-22T13:45:11 DUE TO TIME LIMIT "
         "***", Reason.TIMEOUT),
        ("slurmstepd: error: *** JOB 1 ON n1 CANCELLED AT 2026-11-22T13:45:11 DUE TO PREEMPTION "
         "***", Reason.PREEMPTED),
    ],
)  # fmt: skip
def test_what_slurm_writes_into_logs(line: str, reason: str) -> None:
    hint = adapter.read_log(f"loading module x\n{line}\n")
    assert hint is not None
    assert hint.reason == reason
    assert line in hint.message
    assert adapter.read_log(f"user output: {line}") is None
