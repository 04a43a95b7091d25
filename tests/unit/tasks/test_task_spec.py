"""What a task may say of itself."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import JobSpec, ResourceSpecV1, StageIn
from exaworks.tasks import InvalidTaskError, Resources, TaskSpec, UnsupportedError
from exaworks.tasks.commands import command_words

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
specs = st.builds(
    TaskSpec,
    command=st.lists(words, min_size=1, max_size=4).filter(lambda each: bool(each[0])),
    name=st.none() | words,
    cores=st.integers(1, 9),
    gpus=st.sampled_from([0, 0.25, 1, 4]),
    memory=st.integers(0, 1 << 40),
    time_limit=st.none() | st.floats(0, 1e6),
    environment=st.dictionaries(words.filter(lambda k: k and "=" not in k), words, max_size=3),
    before=st.lists(words, max_size=2),
    priority=st.integers(-5, 5),
    restartable=st.booleans(),
    metadata=st.dictionaries(words, st.integers() | words, max_size=3),
)


@given(specs)
def test_json_and_back(spec: TaskSpec) -> None:
    assert TaskSpec.from_json(spec.to_json()) == spec


def test_simplest_forms() -> None:
    spec = TaskSpec([Path("/bin/echo"), "x"], time_limit=timedelta(minutes=2), stdout=Path("out"))  # type: ignore[list-item,arg-type]
    assert (spec.command, spec.time_limit, spec.stdout) == (("/bin/echo", "x"), 120.0, "out")
    assert spec.title == "echo"
    assert TaskSpec(function=math.sqrt).title == "sqrt"
    assert TaskSpec(["x"], ranks=4, cores=2).resources == Resources(ranks=4, cores=2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "either a command or a function"),
        ({"command": ["x"], "function": print}, "either a command or a function"),
        ({"command": "ls -l"}, r"command must be a list of words.*\['sh', '-c', line\]"),
        ({"command": []}, "command must be a list of words"),
        ({"command": [""]}, "executable, command\\[0\\], is empty"),
        ({"command": ["x", 5]}, "command must be text, not 5"),
        ({"command": ["x\0y"]}, "NUL"),
        ({"command": ["x"], "args": (1,)}, "args and kwargs are for functions"),
        ({"command": ["x"], "before": "cd /"}, "before must be a list"),
        ({"command": ["x"], "environment": {"A=B": "x"}}, "impossible name 'A=B'"),
        ({"command": ["x"], "environment": {"A": 5}}, r"environment\['A'\] must be text"),
        ({"command": ["x"], "cores": 0}, "cores must be a whole number of at least 1, not 0"),
        ({"command": ["x"], "cores": True}, "cores must be a whole number"),
        ({"command": ["x"], "gpus": 1.5}, "gpus must be a whole number or a fraction"),
        ({"command": ["x"], "gpus": math.nan}, "gpus must be"),
        ({"command": ["x"], "memory": 1e9}, "memory must be a whole number"),
        ({"command": ["x"], "nodes": 2}, "nodes must be a whole number from 1 to"),
        ({"command": ["x"], "ranks": 3, "nodes": 2}, "spread evenly over 2 nodes"),
        ({"command": ["x"], "time_limit": -1}, "time_limit must be a number of seconds"),
        ({"command": ["x"], "time_limit": math.nan}, "time_limit must be a number of seconds"),
        ({"command": ["x"], "retries": -1}, "retries must be at least 0"),
        ({"command": ["x"], "priority": "high"}, "priority must be a whole number"),
        ({"function": "x"}, "function must be something to call"),
        ({"function": print, "stdout": "x"}, "stdout is for commands"),
        ({"function": print, "ranks": 2}, "a function has one rank"),
    ],
)
def test_nonsense(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidTaskError, match=message):
        TaskSpec(**fields)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "no JSON"),
        ("[]", "an object of JSON"),
        ('{"command": ["x"], "cpus": 1}', "no field 'cpus'; it has: command, name, ranks"),
        ('{"command": ["x"], "environment": 3}', "wrong type"),
        ('{"function": "os.system", "args": ["x"]}', "no field 'function'"),
    ],
)
def test_json_that_is_no_task(text: str, message: str) -> None:
    with pytest.raises(InvalidTaskError, match=message):
        TaskSpec.from_json(text)


def test_what_has_no_json_form() -> None:
    with pytest.raises(InvalidTaskError, match="function has no JSON form"):
        TaskSpec(function=print).to_json()
    with pytest.raises(InvalidTaskError, match="metadata has no JSON form"):
        TaskSpec(["x"], metadata={"x": print}).to_json()


def test_a_job_and_back() -> None:
    spec = TaskSpec(
        ["./solver", "in put"],
        name="it",
        ranks=8,
        nodes=2,
        cores=3,
        gpus=1,
        memory=1 << 30,
        time_limit=90,
        environment={"A": "b"},
        directory="/data",
        stdin="/dev/null",
        stdout="out",
        stderr="err",
    )
    job = spec.to_job_spec()
    assert (job.executable, job.arguments, job.launcher) == ("./solver", ["in put"], "mpirun")
    assert job.attributes.duration == timedelta(seconds=90)
    assert TaskSpec.from_job_spec(job) == replace(spec, launcher="mpirun")


def test_a_job_starts_one_process_unless_it_says_more() -> None:
    job = JobSpec("/bin/true", resources=ResourceSpecV1(process_count=4))
    assert command_words(TaskSpec.from_job_spec(job)) == ["/bin/true"]
    plain = TaskSpec.from_job_spec(JobSpec("/bin/true", pre_launch="/it's", post_launch="/post"))
    assert plain.before == (""". '/it'"'"'s'""",)
    assert plain.after == (". /post",)
    assert plain.stdout == "/dev/null"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TaskSpec(function=print), "a Python function is no job"),
        (TaskSpec(["x"], gpus=0.5), "whole GPUs, not 0.5"),
        (TaskSpec(["x"], colocate="y"), "nothing like colocate"),
        (TaskSpec(["x"], before=["y"]), "nothing like before"),
        (TaskSpec(["x", "${HOME}"]), "would be replaced"),
    ],
)
def test_tasks_that_are_no_jobs(spec: TaskSpec, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        spec.to_job_spec()


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (JobSpec("x", stage_in=[StageIn("a", "b")]), "nothing like stage_in"),
        (JobSpec("x", ["${HOME}"]), "does not replace the variable"),
    ],
)
def test_jobs_that_are_no_tasks(job: JobSpec, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        TaskSpec.from_job_spec(job)
