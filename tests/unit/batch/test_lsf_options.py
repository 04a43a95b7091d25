"""From a specification to the options of bsub, and the script on its standard input."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exaworks.psij import InvalidJobException, JobAttributes, JobSpec, ResourceSpecV1
from exaworks.psij.executors.batch import Option, Request
from exaworks.psij.executors.lsf import LsfAdapter
from exaworks.psij.executors.lsf_options import job_name, one_line

adapter = LsfAdapter()
END = [("-env", "all"), ("-o", "/dev/null"), ("-Jd", "/l.log")]


def options(
    needs: ResourceSpecV1 | None = None, spec: JobSpec | None = None, **fields: Any
) -> list[Option]:
    spec = spec or JobSpec("x")
    more = {k: fields.pop(k) for k in ("array_count", "dependencies", "held") if k in fields}
    fields.setdefault("duration", None)
    spec.attributes = JobAttributes(**fields)
    return adapter.options(
        Request(spec, needs or ResourceSpecV1(), fields.pop("name", None), "/l.log", **more)
    )


def custom(**values: object) -> list[Option]:
    found = options(custom_attributes={f"lsf.{key}": value for key, value in values.items()})
    return [option for option in found if option not in END]


def test_nothing_that_was_not_asked_for() -> None:
    assert options() == END


def test_attributes() -> None:
    found = options(
        queue_name="q", account="a", reservation_id="r", duration=timedelta(hours=30, seconds=1)
    )
    assert found[:4] == [("-q", "q"), ("-P", "a"), ("-U", "r"), ("-W", "30:01")]


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({"process_count": 4}, [("-n", "4")]),
        ({"process_count": 1}, [("-n", "1"), ("-R", "span[hosts=1]")]),
        ({"cpu_cores_per_process": 8}, [("-n", "8"), ("-R", "span[hosts=1]")]),
        (
            {"node_count": 2, "processes_per_node": 3, "cpu_cores_per_process": 2},
            [("-n", "12"), ("-R", "span[ptile=6]")],
        ),
        ({"memory": 3 * 2**20 + 1}, [("-R", "rusage[mem=4MB]")]),
        (
            {"node_count": 2, "memory": 3 * 2**20},
            [("-n", "2"), ("-R", "span[ptile=1]"), ("-R", "rusage[mem=2MB]")],
        ),
        (
            {"node_count": 1, "processes_per_node": 2, "gpu_cores_per_process": 3},
            [("-n", "2"), ("-R", "span[ptile=2]"), ("-gpu", "num=6")],
        ),
        ({"exclusive_node_use": True}, [("-x",)]),
    ],
)
def test_resources(needs: dict[str, Any], expected: list[Option]) -> None:
    assert [o for o in options(ResourceSpecV1(**needs)) if o not in END] == expected


def test_whole_nodes_as_on_summit() -> None:
    attributes = {"lsf.nnodes": 4, "lsf.alloc_flags": "gpumps smt1", "lsf.R": "select[x]"}
    needs = ResourceSpecV1(node_count=4, processes_per_node=6)
    found = options(needs, custom_attributes=attributes)
    assert [o for o in found if o not in END] == [
        ("-nnodes", "4"), ("-alloc_flags", "gpumps smt1"), ("-R", "select[x]"),
    ]  # fmt: skip
    spec = JobSpec("x", resources=needs)
    spec.attributes = JobAttributes(custom_attributes=attributes)
    text = "\n".join(adapter.setup(spec)[2:]).replace('"$_psij_nodefile"', "/dev/stdout")
    hosts = "LSB_MCPU_HOSTS='batch3 1 h41n08 42 h41n03 42'\n"
    shown = subprocess.run(["sh", "-c", hosts + text], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["h41n08"] * 6 + ["h41n03"] * 6


@pytest.mark.parametrize(("cores", "lines"), [(1, "aaaabb"), (2, "aab")])
def test_the_list_of_nodes(cores: int, lines: str) -> None:
    text = adapter.shell_node_list.replace("_psij_hosts 1", f"_psij_hosts {cores}")
    shown = subprocess.run(
        ["sh", "-c", f"LSB_MCPU_HOSTS='a 4 b 2'\n{text}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.split() == list(lines)


def test_arrays_holds_and_dependencies() -> None:
    found = options(array_count=7, held=True, dependencies={"afterok": ["1", "2[3]"], "after": "4"})
    assert ("-J", "array[1-7]") in found
    assert ("-H",) in found
    assert ("-w", "done(1) && done(2[3]) && started(4)") in found
    found = options(dependencies={"afternotok": ["1"], "afterany": ["2"]})
    assert ("-w", "exit(1) && ended(2)") in found
    assert adapter.log_path("/a/t", True) == "/a/t_%I.log"


def test_environment_and_directory() -> None:
    found = options(spec=JobSpec("x", inherit_environment=False, directory="/a b"))
    assert ("-env", "none") in found
    assert ("-cwd", "/a b") in found
    assert not any(o[0] == "-cwd" for o in options(spec=JobSpec("x", directory="/a%J")))


def test_custom_attributes() -> None:
    found = custom(app="a&b", sp=5, rn=None, B=True, M="7GB", x=False)
    assert found == [("-app", "a&b"), ("-sp", "5"), ("-rn",), ("-B",), ("-M", "7GB")]
    assert options(queue_name="q", custom_attributes={"LSF.q": "p", "pbs.q": "r"})[0] == ("-q", "p")


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("J", "spec.name"), ("o", "stdout_path"), ("eo", "stdout_path"), ("K", "job.wait"),
        ("Is", "job.wait"), ("cwd", "directory"), ("env", "environment"), ("i", "stdin_path"),
        ("pack", "submit_many"), ("", "alloc_flags"), ("-q", "alloc_flags"), ("a b", "alloc_flags"),
    ],
)  # fmt: skip
def test_custom_attributes_that_would_break_us_are_refused(name: str, fix: str) -> None:
    with pytest.raises(InvalidJobException, match=fix):
        custom(**{name: "1"})


texts = st.text(min_size=1).filter(lambda t: "\0" not in t)


@given(texts, texts)
def test_values_are_one_word_and_names_make_no_arrays(value: str, name: str) -> None:
    found = options(
        queue_name=value, account=value, custom_attributes={"lsf.app": value, "lsf.R": value}
    )
    words = {option[0]: option[1:] for option in found}
    assert words["-q"] == words["-P"] == words["-app"] == words["-R"] == (value,)
    assert not set(job_name(name)) & set("[]%*/\n\"'\\")
    assert not job_name(name).startswith("-")
    with pytest.raises(InvalidJobException):
        custom(app="a\0b")


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [b"#BSUB -q bad", b" # BSUB -J x", b"'", b"\\", b"\\n", b"#", b"%s", b""]
            ),
            st.binary(max_size=8).map(lambda b: b.replace(b"\0", b"").replace(b"\r", b"")),
        ),
        max_size=6,
    )
)
def test_scripts_keep_their_meaning_whatever_is_in_them(parts: list[bytes]) -> None:
    """An argument of the job is quoted in the script; its lines may look like options."""
    argument = b"\n".join([b"", *parts, b""])
    quoted = b"'" + argument.replace(b"'", b"'\"'\"'") + b"'"
    script = b"#!/bin/bash\n#BSUB -q good\n\nset -- " + quoted + b'\nprintf %s "$1"\nexit 3\n'
    text = one_line(script, 1)
    told = [line for line in text.split(b"\n") if line.lstrip(b" \t").startswith(b"#")]
    assert [t for t in told if t.lstrip(b" \t#").startswith(b"BSUB")] == [b"#BSUB -q good"]
    shown = subprocess.run(["bash"], input=text, capture_output=True, check=False)
    assert (shown.stdout, shown.returncode) == (argument, 3)
