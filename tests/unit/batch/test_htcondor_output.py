"""What HTCondor prints, recorded from a real one, and garbage."""

from __future__ import annotations

import json
import string
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import JobState, Reason
from exaworks.psij.executors.batch import Accepted, Observation, Rejected
from exaworks.psij.executors.htcondor import HTCondorAdapter
from exaworks.psij.runner import Command, CommandResult

DATA = Path(__file__).parent / "data" / "htcondor"
S = JobState
adapter = HTCondorAdapter()


def recorded(name: str) -> str:
    return (DATA / name).read_text()


def result(
    stdout: str = "",
    code: int | None = 0,
    stderr: str = "",
    missing: bool = False,
    program: str = "condor_q",
) -> CommandResult:
    return CommandResult(Command((program,)), code, stdout, stderr, missing)


def observe(ended: bool = False, **fields: Any) -> Observation:
    text = json.dumps([{"ClusterId": 7, "ProcId": 2, **fields}], indent=2)
    read = adapter.parse_accounting if ended else adapter.parse_query
    answer = read(result(text))
    assert answer.problem is None
    (observation,) = answer.observations
    assert observation.native_id == "7.2"
    return observation


def test_recorded_queue() -> None:
    answer = adapter.parse_query(result(recorded("q.json")))
    assert (answer.problem, answer.skipped) == (None, [])
    found = {o.native_id: (o.state, o.reason, o.exit_code, o.restarts) for o in answer.observations}
    assert found == {
        "98.0": (S.ACTIVE, None, None, 0),
        "98.1": (S.ACTIVE, None, None, 0),
        "98.2": (S.ACTIVE, None, None, 0),
        "99.0": (S.QUEUED, None, None, 0),
        "100.0": (S.FAILED, Reason.LAUNCH, None, 0),
        "101.0": (S.FAILED, Reason.LAUNCH, None, 0),
        "102.0": (S.FAILED, Reason.TIMEOUT, 143, 0),
        "103.0": (S.QUEUED, None, None, 0),
        "110.0": (S.QUEUED, None, None, 1),
    }
    told = {o.native_id: o for o in answer.observations}
    assert told["98.0"].nodes == "vm"
    assert "No such file or directory" in (told["100.0"].message or "")
    assert "exceeded allowed job duration" in (told["102.0"].message or "")
    assert told["110.0"].cause == "via condor_hold (by user exauser)"


def test_recorded_history() -> None:
    answer = adapter.parse_accounting(result(recorded("history.json")))
    assert (answer.problem, answer.skipped) == (None, [])
    found = {o.native_id: (o.state, o.reason, o.exit_code, o.signal) for o in answer.observations}
    assert found == {
        "104.0": (S.COMPLETED, None, 0, None),
        "105.0": (S.FAILED, None, 5, None),
        "106.0": (S.FAILED, None, 139, 11),
        "107.0": (S.CANCELED, Reason.CANCELED, 143, 15),
        "108.0": (S.FAILED, Reason.LAUNCH, None, None),
        "109.0": (S.FAILED, Reason.TIMEOUT, 143, 15),
    }


@pytest.mark.parametrize(
    ("status", "state", "word"),
    [
        (1, S.QUEUED, "Idle"),
        (2, S.ACTIVE, "Running"),
        (3, None, "Removed"),  # its processes have not ended yet
        (6, S.ACTIVE, "TransferringOutput"),
        (7, S.ACTIVE, "Suspended"),
        (8, None, "8"),
    ],
)
def test_states(status: int, state: JobState | None, word: str) -> None:
    seen = observe(JobStatus=status, RemoteHost="slot1_1@node.site")
    assert (seen.state, seen.word) == (state, word)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (1, None),
        (15, None),
        (16, None),
        (6, Reason.LAUNCH),
        (14, Reason.LAUNCH),
        (13, Reason.STAGING),
        (34, Reason.OUT_OF_MEMORY),
        (46, Reason.TIMEOUT),
        (47, Reason.TIMEOUT),
        (3, Reason.SCHEDULER),
        (26, Reason.SCHEDULER),
        (99, Reason.SCHEDULER),
    ],
)
def test_hold_reasons(code: int, reason: str | None) -> None:
    held = observe(JobStatus=5, HoldReasonCode=code, HoldReason="because")
    assert (held.state, held.reason) == (S.FAILED if reason else S.QUEUED, reason)
    assert held.cause == "because"
    if reason:
        removed = observe(
            True, JobStatus=3, LastHoldReasonCode=code, LastHoldReason="because", RemoveReason="x"
        )
        assert (removed.state, removed.reason) == (S.FAILED, reason)
        assert "because" in (removed.message or "")


def test_restarts() -> None:
    assert [observe(JobStatus=1, NumJobStarts=n).restarts for n in (0, 1, 3)] == [0, 1, 3]
    assert [observe(JobStatus=2, NumJobStarts=n).restarts for n in (0, 1, 3)] == [0, 0, 2]


def test_a_job_without_an_exit_code_has_not_succeeded() -> None:
    assert observe(True, JobStatus=4).state is None


def test_answers_with_something_before() -> None:
    text = "WARNING: clock [x]\n" + recorded("q.json")
    assert len(adapter.parse_query(result(text)).observations) == 9
    for nothing in ("", "[\n]\n"):
        answer = adapter.parse_query(result(nothing))
        assert (answer.problem, answer.observations) == (None, [])


@pytest.mark.parametrize("text", ["hello", "[\n", '[\n{"ClusterId": 3', "{}"])
def test_answers_that_are_none(text: str) -> None:
    assert adapter.parse_query(result(text)).problem
    assert adapter.parse_list(result(text)) == []
    assert adapter.parse_logs(result(text)) == {}
    assert adapter.parse_details(result(text)) == []


