"""Specifications to JSON and back, without loss, and in psij-python's form."""

import json
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import (
    InvalidJobException,
    JobAttributes,
    JobSpec,
    JSONSerializer,
    ResourceSpecV1,
    StageIn,
    StageOut,
    StageOutFlags,
    StagingMode,
)

text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)
paths = text.filter(lambda t: t.strip("/.") != "")
modes = st.sampled_from(StagingMode)
specs = st.builds(
    JobSpec,
    executable=text,
    arguments=st.none() | st.lists(text),
    directory=st.none() | paths,
    name=st.none() | text,
    inherit_environment=st.booleans(),
    environment=st.none() | st.dictionaries(text, text),
    stdin_path=st.none() | paths,
    stdout_path=st.none() | paths,
    resources=st.none() | st.builds(
        ResourceSpecV1, node_count=st.none() | st.integers(1, 99),
        memory=st.none() | st.integers(1, 2**50), exclusive_node_use=st.booleans(),
    ),
    attributes=st.none() | st.builds(
        JobAttributes,
        duration=st.none() | st.timedeltas(timedelta(0), timedelta(days=999)),
        account=st.none() | text,
        custom_attributes=st.none() | st.dictionaries(text, text | st.integers() | st.booleans()),
    ),
    stage_in=st.sets(st.builds(StageIn, source=paths.map(lambda p: "/" + p), target=paths,
                               mode=modes), max_size=3),
    stage_out=st.sets(st.builds(StageOut, source=paths, target=paths.map(lambda p: "/" + p),
                                flags=st.sampled_from(StageOutFlags), mode=modes), max_size=3),
    cleanup=st.sets(paths, max_size=2),
    cleanup_flags=st.sampled_from(StageOutFlags),
)  # fmt: skip


@given(specs)
def test_nothing_is_lost(spec: JobSpec) -> None:
    written = JSONSerializer().dumps(spec)
    again = JSONSerializer().loads(written)
    assert again == spec
    assert again.attributes.duration_given == spec.attributes.duration_given
    assert JSONSerializer().dumps(again) == written


def test_the_form_is_that_of_psij_python() -> None:
    spec = JobSpec(
        "/bin/sleep", ["1"], "/tmp", environment={"a": "b"},
        resources=ResourceSpecV1(node_count=1),
        attributes=JobAttributes(duration=timedelta(days=2), custom_attributes={"a": 1}),
        launcher="single", stdout_path="x",
    )  # fmt: skip
    assert json.loads(JSONSerializer().dumps(spec)) == {
        "executable": "/bin/sleep", "arguments": ["1"], "directory": "/tmp", "name": "/bin/sleep",
        "environment": {"a": "b"}, "stdout_path": "x",
        "resources": {"node_count": 1, "__version": 1},
        "attributes": {"duration": "172800.0 s", "custom_attributes": {"a": 1}},
        "launcher": "single",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ("{", "not JSON"),
        ("[]", "must be a dict"),
        ('{"executable": "x", "argments": []}', "unknown key 'argments'; known keys: .*arguments"),
        ('{"resources": {"__version": 2}}', "__version is 2"),
        ('{"resources": {"nodes": 2}}', "unknown key 'nodes'"),
        ('{"attributes": {"duration": "soon"}}', "attributes.duration"),
        ('{"arguments": "x"}', "arguments must be a list"),
        ('{"stage_in": [{"source": "x"}]}', "lacks 'target'"),
        ('{"stage_in": [{"source": "x", "target": "y", "mode": "BEAM"}]}', "COPY, LINK, MOVE"),
    ],
)
def test_bad_json(written: str, words: str) -> None:
    with pytest.raises(InvalidJobException, match=words):
        JSONSerializer().loads(written)


def test_silent(capsys: pytest.CaptureFixture[str]) -> None:
    JSONSerializer().loads(JSONSerializer().dumps(JobSpec("x", ["y"])))
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("micro", [1, 10, 999_999, 1_000_000, 90_500_000, 10**15])
def test_durations_are_exact(micro: int) -> None:
    spec = JobSpec("x", attributes=JobAttributes(duration=timedelta(microseconds=micro)))
    again = JSONSerializer().loads(JSONSerializer().dumps(spec))
    assert again.attributes.duration == timedelta(microseconds=micro)


@pytest.mark.parametrize(
    "written",
    [
        '{"cleanup_flags": "x"}', '{"cleanup_flags": 4096}', '{"cleanup": [5]}',
        '{"attributes": {"duration": 1e300}}', '{"attributes": {"duration": NaN}}',
        '{"stage_in": [{"source": 1, "target": "x"}]}',
        '{"stage_in": [{"source": "a", "target": "x", "mode": {}}]}',
        '{"stage_out": [{"source": "a", "target": "x", "flags": "y"}]}',
        "[" * 100_000,
    ],
)  # fmt: skip
def test_what_json_allows_and_a_specification_does_not(written: str) -> None:
    with pytest.raises(InvalidJobException):
        JSONSerializer().loads(written)
