"""From a specification to the options of qsub."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import InvalidJobException, JobAttributes, JobSpec, ResourceSpecV1
from exaworks.psij.executors.batch import Option, Request
from exaworks.psij.executors.grid_engine import GridEngineAdapter

adapter = GridEngineAdapter()
BASE = {"-S": ["/bin/bash"], "-j": ["y"], "-wd": ["/"], "-o": ["/log"], "-N": ["n"]}
texts = st.text(min_size=1).filter(lambda t: "\0" not in t)


def request(
    spec: JobSpec | None = None,
    needs: ResourceSpecV1 | None = None,
    name: str | None = "n",
    log: str = "/log",
    **attributes: object,
) -> Request:
    spec = spec or JobSpec("/bin/true", inherit_environment=False)
    attributes.setdefault("duration", None)
    spec.attributes = JobAttributes(**attributes)  # type: ignore[arg-type]
    return Request(spec, needs or ResourceSpecV1(), name, log)


def options(*arguments: object, **fields: object) -> dict[str, list[str]]:
    found = adapter.options(request(*arguments, **fields))  # type: ignore[arg-type]
    assert len({option[0] for option in found}) == len(found)
    return {first: rest for first, *rest in found}


def custom(needs: ResourceSpecV1 | None = None, **attributes: object) -> dict[str, list[str]]:
    named = {f"grid_engine.{key}": value for key, value in attributes.items()}
    return options(needs=needs, custom_attributes=named)


def test_nothing_that_was_not_asked_for() -> None:
    assert options() == BASE
    assert options(JobSpec("x")) == {**BASE, "-V": []}


def test_attributes() -> None:
    found = options(queue_name="q", account="a", reservation_id="7", duration=timedelta(hours=30))
    assert [found[k] for k in ("-q", "-P", "-ar", "-l")] == [["q"], ["a"], ["7"], ["h_rt=108000"]]


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1"), (61, "61"), (172799.5, "172800")])
def test_walltime_is_rounded_up(seconds: float, text: str) -> None:
    assert options(duration=timedelta(seconds=seconds))["-l"] == [f"h_rt={text}"]


@pytest.mark.parametrize(
    ("needs", "attributes", "expected"),
    [
        ({"process_count": 4}, {"pe": "smp"}, {"-pe": ["smp", "4"]}),
        ({"process_count": 4, "cpu_cores_per_process": 3}, {"pe": "smp"}, {"-pe": ["smp", "12"]}),
        ({"node_count": 2, "processes_per_node": 3}, {"pe": "mpi"}, {"-pe": ["mpi", "6"]}),
        ({}, {"pe": "smp"}, {"-pe": ["smp", "1"]}),
        ({}, {"pe": "mpi 8-16"}, {"-pe": ["mpi", "8-16"]}),
        ({"memory": 1}, {}, {"-l": ["mem_free=1K"]}),
        ({"memory": 4096, "process_count": 2}, {"pe": "s"}, {"-l": ["mem_free=2K"]}),
        ({"memory": 8192}, {"pe": "s 4-"}, {"-l": ["mem_free=2K"]}),
        ({"memory": 1024}, {"memory_resource": "h_vmem,x"}, {"-l": ["h_vmem=1K,x=1K"]}),
        ({"memory": 1024}, {"memory_resource": ["a", "b"]}, {"-l": ["a=1K,b=1K"]}),
        ({"memory": 1024}, {"memory_resource": None}, {}),
        ({"gpu_cores_per_process": 2}, {}, {"-l": ["gpu=2"]}),
        ({"gpu_cores_per_process": 2}, {"gpu_resource": "cuda"}, {"-l": ["cuda=2"]}),
        ({"gpu_cores_per_process": 0}, {}, {}),
        (
            {"gpu_cores_per_process": 2, "node_count": 2, "processes_per_node": 3},
            {"pe": "mpi"},
            {"-l": ["gpu=6"]},
        ),
        ({"exclusive_node_use": True}, {}, {"-l": ["excl=true"]}),
        ({"exclusive_node_use": True}, {"exclusive_resource": "whole"}, {"-l": ["whole=true"]}),
        ({"memory": 1024}, {"l": "mem_free=5G,arch=x"}, {"-l": ["mem_free=5G,arch=x"]}),
        ({"memory": 1024}, {"l": "arch=x"}, {"-l": ["mem_free=1K,arch=x"]}),
    ],
)
def test_resources(
    needs: dict[str, int], attributes: dict[str, object], expected: dict[str, list[str]]
) -> None:
    found = custom(ResourceSpecV1(**needs), **attributes)  # type: ignore[arg-type]
    assert {key: found.get(key) for key in expected} == expected
    assert ("-l" in found) is ("-l" in expected)


@given(memory=st.integers(1, 2**50), slots=st.integers(1, 1000))
def test_memory_is_enough_and_not_much_more(memory: int, slots: int) -> None:
    (text,) = custom(ResourceSpecV1(memory=memory, process_count=slots), pe="smp")["-l"]
    per_slot = int(text.removeprefix("mem_free=").removesuffix("K")) * 1024
    assert memory <= per_slot * slots < memory + slots * 1024


@pytest.mark.parametrize(
    "needs",
    [{"process_count": 2}, {"cpu_cores_per_process": 2}, {"node_count": 2}],
)
def test_more_slots_need_a_parallel_environment(needs: dict[str, int]) -> None:
    with pytest.raises(InvalidJobException, match=r"grid_engine\.pe.*qconf -spl"):
        options(needs=ResourceSpecV1(**needs))  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["smp x", "smp 1 2", "smp 4-x", "smp -"])
def test_parallel_environments_that_are_none(value: str) -> None:
    with pytest.raises(InvalidJobException, match="'smp 4'"):
        custom(pe=value)


@pytest.mark.parametrize("value", ["a b", "x=1", "1x", "a,b c"])
def test_resources_that_have_no_name(value: str) -> None:
    with pytest.raises(InvalidJobException, match="qconf -sc"):
        custom(ResourceSpecV1(memory=1), memory_resource=value)


def test_custom_attributes() -> None:
    found = custom(m="bea", R=None, r=False, notify="", p=-5, hold_jid="7,8", A="x", ckpt=False)
    assert (found["-m"], found["-p"], found["-hold_jid"]) == (["bea"], ["-5"], ["7,8"])
    assert (found["-R"], found["-r"], found["-notify"]) == (["y"], ["n"], [])
    assert "-ckpt" not in found
    assert options(custom_attributes={"sge.m": "b", "UGE.P": "p"})["-P"] == ["p"]


def test_custom_attributes_of_others_are_ignored() -> None:
    assert options(custom_attributes={"pbs.x": "1", "x": 1, "slurm.nice": "2", "sge": 3}) == BASE


def test_custom_attributes_take_the_place_of_the_specification() -> None:
    found = options(
        queue_name="q",
        account="a",
        custom_attributes={"grid_engine.q": "other", "sge.P": "b", "grid_engine.N": "mine"},
    )
    assert (found["-q"], found["-P"], found["-N"]) == (["other"], ["b"], ["mine"])


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("t", "submit_many"),
        ("sync", "job.wait"),
        ("terse", "native_id"),
        ("o", "stdout_path"),
        ("e", "stderr_path"),
        ("i", "stdin_path"),
        ("cwd", "directory"),
        ("wd", "directory"),
        ("v", "environment"),
        ("V", "inherit_environment"),
        ("S", "interpreter"),
        ("verify", "render"),
        ("clear", "sge_request"),
        ("@", "one by one"),
        ("", "grid_engine.m"),
        ("-q", "grid_engine.m"),
        ("a b", "grid_engine.m"),
    ],
)
def test_custom_attributes_that_would_break_us_are_refused(name: str, fix: str) -> None:
    with pytest.raises(InvalidJobException, match=fix):
        custom(**{name: "1"})


@pytest.mark.parametrize("value", ["a\0b", "a\nb"])
def test_values_that_cannot_be_given(value: str) -> None:
    with pytest.raises(InvalidJobException, match="NUL or a new line"):
        custom(ac=value)


@given(texts)
def test_values_are_one_word_whatever_is_in_them(value: str) -> None:
    if "\n" in value or not value.strip():
        return
    assert custom(M=value)["-M"] == [value.strip()]


@given(texts)
def test_names_are_such_as_qsub_takes_and_are_remembered(name: str) -> None:
    found = options(name=name)
    (short,) = found["-N"]
    assert re.fullmatch(r"[A-Za-z._+=][A-Za-z0-9._+=-]{0,200}", short)
    assert short.lower() not in ("none", "all", "template")
    if short != name:
        (context,) = found["-ac"]
        assert re.fullmatch(r"psij_name=[A-Za-z0-9_.~%-]+", context)
        assert unquote(context.partition("=")[2]) == name
    else:
        assert "-ac" not in found


@given(texts)
def test_directories_are_remembered(name: str) -> None:
    found = options(JobSpec("x", directory=f"/{name}"))
    (context,) = found["-ac"]
    assert re.fullmatch(r"psij_directory=[A-Za-z0-9_.~%/-]+", context)
    assert unquote(context.partition("=")[2]) == str(JobSpec("x", directory=f"/{name}").directory)
    assert found["-wd"] == ["/"]


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/a b/l.log", "/a b/l.log"),
        ("/a:b/l.log", ":/a:b/l.log"),
        ("/a$b/l.log", "/a$b/l.log"),
        (adapter.log_path("/a/t", True), "/a/t_$TASK_ID.log"),
        (adapter.log_path("/a/t", False), "/a/t.log"),
    ],
)
def test_logs(path: str, word: str) -> None:
    assert options(log=path)["-o"] == [word]


@pytest.mark.parametrize("path", ["/a,b/l.log", "/$HOME/l.log", "/a$TASK_ID/l.log", "/a\nb/l.log"])
def test_logs_that_cannot_be_said(path: str) -> None:
    with pytest.raises(InvalidJobException, match="work_directory"):
        options(log=path)


def test_arrays_holds_and_dependencies() -> None:
    base = request()
    words = adapter.options(
        Request(base.spec, base.needs, "n", "/l", 7, {"afterany": ["5", "6.1", "6.2"]}, True)
    )
    found = {first: rest for first, *rest in words}
    assert (found["-t"], found["-hold_jid"], found["-h"]) == (["1-7"], ["5,6"], [])
    assert adapter.dependency_kinds == {"afterany"}


def command(script: bytes, inside: list[Option], outside: list[Option]) -> tuple[str, ...]:
    return adapter.submit_command([*inside, *outside], outside, script, "").argv


def test_options_in_the_script_and_outside() -> None:
    inside: list[Option] = [("-N", "n"), ("-V",)]
    outside: list[Option] = [("-o", "/a b")]
    head = b"#!/bin/bash\n#$ -N n\n#$ -V\n"
    argv = command(head + b"echo '\n #$ -q x'\n", inside, outside)
    assert argv[-4:] == ("-C", "#$", "-o", "/a b")
    assert "-N" not in argv
    for body in (b"echo 'a\n#$ -q x'", b"#$", b"#$x"):
        argv = command(head + body, inside, outside)
        assert argv[-7:] == ("-C", "", "-N", "n", "-V", "-o", "/a b")
