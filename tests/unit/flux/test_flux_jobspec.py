"""Jobs as Flux describes them (RFC 14, RFC 25)."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import (
    InvalidJobException,
    Job,
    JobAttributes,
    JobSpec,
    Launcher,
    ResourceSpecV1,
    StageIn,
)
from exaworks.psij.executors.flux.jobspec import build_jobspec, urgency
from exaworks.psij.executors.flux.task import Surroundings, Task, make_task

AROUND = Surroundings({"HOME": "/home/me", "PATH": "/bin"}, "/folder", "/logs")
TASK = Task(("true",), False, "/folder", {"A": "1"})


def described(spec: JobSpec, **kwargs: Any) -> dict[str, Any]:
    """The jobspec of a specification."""
    job = Job(spec)
    launcher = Launcher.get_instance(spec.launcher or "single")
    task = make_task(job, launcher, AROUND)
    needs = spec.resources or ResourceSpecV1()
    assert isinstance(needs, ResourceSpecV1)
    return build_jobspec(spec, needs, task, {"id": "x"}, **kwargs)


def core(count: int) -> dict[str, Any]:
    return {"type": "core", "count": count}


def slot(count: int, *within: dict[str, Any]) -> dict[str, Any]:
    return {"type": "slot", "label": "task", "count": count, "with": list(within)}


def node(count: int, *within: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "node", "count": count, "with": list(within), **more}


@pytest.mark.parametrize(
    ("launcher", "needs", "expected"),
    [
        (None, ResourceSpecV1(), slot(1, core(1))),
        (None, ResourceSpecV1(process_count=4, cpu_cores_per_process=2), slot(1, core(8))),
        (None, ResourceSpecV1(node_count=2, processes_per_node=3), node(2, slot(1, core(3)))),
        ("srun", ResourceSpecV1(process_count=4, cpu_cores_per_process=2), slot(4, core(2))),
        ("srun", ResourceSpecV1(node_count=2, processes_per_node=3), node(2, slot(3, core(1)))),
        ("srun", ResourceSpecV1(process_count=6, processes_per_node=3), node(2, slot(3, core(1)))),
        ("srun", ResourceSpecV1(node_count=2, process_count=6), node(2, slot(3, core(1)))),
        (
            "mpirun",
            ResourceSpecV1(process_count=2, gpu_cores_per_process=1),
            slot(2, core(1), {"type": "gpu", "count": 1}),
        ),
        (
            None,
            ResourceSpecV1(process_count=2, gpu_cores_per_process=1, exclusive_node_use=True),
            node(1, slot(1, core(2), {"type": "gpu", "count": 2}), exclusive=True),
        ),
    ],
    ids=str,
)
def test_resources(launcher: str | None, needs: ResourceSpecV1, expected: dict[str, Any]) -> None:
    jobspec = described(JobSpec("x", launcher=launcher, resources=needs))
    assert jobspec["resources"] == [expected]
    assert jobspec["tasks"][0]["count"] == {"per_slot": 1}


counts = st.integers(1, 50)


@given(st.booleans(), st.booleans(), counts, counts, counts, st.integers(0, 8), st.booleans())
def test_tasks_and_cores_add_up(
    native: bool, by_nodes: bool, nodes: int, each: int, cores: int, gpus: int, exclusive: bool
) -> None:
    needs = ResourceSpecV1(
        node_count=nodes if by_nodes else None,
        processes_per_node=each if by_nodes else None,
        process_count=None if by_nodes else each,
        cpu_cores_per_process=cores,
        gpu_cores_per_process=gpus,
        exclusive_node_use=exclusive,
    )
    task = Task(("x",), native, "/", {})
    (outer,) = build_jobspec(JobSpec("x"), needs, task, {})["resources"]
    on_nodes = outer["count"] if outer["type"] == "node" else 1
    inner = outer["with"][0] if outer["type"] == "node" else outer
    tasks = on_nodes * inner["count"]
    assert tasks == (needs.computed_process_count if native else on_nodes)
    amounts = {each["type"]: each["count"] * tasks for each in inner["with"]}
    processes = needs.computed_process_count
    assert amounts == {"core": processes * cores, **({"gpu": processes * gpus} if gpus else {})}


def test_system_attributes() -> None:
    attributes = JobAttributes(timedelta(minutes=1.5), "debug", "mine")
    spec = JobSpec("/bin/x", name="a name", attributes=attributes)
    dependency = {"scheme": "afterok", "value": "fA"}
    jobspec = build_jobspec(spec, ResourceSpecV1(), TASK, {"id": "x"}, [dependency])
    assert jobspec["version"] == 1
    assert jobspec["attributes"] == {
        "system": {
            "duration": 90.0,
            "cwd": "/folder",
            "environment": {"A": "1"},
            "queue": "debug",
            "bank": "mine",
            "job": {"name": "a name"},
            "dependencies": [dependency],
            "shell": {"options": {"output": {"stdout": {"type": "file", "path": "/dev/null"}}}},
        },
        "user": {"exaworks": {"id": "x"}},
    }
    spec = JobSpec("/bin/x", attributes=JobAttributes(None))
    system = build_jobspec(spec, ResourceSpecV1(), TASK, {})["attributes"]["system"]
    assert system["duration"] == 0
    assert system["job"] == {"name": "x"}


def test_custom_attributes() -> None:
    custom = {
        "flux.project": "p",
        "flux.constraints": {"properties": ["gpu"]},
        "flux.shell.options.cpu-affinity": "off",
        "flux.shell.options.pmi.clique": None,
        "flux.exec.test": {"run_duration": "1s"},
        "slurm.constraint": "other",
        "flux.urgency": 20,
    }
    attributes = JobAttributes(custom_attributes=custom)
    system = described(JobSpec("x", attributes=attributes))["attributes"]["system"]
    assert system["project"] == "p"
    assert system["constraints"] == {"properties": ["gpu"]}
    assert system["exec"] == {"test": {"run_duration": "1s"}}
    options = system["shell"]["options"]
    assert (options["cpu-affinity"], options["pmi.clique"]) == ("off", True)
    assert "output" in options
    assert "urgency" not in system
    assert urgency(attributes) == 20


@pytest.mark.parametrize(
    "custom",
    [{"flux.x": object()}, {"flux.x": float("nan")}, {"flux.duration.x": 1}, {"flux.": 1},
     {"flux.a..b": 1}],
    ids=["object", "nan", "below a value", "no name", "empty name"],
)  # fmt: skip
def test_custom_attributes_that_make_no_sense(custom: dict[str, Any]) -> None:
    with pytest.raises(InvalidJobException, match="custom attribute"):
        described(JobSpec("x", attributes=JobAttributes(custom_attributes=custom)))


@pytest.mark.parametrize("value", [-1, 32, True, "16", 1.5])
def test_urgency_that_makes_no_sense(value: object) -> None:
    with pytest.raises(InvalidJobException, match=r"flux\.urgency"):
        urgency(JobAttributes(custom_attributes={"flux.urgency": value}))


def test_reservations_are_refused() -> None:
    with pytest.raises(InvalidJobException, match="reservation"):
        described(JobSpec("x", attributes=JobAttributes(reservation_id="r")))


def test_a_bare_command_is_handed_over_as_it_is() -> None:
    spec = JobSpec("prog", ["a b", "${HOME}", "${NO}", "${B}"], environment={"B": "${PATH}:/x"})
    jobspec = described(spec)
    assert jobspec["tasks"][0]["command"] == ["prog", "a b", "/home/me", "${NO}", "/bin:/x"]
    environment = jobspec["attributes"]["system"]["environment"]
    assert environment == {"HOME": "/home/me", "PATH": "/bin", "B": "/bin:/x"}
    spec.inherit_environment = False
    jobspec = described(spec)
    assert jobspec["attributes"]["system"]["environment"] == {"B": "${PATH}:/x"}


def test_native_tasks() -> None:
    spec = JobSpec("prog", ["x"], launcher="mpirun", stdout_path="out", stderr_path="out")
    jobspec = described(spec)
    assert jobspec["tasks"][0]["command"] == ["prog", "x"]
    options = jobspec["attributes"]["system"]["shell"]["options"]
    assert options == {
        "output": {"stdout": {"type": "file", "path": "/folder/out"}},
        "exit-timeout": "none",
        "exit-on-error": 1,
    }
    spec = JobSpec("prog", launcher="multiple", directory="/d", stderr_path="err")
    jobspec = described(spec)
    system = jobspec["attributes"]["system"]
    assert system["cwd"] == "/"
    assert system["shell"]["options"] == {
        "output": {
            "stdout": {"type": "file", "path": "/dev/null"},
            "stderr": {"type": "file", "path": "/d/err"},
        },
        "exit-timeout": "none",
    }
    assert jobspec["tasks"][0]["command"][-3:] == ["/d", "", "prog"]


@pytest.mark.parametrize(
    "spec",
    [
        JobSpec("x", launcher="srun", stdout_path="a{{id}}"),
        JobSpec("x", launcher="srun", stdout_path="\udcff"),
        JobSpec("x", launcher="srun", environment={"A": "\udcff"}),
    ],
    ids=["template", "path", "environment"],
)
def test_what_native_tasks_cannot_have(spec: JobSpec) -> None:
    with pytest.raises(InvalidJobException):
        described(spec)


def test_scripts_for_all_else() -> None:
    for spec in (
        JobSpec("x", directory="/d"),
        JobSpec("x", stdin_path="/in"),
        JobSpec("x", pre_launch="/p"),
        JobSpec("x", directory="/d", stage_in={StageIn(Path("/a"), "b")}),
        JobSpec("x", resources=ResourceSpecV1(node_count=2)),
    ):
        command = described(spec)["tasks"][0]["command"]
        assert command[:3] == ["/bin/bash", "--norc", "-c"], spec
    spec = JobSpec("x", pre_launch="/p", launcher="mpirun")
    command = described(spec)["tasks"][0]["command"]
    assert "flux run --ntasks=1 x" in command[-1]
    assert '"$_psij_flux" start' in command[2]


def test_what_is_no_text_of_this_system() -> None:
    for spec in (JobSpec("x", ["\ud800"]), JobSpec("x", directory="/\ud800")):
        with pytest.raises(InvalidJobException, match="remove it"):
            described(spec)


anything = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@given(st.lists(anything, min_size=1, max_size=5), anything.map(lambda t: "/" + t))
def test_all_can_be_written_as_json(words: list[str], path: str) -> None:
    bytes_as_text = [w.encode("utf-8", "replace").decode("latin-1") for w in words]
    for spec in (
        JobSpec("/" + words[0], words[1:]),
        JobSpec("/" + bytes_as_text[0], [w + "\udcff" for w in bytes_as_text], directory=path),
    ):
        json.dumps(described(spec), ensure_ascii=False).encode()
