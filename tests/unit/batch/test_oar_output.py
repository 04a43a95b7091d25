"""What OAR prints, recorded from a real one, and garbage."""

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
from exaworks.psij.executors.oar import OarAdapter
from exaworks.psij.runner import Command, CommandResult

DATA = Path(__file__).parent / "data" / "oar"
S = JobState
adapter = OarAdapter()


def recorded(name: str) -> str:
    return (DATA / name).read_text()


def result(
    stdout: str = "", code: int | None = 0, stderr: str = "", missing: bool = False
) -> CommandResult:
    return CommandResult(Command(("oarstat",)), code, stdout, stderr, missing)


def observe(**fields: Any) -> Observation:
    answer = adapter.parse_query(result(json.dumps({"7": fields}, indent=3)))
    assert answer.problem is None
    (observation,) = answer.observations
    return observation


def event(word: str, text: str = "") -> dict[str, str]:
    return {"type": word, "description": text}


def test_recorded_jobs() -> None:
    answer = adapter.parse_query(result(recorded("oarstat-full.json")))
    assert (answer.problem, answer.skipped) == (None, [])
    found = {
        o.native_id: (o.state, o.exit_code, o.signal, o.reason, o.cause)
        for o in answer.observations
    }
    waits = "R=1,W=2:0:0,J=B"
    assert found == {
        "3": (S.FAILED, 5, None, None, None),
        "15": (S.FAILED, 139, 11, None, None),
        "16": (S.CANCELED, None, None, Reason.CANCELED, "FRAG_JOB_REQUEST"),
        "17": (S.FAILED, None, None, Reason.TIMEOUT, "WALLTIME"),
        "19": (S.FAILED, 127, None, None, None),
        "21": (S.FAILED, None, None, Reason.LAUNCH, "OUTPUT_FILES"),
        "22": (S.FAILED, None, None, Reason.TIMEOUT, "WALLTIME"),
        "895": (S.FAILED, None, None, Reason.PREEMPTED, "BESTEFFORT_KILL"),
        "900": (S.QUEUED, None, None, None, "R=2,W=1:0:5,J=B,N=a name"),
        "901": (S.QUEUED, None, None, None, waits),
        "902": (S.QUEUED, None, None, None, waits),
        "903": (S.QUEUED, None, None, None, waits),
    }
    messages = {o.native_id: o.message or "" for o in answer.observations}
    assert "runs it again as job 898" in messages["895"]
    assert "User exauser requested" in messages["16"]
    assert "Cannot create .stdout" in messages["21"]
    assert answer.observations[0].nodes


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("Waiting", S.QUEUED),
        ("Hold", S.QUEUED),
        ("toLaunch", S.QUEUED),
        ("toAckReservation", S.QUEUED),
        ("Launching", S.QUEUED),
        ("Running", S.ACTIVE),
        ("Suspended", S.ACTIVE),
        ("Resuming", S.ACTIVE),
        ("Finishing", S.ACTIVE),
        ("toError", None),
        ("Unheard", None),
    ],
)
def test_states(word: str, state: JobState | None) -> None:
    seen = observe(state=word, assigned_network_address=["a", "b"], message="m")
    assert seen == Observation("7", state, word, cause="m", nodes="a+b")


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (0, (S.COMPLETED, 0, None)),
        (None, (S.COMPLETED, 0, None)),
        ("256", (S.FAILED, 1, None)),
        (65280, (S.FAILED, 255, None)),
        (9, (S.FAILED, 137, 9)),
        (139, (S.FAILED, 139, 11)),  # with a core
    ],
)
def test_exit_codes(status: object, verdict: tuple[JobState, int, int | None]) -> None:
    seen = observe(state="Terminated", exit_code=status)
    assert (seen.state, seen.exit_code, seen.signal) == verdict


