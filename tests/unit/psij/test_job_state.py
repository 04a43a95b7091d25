"""States: order, path, and the names clients use."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import JobState
from exaworks.psij.job_state import JobStateOrder

states = st.sampled_from([s for s in JobState if s is not JobState.HELD])


def test_values_are_those_of_psij_python_main() -> None:
    names = "NEW QUEUED STAGE_IN ACTIVE STAGE_OUT CLEANUP COMPLETED FAILED CANCELED"
    assert [JobState(i).name for i in range(9)] == names.split()


@given(states)
def test_text_name_pickle_and_truth(state: JobState) -> None:
    assert str(state) == repr(state) == state.name
    assert JobState.from_name(str(state)) is state
    assert pickle.loads(pickle.dumps(state)) is state
    assert state


@given(states, states)
def test_final_states_are_not_comparable(a: JobState, b: JobState) -> None:
    if a.final and b.final and a is not b:
        assert a.is_greater_than(b) is None
    elif a is b:
        assert a.is_greater_than(b) is False
    else:
        assert a.is_greater_than(b) is not b.is_greater_than(a)


@given(states, states, states)
def test_order_is_transitive(a: JobState, b: JobState, c: JobState) -> None:
    if a.is_greater_than(b) and b.is_greater_than(c):
        assert a.is_greater_than(c)


@given(states, states, st.booleans())
def test_path_moves_forward_to_the_target(a: JobState, b: JobState, everything: bool) -> None:
    path = JobStateOrder.path(a, b, everything)
    if a.final or b.is_greater_than(a) is not True:
        assert path == []
        return
    assert path[-1] is b
    for earlier, later in zip([a, *path], path, strict=False):
        assert later.is_greater_than(earlier)


def test_path_fills_in_what_the_specification_demands() -> None:
    assert JobStateOrder.path(JobState.NEW, JobState.COMPLETED, False) == [
        JobState.QUEUED,
        JobState.ACTIVE,
        JobState.COMPLETED,
    ]
    assert JobStateOrder.path(JobState.QUEUED, JobState.COMPLETED, True) == [
        JobState.STAGE_IN,
        JobState.ACTIVE,
        JobState.STAGE_OUT,
        JobState.CLEANUP,
        JobState.COMPLETED,
    ]
    assert JobStateOrder.path(JobState.ACTIVE, JobState.CANCELED, True) == [JobState.CANCELED]
    assert JobStateOrder.path(JobState.QUEUED, JobState.FAILED, False) == [JobState.FAILED]
    assert JobStateOrder.path(JobState.QUEUED, JobState.FAILED, False, ran=True) == [
        JobState.ACTIVE,
        JobState.FAILED,
    ]
    assert JobStateOrder.path(JobState.ACTIVE, JobState.FAILED, True, ran=True) == [
        JobState.STAGE_OUT,
        JobState.CLEANUP,
        JobState.FAILED,
    ]


def test_prev() -> None:
    assert JobStateOrder.prev(JobState.COMPLETED) is JobState.CLEANUP
    assert JobStateOrder.prev(JobState.QUEUED) is JobState.NEW
    assert JobStateOrder.prev(JobState.NEW) is None
    assert JobStateOrder.prev(JobState.FAILED) is None


def test_unknown_name() -> None:
    with pytest.raises(KeyError):
        JobState.from_name("DONE")
