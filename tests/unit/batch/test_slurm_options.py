"""From a specification to the options of sbatch."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import InvalidJobException, JobAttributes, JobSpec, ResourceSpecV1
from exaworks.psij.executors.batch import Request
from exaworks.psij.executors.slurm import SlurmAdapter


def options(
    spec: JobSpec | None = None, needs: ResourceSpecV1 | None = None, **attributes: object
) -> dict[str, str | None]:
    spec = spec or JobSpec("/bin/true")
    if attributes:
        spec.attributes = JobAttributes(**attributes)  # type: ignore[arg-type]
    found = SlurmAdapter().options(Request(spec, needs or ResourceSpecV1(), "n", "/log"))
    pairs = [option.removeprefix("--").partition("=") for (option,) in found]
    return {key: value if equals else None for key, equals, value in pairs}


def custom(**attributes: object) -> dict[str, str | None]:
    named = {f"slurm.{key}": value for key, value in attributes.items()}
    return options(custom_attributes=named)


def test_nothing_that_was_not_asked_for() -> None:
    assert options(duration=None) == {"job-name": "n", "export": "ALL", "output": "/log"}


def test_attributes() -> None:
    found = options(queue_name="q", account="a", reservation_id="r", duration=timedelta(hours=30))
    assert (found["partition"], found["account"], found["reservation"]) == ("q", "a", "r")
    assert found["time"] == "1-06:00:00"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "00:00:01"), (61, "00:01:01"), (3600, "01:00:00"), (172799.5, "2-00:00:00")],
)
def test_walltime_is_rounded_up(seconds: float, text: str) -> None:
    assert options(duration=timedelta(seconds=seconds))["time"] == text


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({"process_count": 4}, {"ntasks": "4"}),
        ({"node_count": 2}, {"nodes": "2", "ntasks": "2", "ntasks-per-node": "1"}),
        (
            {"node_count": 2, "processes_per_node": 3},
            {"nodes": "2", "ntasks": "6", "ntasks-per-node": "3"},
        ),
        (
            {"process_count": 6, "processes_per_node": 3},
            {"nodes": "2", "ntasks": "6", "ntasks-per-node": "3"},
        ),
        ({"processes_per_node": 3}, {"nodes": "1", "ntasks": "3", "ntasks-per-node": "3"}),
        ({"cpu_cores_per_process": 2}, {"cpus-per-task": "2"}),
        ({"gpu_cores_per_process": 2}, {"ntasks": "1", "gpus-per-task": "2"}),
        ({"gpu_cores_per_process": 0}, {}),
        ({"exclusive_node_use": True}, {"ntasks": "1", "exclusive": None}),
        ({"memory": 1}, {"mem": "1M"}),
        ({"memory": 3 * 2**20}, {"mem": "3M"}),
        (
            {"node_count": 2, "memory": 3 * 2**20},
            {"nodes": "2", "ntasks": "2", "ntasks-per-node": "1", "mem": "2M"},
        ),
    ],
)
def test_resources(needs: dict[str, int], expected: dict[str, str | None]) -> None:
    base = options(duration=None)
    found = options(JobSpec("x"), ResourceSpecV1(**needs), duration=None)  # type: ignore[arg-type]
    assert {key: value for key, value in found.items() if key not in base} == expected


def test_the_multiple_launcher_needs_all_processes_on_one_node() -> None:
    spec = JobSpec("/bin/true", launcher="multiple")
    assert options(spec, ResourceSpecV1(process_count=4))["nodes"] == "1"


@given(
    memory=st.integers(1, 2**50),
    nodes=st.integers(1, 1000),
)
def test_memory_is_enough_and_not_much_more(memory: int, nodes: int) -> None:
    needs = ResourceSpecV1(node_count=nodes, memory=memory)
    text = options(JobSpec("x"), needs)["mem"]
    assert text is not None
    per_node = int(text.removesuffix("M")) * 2**20
    assert memory <= per_node * nodes < memory + nodes * 2**20


def test_environment_and_directory() -> None:
    spec = JobSpec("x", inherit_environment=False, directory="~/a b")
    found = options(spec)
    assert found["export"] == "NONE"
    assert found["chdir"] == str(spec.directory.expanduser())  # type: ignore[union-attr]
    assert SlurmAdapter().setup(spec) == ["export SLURM_EXPORT_ENV=ALL"]
    assert SlurmAdapter().setup(JobSpec("x")) == []


def test_custom_attributes() -> None:
    found = custom(constraint="a&b", nice=5, requeue=None, contiguous=True, hold="", x=False)
    assert found["constraint"] == "a&b"
    assert found["nice"] == "5"
    assert [found[name] for name in ("requeue", "contiguous", "hold")] == [None, None, None]
    assert "exclude" not in found
    found = custom(mail_type="END", C="x", M="other")
    assert (found["mail-type"], found["constraint"], found["clusters"]) == ("END", "x", "other")


def test_custom_attributes_of_others_are_ignored() -> None:
    found = options(custom_attributes={"pbs.x": "1", "x": 1, "SLURM.Nice": "2", "slurm": 3})
    assert "x" not in found
    assert found["nice"] == "2"


def test_custom_attributes_take_the_place_of_the_specification() -> None:
    found = options(
        JobSpec("x"),
        ResourceSpecV1(memory=5),
        queue_name="q",
        custom_attributes={"slurm.p": "other", "slurm.mem": "7G", "slurm.J": "mine"},
    )
    assert (found["partition"], found["mem"], found["job-name"]) == ("other", "7G", "mine")


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("array", "submit_many"),
        ("a", "submit_many"),
        ("wrap", "executable"),
        ("parsable", "native_id"),
        ("wait", "job.wait"),
        ("output", "stdout_path"),
        ("o", "stdout_path"),
        ("error", "stderr_path"),
        ("chdir", "directory"),
        ("D", "directory"),
        ("export", "environment"),
        ("export_file", "environment"),
        ("test-only", "render"),
        ("", "slurm.constraint"),
        ("--nice", "slurm.constraint"),
        ("a b", "slurm.constraint"),
        ("z", "slurm.constraint"),
    ],
)
def test_custom_attributes_that_would_break_us_are_refused(name: str, fix: str) -> None:
    with pytest.raises(InvalidJobException, match=fix):
        custom(**{name: "1"})


@given(st.text(min_size=1).filter(lambda t: "\0" not in t))
def test_values_are_one_word_whatever_is_in_them(value: str) -> None:
    found = SlurmAdapter().options(
        Request(
            JobSpec("x", attributes=JobAttributes(custom_attributes={"slurm.comment": value})),
            ResourceSpecV1(),
            value,
            "/log",
        )
    )
    assert (f"--comment={value}",) in found
    assert (f"--job-name={value}",) in found


def test_arrays() -> None:
    found = SlurmAdapter().options(Request(JobSpec("x"), ResourceSpecV1(), None, "/log", 7))
    assert ("--array=0-6",) in found
    assert SlurmAdapter().log_path("/a%b/t", True) == "/a%%b/t_%a.log"
    assert SlurmAdapter().log_path("/a/t", False) == "/a/t.log"
