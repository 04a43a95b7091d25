"""JobSpec, ResourceSpecV1, JobAttributes, staging: values, conversions, bad input."""

import copy
import pickle
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import (
    URI,
    InvalidJobException,
    InvalidJobTypeException,
    JobAttributes,
    JobSpec,
    ResourceSpec,
    ResourceSpecV1,
    StageIn,
    StageOut,
    StageOutFlags,
)
from exaworks.psij.validate import check_spec, expand_home

counts = st.one_of(st.none(), st.integers(1, 64))


def test_positional_order_of_psij_python() -> None:
    spec = JobSpec("x", ["a"], "/d", "n", False, {"A": 1}, "i", "o", "e")
    assert (spec.executable, spec.arguments, spec.directory, spec.name) == (
        "x", ["a"], Path("/d"), "n",
    )  # fmt: skip
    assert spec.inherit_environment is False
    assert spec.environment == {"A": "1"}
    assert (spec.stdin_path, spec.stdout_path, spec.stderr_path) == (
        Path("i"), Path("o"), Path("e"),
    )  # fmt: skip


def test_name_is_the_executable_and_attributes_are_never_none() -> None:
    spec = JobSpec("/bin/date")
    assert spec.name == "/bin/date"
    assert spec.attributes == JobAttributes()
    spec.attributes.queue_name = "debug"
    assert spec.attributes.queue_name == "debug"


def test_specs_can_be_copied_and_pickled() -> None:
    spec = JobSpec(
        "x", ["a"], resources=ResourceSpecV1(node_count=2), stage_in={StageIn("a", "b")},
        attributes=JobAttributes(duration=timedelta(hours=1)), cleanup={"c"},
    )  # fmt: skip
    assert copy.deepcopy(spec) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec
    default = copy.deepcopy(JobAttributes())
    assert not default.duration_given
    assert not pickle.loads(pickle.dumps(default)).duration_given


@given(counts, counts, counts)
def test_computed_resources_follow_the_present_values(
    nodes: int | None, total: int | None, per_node: int | None
) -> None:
    spec = ResourceSpecV1()
    spec.node_count, spec.process_count, spec.processes_per_node = nodes, total, per_node
    try:
        spec.check()
    except InvalidJobException:
        with pytest.raises(InvalidJobException):
            ResourceSpecV1(nodes, total, per_node)
        return
    assert (
        spec.computed_process_count == spec.computed_node_count * spec.computed_processes_per_node
    )
    for given_value, computed in (
        (nodes, spec.computed_node_count),
        (total, spec.computed_process_count),
        (per_node, spec.computed_processes_per_node),
    ):
        assert given_value in (None, computed)


def test_resources_set_after_construction_count() -> None:
    spec = ResourceSpecV1()
    spec.process_count = 8
    assert spec.computed_process_count == 8


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"node_count": 0}, "node_count is 0"),
        ({"process_count": 3, "node_count": 2}, "multiple of node_count"),
        ({"process_count": 3, "processes_per_node": 2}, "multiple of processes_per_node"),
        ({"process_count": 8, "node_count": 2, "processes_per_node": 2}, "is 4"),
        ({"memory": "4G"}, "memory must be a whole number"),
        ({"node_count": True}, "node_count must be a whole number"),
    ],
)
def test_bad_resources(values: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidJobException, match=words):
        ResourceSpecV1(**values)  # type: ignore[arg-type]


def test_memory_in_kib_is_rounded_up() -> None:
    assert ResourceSpecV1(memory=1025).memory_kb == 2


def test_resource_versions() -> None:
    assert ResourceSpec.get_instance(1) == ResourceSpecV1()
    with pytest.raises(ValueError, match="version 2"):
        ResourceSpec.get_instance(2)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400), ("01:30", 5400), ("1:00:30", 3630), ("2-00:00:00", 172800),
        ("90s", 90), ("1.5 h", 5400), ("1d 12h", 129600), ("172800.0 s", 172800), ("90.5 s", 90.5),
    ],
)  # fmt: skip
def test_walltime(text: str, seconds: float) -> None:
    assert JobAttributes.parse_walltime(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "soon", "1:2:3:4", "5 w", "-3", "1h x"])
def test_bad_walltime(text: str) -> None:
    with pytest.raises(ValueError, match="hh:mm:ss"):
        JobAttributes.parse_walltime(text)


def test_project_name_is_an_alias_of_account() -> None:
    attributes = JobAttributes(project_name="p")
    assert attributes.account == "p"
    attributes.account = "q"
    assert attributes.project_name == "q"


def test_stage_out_flags_without_an_outcome_mean_always() -> None:
    assert StageOut("a", "b", flags=StageOutFlags.IF_PRESENT).flags == (
        StageOutFlags.IF_PRESENT | StageOutFlags.ALWAYS
    )
    assert StageOut("a", "b", flags=StageOutFlags.NONE).flags == StageOutFlags.ALWAYS
    assert StageOut("a", "b", flags=StageOutFlags.ON_ERROR).flags == StageOutFlags.ON_ERROR


def test_making_staging_objects_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    StageOut("a", "scp://u:p@host:22/b?q#f")
    assert capsys.readouterr() == ("", "")