@pytest.mark.parametrize(
    ("words", "state", "reason"),
    [
        (["FRAG_JOB_REQUEST"], S.CANCELED, Reason.CANCELED),
        (["FRAG_JOB_REQUEST", "WALLTIME", "SEND_KILL_JOB"], S.FAILED, Reason.TIMEOUT),
        (["FRAG_JOB_REQUEST", "BESTEFFORT_KILL"], S.FAILED, Reason.PREEMPTED),
        (["WORKING_DIRECTORY", "SWITCH_INTO_ERROR_STATE"], S.FAILED, Reason.LAUNCH),
        (["USER_SHELL"], S.FAILED, Reason.LAUNCH),
        (["PING_CHECKER_NODE_SUSPECTED"], S.FAILED, Reason.NODE_FAILURE),
        (["LAUNCHING_OAREXEC_TIMEOUT"], S.FAILED, Reason.NODE_FAILURE),
        (["SEND_KILL_JOB", "UNHEARD"], S.FAILED, Reason.SCHEDULER),
        ([], S.FAILED, Reason.SCHEDULER),
    ],
)
def test_verdicts(words: list[str], state: JobState, reason: str) -> None:
    seen = observe(state="Error", events=[event(word, f"said {word}") for word in words])
    assert (seen.state, seen.reason, seen.exit_code) == (state, reason, None)
    assert seen.message
    if words:
        assert f"said {seen.cause}" in seen.message


@pytest.mark.parametrize(
    "text",
    [
        "Resubmiting job 7 => 12 (type idempotent & exit code = 99 & duration > 60s)",
        "[NodeChangeState] Resubmiting job 7 => 12) (due to event CPUSET_ERROR)\n",
        "[bipbip 7] the job 7 is idempotent so we resubmit it (new id = 12)",
    ],
)
def test_a_job_that_is_run_again_has_another_id(text: str) -> None:
    events = [event("CPUSET_ERROR", "x"), event("RESUBMIT_JOB_AUTOMATICALLY", text)]
    assert "again as job 12," in (observe(state="Error", events=events).message or "")


def test_answers_with_something_before() -> None:
    text = "Warning: clock\n[x] {y}\n" + recorded("oarstat-full.json")
    assert len(adapter.parse_query(result(text)).observations) == 12
    assert adapter.parse_query(result("")).problem is None
    assert adapter.parse_query(result("")).observations == []


@pytest.mark.parametrize("text", ["hello", "{", '{"7": 3}', '{\n "7" : {"state" : '])
def test_answers_that_are_none(text: str) -> None:
    assert adapter.parse_query(result(text)).problem
    assert adapter.parse_list(result(text)) == []
    assert adapter.parse_logs(result(text)) == {}
    assert adapter.parse_details(result(text)) == []


def test_an_answer_that_failed() -> None:
    answer = adapter.parse_query(result(recorded("oarstat-full.json"), 1, "no database"))
    assert (answer.problem, answer.observations) == ("no database", [])
    assert adapter.parse_query(result("", None)).problem


def test_a_job_that_cannot_be_read_harms_no_other() -> None:
    text = '{"1": {"exit_code": 0}, "2": {"state": "Terminated", "exit_code": "x"},'
    text += '"3": {"state": "Error", "events": [1]}, "4": {"state": "Running"}, "x": {}}'
    answer = adapter.parse_query(result(text))
    assert [o.native_id for o in answer.observations] == ["4"]
    assert len(answer.skipped) == 3
    assert [d.observation.native_id for d in adapter.parse_details(result(text))] == ["4"]


@given(st.text(alphabet=string.printable + "{}[]\"':,"))
def test_garbage_is_survived(text: str) -> None:
    for code in (0, 1):
        told = result(text, code, text)
        adapter.parse_query(told)
        adapter.parse_list(told)
        adapter.parse_logs(told)
        adapter.parse_details(told)
        adapter.parse_submit(told, None)
        adapter.parse_request(told)


def test_listing() -> None:
    text = recorded("oarstat-user.json")
    assert {"900", "901", "902", "903"} <= set(adapter.parse_list(result(text)))
    assert adapter.parse_list(result('{"1": {"state": "Terminated"}, "2": {"state": "Hold"}}')) == [
        "2"
    ]
    logs = adapter.parse_logs(result(text))
    assert (logs["901"], logs["902"]) == ("/tmp/x_1.log", "/tmp/x_2.log")
    assert "903" not in logs


