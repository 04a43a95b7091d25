"""Events of jobs, and what they mean: all rows of the table of verdicts."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flux_recording import DATA
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import JobState
from exaworks.psij.executors.flux.events import JobHistory

CASES = json.loads((DATA / "events.json").read_text())
S = JobState


def history_of(events: list[dict[str, Any]], stage_in: bool = False) -> JobHistory:
    history = JobHistory(stage_in)
    for event in events:
        history.take(event)
    return history


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_verdict(case: dict[str, Any]) -> None:
    status = history_of(case["events"]).job_status()
    assert status.state.name == case["state"]
    assert (status.exit_code, status.reason) == (case["exit_code"], case["reason"])
    assert status.signal == case["signal"]
    assert case["message"] in (status.message or "")
    ends = [e["timestamp"] for e in case["events"] if e["name"] in ("finish", "clean")]
    assert status.time == ends[0]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["case"])
def test_nothing_is_final_before_the_last_event(case: dict[str, Any]) -> None:
    assert case["events"][-1]["name"] == "clean"
    history = history_of(case["events"][:-1])
    assert not history.state.final
    started = any(event["name"] == "start" for event in case["events"])
    assert history.state is (S.ACTIVE if started else S.QUEUED)


@given(st.data())
def test_events_that_are_seen_again_change_nothing(data: st.DataObject) -> None:
    """After a lost connection all events of a job come once more."""
    case = data.draw(st.sampled_from(CASES))
    seen = data.draw(st.integers(0, len(case["events"])))
    history = JobHistory()
    events = [*case["events"][:seen], *case["events"]]
    states = [history.state for event in events if history.take(event)]
    assert history.job_status() == history_of(case["events"]).job_status()
    assert len(states) == len(set(states))


event = st.fixed_dictionaries(
    {"name": st.sampled_from(["submit", "start", "memo", "exception", "finish", "clean", "odd"])},
    optional={
        "timestamp": st.floats(0, 1e10),
        "context": st.fixed_dictionaries(
            {},
            optional={
                "severity": st.integers(0, 7),
                "type": st.sampled_from(["cancel", "timeout", "exec", "alloc", "x"]),
                "note": st.text(max_size=20),
                "status": st.integers(0, 65535).filter(lambda s: s & 0x7F != 0x7F),
                "urgency": st.integers(0, 31),
                "exaworks_state": st.sampled_from(["ACTIVE", "STAGE_OUT", "CLEANUP", "x", 1]),
                "exaworks_end": st.text(max_size=20) | st.integers(),
            },
        ),
    },
)


@given(st.lists(event, max_size=12), st.booleans())
def test_states_only_go_forward(events: list[dict[str, Any]], stage_in: bool) -> None:
    history = JobHistory(stage_in)
    before = history.state
    for each in events:
        changed = history.take(each)
        assert changed is (history.state is not before)
        if changed:
            assert history.state.is_greater_than(before)
            status = history.job_status()
            assert status.state is history.state
            assert (status.state is S.FAILED) <= bool(status.message)
            before = history.state


def test_states_that_a_script_tells() -> None:
    history = JobHistory(reports_stage_in=True)
    memos = [
        {"name": "memo", "timestamp": 3.0 + i, "context": {"exaworks_state": state}}
        for i, state in enumerate(["ACTIVE", "STAGE_OUT", "nonsense", "CLEANUP"])
    ]
    start = {"name": "start", "timestamp": 2.0}
    events = [{"name": "submit", "timestamp": 1.0}, start, *memos]
    states = [(history.state, history.since) for event in events if history.take(event)]
    assert states == [(S.STAGE_IN, 2.0), (S.ACTIVE, 3.0), (S.STAGE_OUT, 4.0), (S.CLEANUP, 6.0)]


def test_held() -> None:
    history = JobHistory()
    history.take({"name": "submit", "timestamp": 1.0, "context": {"urgency": 0}})
    assert history.held
    history.take({"name": "urgency", "timestamp": 2.0, "context": {"urgency": 16}})
    assert not history.held