def test_an_answer_that_failed() -> None:
    answer = adapter.parse_query(result("", 1, "Failed to fetch ads from <127.0.0.1:9618>"))
    assert answer.problem == "Failed to fetch ads from <127.0.0.1:9618>"
    assert adapter.parse_accounting(result("", None, missing=True)).unavailable
    assert not adapter.parse_accounting(result("", 1, "x")).unavailable


def test_a_job_that_cannot_be_read_harms_no_other() -> None:
    records: list[Any] = [
        {"ProcId": 0},
        {"ClusterId": "1", "ProcId": 0},
        {"ClusterId": 4, "ProcId": 0, "JobStatus": 2},
        7,
    ]
    answer = adapter.parse_query(result(json.dumps(records, indent=1)))
    assert [o.native_id for o in answer.observations] == ["4.0"]
    assert len(answer.skipped) == 2


@given(st.text(alphabet=string.printable + "[]{}\"':,\n"))
def test_garbage_is_survived(text: str) -> None:
    for code in (0, 1):
        for told in (result(text, code, text), result(f"[\n{text}\n]", code, text)):
            adapter.parse_query(told)
            adapter.parse_accounting(told)
            adapter.parse_list(told)
            adapter.parse_logs(told)
            adapter.parse_details(told)
            adapter.parse_submit(told, None)
            adapter.parse_request(told)
            adapter.parse_site(told)


def test_listing() -> None:
    listed = adapter.parse_list(result(recorded("q.json")))
    assert {"98.0", "99.0", "103.0", "110.0"} <= set(listed)
    logs = adapter.parse_logs(result(recorded("q.json")))
    assert logs["98.1"] == "/home/exauser/log_1.log"


def test_details() -> None:
    told = adapter.parse_details(result(recorded("q.json")))
    found = {details.observation.native_id: details for details in told}
    runs = found["98.0"]
    assert runs.info.owner == "exauser"
    assert runs.info.dispatch_time == datetime.fromtimestamp(1795370683)
    assert runs.spec.name == "a name"
    assert runs.spec.attributes.duration == timedelta(seconds=300)
    assert not runs.held
    assert found["99.0"].held
    assert found["110.0"].held
    assert not found["102.0"].held
    assert found["103.0"].info.dispatch_time is None


def test_submissions() -> None:
    text = recorded("submit-terse.txt")
    assert adapter.parse_submit(result(text), 3) == Accepted(["98.0", "98.1", "98.2"])
    assert adapter.parse_submit(result("x\n7.0 - 7.0\n"), None) == Accepted(["7.0"])
    for wrong in (text, "hello", "7.0 - 8.0\n"):
        rejected = adapter.parse_submit(result(wrong), 2)
        assert isinstance(rejected, Rejected)
        assert rejected.uncertain


@pytest.mark.parametrize(
    ("text", "transient", "limit"),
    [
        ("ERROR: Parse error in expression:\n\tRequirements = (((", False, False),
        ("ERROR: Can't find address of local schedd", True, False),
        ("ERROR: Failed to connect to queue manager vm", True, False),
        ("ERROR: Number of submitted jobs would exceed MAX_JOBS_PER_OWNER", True, True),
    ],
)
def test_refusals(text: str, transient: bool, limit: bool) -> None:
    rejected = adapter.parse_submit(result("", 1, text), None)
    assert isinstance(rejected, Rejected)
    assert (rejected.transient, rejected.queue_limit) == (transient, limit)
    assert not rejected.message.startswith("ERROR")


def test_no_htcondor_here() -> None:
    told = result("", 127, "exaworks: 3: exec: condor_submit: not found", program="/bin/sh")
    for answer in (told, result("", None, missing=True)):
        rejected = adapter.parse_submit(answer, None)
        assert isinstance(rejected, Rejected)
        assert "not in PATH" in rejected.message
    assert "not in PATH" in (adapter.parse_ping(result("", None, missing=True)) or "")


def test_requests() -> None:
    gone = result("", 1, "Job 1.0 not found\n\nJob 2.0 not found\n", program="condor_rm")
    assert adapter.parse_request(gone) is None
    assert adapter.parse_request(result("Job 2.0 marked for removal\n")) is None
    for told in (
        result("", 1, "Permission denied", program="condor_rm"),
        result("", 1, "", program="condor_rm"),
        result("", None, program="condor_rm"),
        result("", 1, "Couldn't find/hold all jobs matching constraint x", program="condor_hold"),
    ):
        assert adapter.parse_request(told) is not None


def test_ids_and_commands() -> None:
    assert adapter.check_id("12.0") is None
    for wrong in ("", "12", "12.", "-1.0", "1.0 2.0", "\u0661.0"):
        assert "two numbers" in (adapter.check_id(wrong) or "")
    many = [f"7.{n}" for n in range(2500)]
    assert [c.argv[-1] for c in adapter.query_commands(many)] == ["7"]
    assert len(adapter.cancel_commands(many)) == 3
    everything = adapter.query_commands([f"{n}.0" for n in range(1001)])
    assert [c.argv[1:] for c in everything] == [adapter.list_command().argv[1:]]
    (history,) = adapter.accounting_commands(["4.0", "5.1"])
    assert history.argv[-4:] == ("-match", "2", "4.0", "5.1")
    (hold,) = adapter.hold_commands(["4.0"])
    assert hold.argv[-1] == "JobStatus == 1 && ((ClusterId == 4 && ProcId == 0))"
    assert adapter.parse_site(result("node.site\n")) is not None
    assert adapter.parse_site(result("\n")) is None