def test_details() -> None:
    found = {
        d.observation.native_id: d
        for d in adapter.parse_details(result(recorded("oarstat-full.json")))
    }
    held = found["900"]
    assert held.held
    assert held.spec.name == "a name"
    assert held.spec.attributes.duration == timedelta(hours=1, seconds=5)
    assert held.spec.attributes.account is None
    assert held.info.owner == "exauser"
    assert held.info.dispatch_time is None
    killed = found["17"]
    assert killed.info.dispatch_time == datetime.fromtimestamp(1795368590)
    assert killed.info.submission_time == datetime.fromtimestamp(1795368589)
    assert 8 <= killed.info.wall_time <= 20
    assert killed.info.queue_name == "default"
    assert killed.info.resourcelist == "127.0.1.1"
    assert not killed.held


def test_submissions() -> None:
    text = recorded("oarsub-array.txt")
    accepted = adapter.parse_submit(result(text), 3)
    assert isinstance(accepted, Accepted)
    assert len(set(accepted.native_ids)) == 3
    assert adapter.parse_submit(result("OAR_JOB_ID=5\n"), None) == Accepted(["5"])
    few = adapter.parse_submit(result(text), 4)
    assert isinstance(few, Rejected)
    assert few.uncertain
    none = adapter.parse_submit(result("hello"), None)
    assert isinstance(none, Rejected)
    assert none.uncertain


@pytest.mark.parametrize(
    ("code", "out", "err", "message", "transient", "uncertain"),
    [
        (
            254,
            "[ADMISSION RULE] root and oar users are not allowed to submit jobs.\n",
            "",
            "[ADMISSION RULE] root and oar users are not allowed to submit jobs.",
            False,
            False,
        ),
        (
            8,
            "[ADMISSION RULE] Set default walltime to 7200.\n"
            "[ADMISSION RULE] Modify resource description with type constraints\nOAR_JOB_ID=-5\n",
            "There are not enough resources for your request\n"
            "[ERROR] Oarsub failed, please verify your request syntax.\n",
            "There are not enough resources for your request",
            False,
            False,
        ),
        (
            9,
            "OAR_JOB_ID=5\n",
            "[ERROR] Cannot connect to executor server:6666. Job is killed.\n",
            "[ERROR] Cannot connect to executor server:6666. Job is killed.",
            True,
            True,
        ),
        (None, "", "", "oarstat did not end in time", True, True),
        (8, "", "", "oarstat ended with exit code 8", False, False),
    ],
)
def test_refusals(
    code: int | None, out: str, err: str, message: str, transient: bool, uncertain: bool
) -> None:
    rejected = adapter.parse_submit(result(out, code, err), None)
    assert rejected == Rejected(message, transient, False, uncertain)


def test_no_oar_here() -> None:
    for told in (
        result("", None, missing=True),
        result("", 127, "oarsub: 3: exec: oarsub: not found\n"),
    ):
        rejected = adapter.parse_submit(told, None)
        assert isinstance(rejected, Rejected)
        assert "not in PATH" in rejected.message
        assert not rejected.transient
        assert "not in PATH" in (adapter.parse_ping(told) or "")
    assert adapter.parse_site(result("", 1)) is None


def test_requests() -> None:
    killed = "Cannot frag 1 ; This job was already killed.\n"
    assert adapter.parse_request(result("Deleting the job = 1 ...REGISTERED.\n")) is None
    assert adapter.parse_request(result("Deleting the job = 1 ...ERROR.\n", 6, killed)) is None
    foreign = adapter.parse_request(
        result("x\n", 1, killed + "Cannot frag 9 ; You are not the right user.\n")
    )
    assert foreign is not None
    assert "not the right user" in foreign.message
    held = adapter.parse_request(result("", 1, "/!\\ Cannot hold 1 : not in the right state\n"))
    assert held is not None


def test_ids_and_commands() -> None:
    assert adapter.check_id("12") is None
    for wrong in ("", "12_3", "-1", "1 2", "\u0661", "1;2"):
        assert "must be a number" in (adapter.check_id(wrong) or "")
    assert adapter.record_name("12") == (None, "12")
    many = [str(n) for n in range(2500)]
    assert len(adapter.query_commands(many)) == 3
    assert len(adapter.cancel_commands(many)) == 3
    assert adapter.query_commands(["4", "5"])[0].argv[-1] == "job_id IN (4,5)"
    assert adapter.accounting_commands(many) == []
    assert adapter.parse_accounting(result()).unavailable