def test_uri_parts() -> None:
    uri = URI("scp://me@host:22/a/b")
    assert (uri.scheme, uri.username, uri.hostname, uri.port, uri.path) == (
        "scp", "me", "host", 22, "/a/b",
    )  # fmt: skip
    assert URI("/a#b?c").path == "/a#b?c"
    assert URI("x") == URI("x")
    assert hash(URI("x")) == hash(URI("x"))


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        (JobSpec(), "executable is missing"),
        (JobSpec("a\0b"), "executable contains a NUL"),
        (JobSpec("a", "b c"), "write one item for each argument"),
        (JobSpec("a", ["b", 3]), r"arguments\[1\] must be a str or a path, not 3"),  # type: ignore[list-item]
        (JobSpec("a", ["b\0"]), r"arguments\[0\] contains a NUL"),
        (JobSpec("a", directory="out"), "must be absolute or begin with '~/'"),
        (JobSpec("a", environment={"A=B": "c"}), "must not be empty or contain '='"),
        (JobSpec("a", environment={"A": "\0"}), r"environment\['A'\] contains a NUL"),
        (JobSpec("a", launcher="mprun"), "launcher is 'mprun'; there are: .*mpirun"),
        (JobSpec("a", attributes=JobAttributes(duration=timedelta(0))), "more than zero"),
        (JobSpec("a", attributes=JobAttributes(queue_name=3)), "queue_name must be"),  # type: ignore[arg-type]
        (JobSpec("a", stage_in={StageIn("http://x/y", "z")}), "only files of this file system"),
        (JobSpec("a", cleanup={"x"}), "cleanup needs a directory"),
        (JobSpec("a", directory="/x/job", cleanup={"/x/job2/f"}), "not inside the job's directory"),
        (JobSpec("a", directory="/x/job", cleanup={"../job2/f"}), "not inside the job's directory"),
        (JobSpec("a", directory="/x/job", cleanup={"."}), "not inside the job's directory"),
    ],
)
def test_bad_specs_are_refused_with_the_field_named(spec: JobSpec, words: str) -> None:
    with pytest.raises(InvalidJobException, match=words):
        check_spec(spec)


def test_changed_resources_are_checked_again() -> None:
    spec = JobSpec("a", resources=ResourceSpecV1(node_count=2))
    assert spec.resources is not None
    spec.resources.process_count = 3  # type: ignore[attr-defined]
    with pytest.raises(InvalidJobException, match="multiple of node_count"):
        check_spec(spec)


def test_wrong_types_are_type_errors_too() -> None:
    with pytest.raises(TypeError):
        JobSpec("a", environment={1: "x"})  # type: ignore[dict-item]
    spec = JobSpec("a", environment={"x": "y"})
    assert spec.environment is not None
    spec.environment["z"] = [2]  # type: ignore[assignment]
    with pytest.raises(TypeError, match="environment"):
        check_spec(spec)
    with pytest.raises(InvalidJobTypeException, match="parse_walltime"):
        JobAttributes(duration="1:00:00")  # type: ignore[arg-type]


def test_paths_in_arguments_are_welcome() -> None:
    check_spec(JobSpec("cat", [Path("/etc/hosts")]))


def test_a_single_item_is_not_taken_apart() -> None:
    for field, value in (
        ("cleanup", "input"),
        ("cleanup", Path("input")),
        ("stage_in", StageIn("a", "b")),
        ("stage_out", StageOut("a", "b")),
        ("stage_in", 3),
        ("cleanup", [5]),
        ("cleanup_flags", 3),
    ):
        with pytest.raises(InvalidJobTypeException, match=field):
            setattr(JobSpec("x"), field, value)


def test_a_path_is_never_taken_for_a_uri() -> None:
    stage_in = StageIn(Path("run:1"), "x")
    assert stage_in.source.is_local
    assert stage_in.source.path == "run:1"
    assert not StageIn("run:1", "x").source.is_local
    assert URI("file:///a%20b").path == "/a b"


@pytest.mark.parametrize("user", ["~", "~/x", "~nosuchuser/x"])
def test_only_the_own_home_is_expanded(user: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert str(expand_home(Path(user))) == user.replace("~", "/home/me", 1) or user.startswith("~n")
    assert str(expand_home(Path("~nosuchuser/x"))) == "~nosuchuser/x"


@pytest.mark.parametrize(
    "spec",
    [
        JobSpec("x", {"a": 1}),  # type: ignore[arg-type]
        JobSpec("x", 5),  # type: ignore[arg-type]
        JobSpec("x", inherit_environment="no"),  # type: ignore[arg-type]
        JobSpec("x", name=Path("n")),  # type: ignore[arg-type]
        JobSpec("x", attributes=JobAttributes(custom_attributes=["x"])),  # type: ignore[arg-type]
        JobSpec("x", attributes=JobAttributes(queue_name=Path("q"))),  # type: ignore[arg-type]
    ],
)
def test_wrong_types_are_refused(spec: JobSpec) -> None:
    with pytest.raises(InvalidJobTypeException):
        check_spec(spec)


def test_an_executable_may_be_a_path() -> None:
    spec = JobSpec(Path("/bin/true"))
    check_spec(spec)
    assert spec.name == "/bin/true"
