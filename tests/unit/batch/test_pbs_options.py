"""From a specification to the options of qsub."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import InvalidJobException, JobAttributes, JobSpec, ResourceSpecV1
from exaworks.psij.executors.batch import Option, Request
from exaworks.psij.executors.pbs_classic import PBSClassicAdapter
from exaworks.psij.executors.pbs_options import LOG_VARIABLE, NAME_VARIABLE, decode, job_name
from exaworks.psij.executors.pbspro import PBSProAdapter

pro, classic = PBSProAdapter(), PBSClassicAdapter()
FIXED = ["-k oed", "-j oe", "-o /log", "-S /bin/bash", "-V"]


def options(
    spec: JobSpec | None = None,
    needs: ResourceSpecV1 | None = None,
    adapter: PBSProAdapter | PBSClassicAdapter = pro,
    **attributes: object,
) -> list[str]:
    spec = spec or JobSpec("/bin/true")
    spec.attributes = JobAttributes(**{"duration": None, **attributes})  # type: ignore[arg-type]
    request = Request(spec, needs or ResourceSpecV1(), "n", "/log")
    return [" ".join(option) for option in adapter.options(request)]


def custom(adapter: PBSProAdapter | PBSClassicAdapter = pro, **attributes: object) -> list[str]:
    return options(
        adapter=adapter, custom_attributes={f"pbs.{k}": v for k, v in attributes.items()}
    )


def variables(found: list[Option]) -> dict[str, str]:
    text = next((option[1] for option in found if option[0] == "-v"), "")
    return dict(item.split("=", 1) for item in text.split(",") if item)


def test_nothing_that_was_not_asked_for() -> None:
    assert options() == ["-N n", *FIXED]
    assert options(JobSpec("x", inherit_environment=False)) == ["-N n", *FIXED[:-1]]
    assert options(adapter=classic) == [
        "-N n",
        "-j oe",
        "-o /dev/null",
        "-S /bin/bash",
        "-V",
        f"-v {LOG_VARIABLE}=/log",
    ]


def test_attributes() -> None:
    found = options(queue_name="q", account="a b", duration=timedelta(hours=30, seconds=0.5))
    assert found == ["-N n", "-q q", "-A a b", "-l walltime=30:00:01", *FIXED]
    assert "-q R12" in options(queue_name="q", reservation_id="R12.server")
    assert "-W x=FLAGS:ADVRES:r.3" in options(adapter=classic, reservation_id="r.3")


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({"process_count": 4}, ["select=4:ncpus=1:mpiprocs=1"]),
        ({"node_count": 2}, ["select=2:ncpus=1:mpiprocs=1", "place=scatter"]),
        (
            {"node_count": 2, "processes_per_node": 3, "cpu_cores_per_process": 4},
            ["select=2:ncpus=12:mpiprocs=3", "place=scatter"],
        ),
        ({"gpu_cores_per_process": 2}, ["select=1:ncpus=1:mpiprocs=1:ngpus=2"]),
        (
            {"node_count": 2, "memory": 3 * 2**20 + 1},
            ["select=2:ncpus=1:mpiprocs=1:mem=2mb", "place=scatter"],
        ),
        ({"exclusive_node_use": True}, ["select=1:ncpus=1:mpiprocs=1", "place=exclhost"]),
        (
            {"node_count": 1, "exclusive_node_use": True},
            ["select=1:ncpus=1:mpiprocs=1", "place=scatter:exclhost"],
        ),
        ({"gpu_cores_per_process": 0}, []),
    ],
)
def test_resources_of_pbs_pro(needs: dict[str, int], expected: list[str]) -> None:
    found = options(needs=ResourceSpecV1(**needs))  # type: ignore[arg-type]
    assert found == ["-N n", *(f"-l {text}" for text in expected), *FIXED]


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        ({"process_count": 4}, ["-l nodes=1:ppn=4"]),
        ({"node_count": 2, "processes_per_node": 3}, ["-l nodes=2:ppn=3"]),
        ({"process_count": 2, "cpu_cores_per_process": 3}, ["-l nodes=1:ppn=6"]),
        ({"gpu_cores_per_process": 2}, ["-l nodes=1:ppn=1:gpus=2"]),
        ({"memory": 3 * 2**20 + 1}, ["-l mem=4mb"]),
        ({"exclusive_node_use": True}, ["-l nodes=1:ppn=1", "-n"]),
    ],
)
def test_resources_of_torque(needs: dict[str, int], expected: list[str]) -> None:
    base = options(adapter=classic)
    found = options(adapter=classic, needs=ResourceSpecV1(**needs))  # type: ignore[arg-type]
    assert [option for option in found if option not in base] == expected


def test_the_multiple_launcher_needs_all_processes_on_one_node() -> None:
    found = options(JobSpec("x", launcher="multiple"), ResourceSpecV1(process_count=4))
    assert "-l select=1:ncpus=4:mpiprocs=4" in found


def test_torque_has_a_line_for_each_core_in_its_list_of_nodes() -> None:
    spec = JobSpec("x", resources=ResourceSpecV1(cpu_cores_per_process=3))
    assert "NR % 3 == 1" in "".join(classic.setup(spec))
    assert "awk" not in "".join(classic.setup(JobSpec("x")))


def test_custom_attributes() -> None:
    found = custom(p=5, r="n", filesystems="home:eagle", h=None, m=False)
    assert {"-p 5", "-r n", "-l filesystems=home:eagle", "-h"} <= set(found)
    assert not [option for option in found if option.startswith("-m")]
    found = custom(**{"W.umask": "022", "l.ngpus": 1, "W": "group_list=x,sandbox=PRIVATE"})
    assert {"-W umask=022", "-l ngpus=1", "-W group_list=x,sandbox=PRIVATE"} <= set(found)


def test_custom_attributes_take_the_place_of_the_specification() -> None:
    needs = ResourceSpecV1(node_count=2)
    for own in (
        {"pbs.l": "select=9:system=x,walltime=7:00"},
        {"pbs.l.select": "9:system=x", "pbspro.walltime": "7:00", "pbs.l.place": "pack"},
    ):
        found = options(needs=needs, duration=timedelta(1), custom_attributes=own)
        text = " ".join(found)
        assert text.count("select=") == text.count("walltime=") == 1, found
        assert "scatter" not in text
        assert "select=9:system=x" in text
    found = options(needs=needs, custom_attributes={"pbs.l": "nodes=2:ppn=1"})
    assert "select" not in " ".join(found)
    found = options(queue_name="q", custom_attributes={"PBS.q": "other", "pbs.N": "mine"})
    assert [o for o in found if o[:2] in ("-q", "-N")] == ["-N mine", "-q other"]


def test_custom_attributes_of_others_are_ignored() -> None:
    given_ = {"slurm.p": 1, "x": 1, "torque.p": 2, "pbs_classic.q": 3}
    assert options(custom_attributes=given_) == ["-N n", *FIXED]
    found = options(adapter=classic, custom_attributes={**given_, "pbspro.m": "n"})
    assert {"-p 2", "-q 3"} <= set(found)
    assert "-m n" not in found


@pytest.mark.parametrize(
    ("name", "value", "fix"),
    [
        ("J", "1", "submit_many"),
        ("t", "1", "submit_many"),
        ("o", "1", "stdout_path"),
        ("e", "1", "stderr_path"),
        ("j", "oe", "stdout_path"),
        ("V", None, "inherit_environment"),
        ("v", "A=1", "environment"),
        ("I", None, "job.wait"),
        ("W.block", "true", "job.wait"),
        ("W", "umask=022,block=true", "job.wait"),
        ("z", None, "native_id"),
        ("", "1", "filesystems"),
        ("-p", "1", "filesystems"),
        ("a b", "1", "filesystems"),
        ("p", "1\n#PBS -q x", "line break"),
    ],
)
def test_custom_attributes_that_would_break_us_are_refused(
    name: str, value: object, fix: str
) -> None:
    for adapter in (pro, classic):
        with pytest.raises(InvalidJobException, match=fix):
            custom(adapter, **{name: value})


@given(st.text(), st.sampled_from([15, 230]))
def test_names_are_such_as_pbs_allows(name: str, most: int) -> None:
    allowed = job_name(name, most)
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_.+-]*", allowed)
    assert len(allowed) <= most


anything = st.text(st.characters(exclude_characters="\0"), min_size=1)


@given(anything)
def test_what_pbs_does_not_allow_is_kept_in_variables(text: str) -> None:
    for adapter in (pro, classic):
        found = adapter.options(Request(JobSpec("x"), ResourceSpecV1(), text, f"/{text}"))
        said = variables(found)
        name = next(option[1] for option in found if option[0] == "-N")
        assert (decode(said[NAME_VARIABLE]) if NAME_VARIABLE in said else name) == text
        log = next(option[1] for option in found if option[0] == "-o")
        assert (decode(said[LOG_VARIABLE]) if LOG_VARIABLE in said else log) == f"/{text}"
        for value in said.values():
            assert re.fullmatch(r"[A-Za-z0-9_.~%/-]*", value)


@given(anything.filter(lambda t: "\n" not in t))
def test_values_are_one_word_whatever_is_in_them(value: str) -> None:
    spec = JobSpec("x", attributes=JobAttributes(queue_name=value, account=value))
    spec.attributes.custom_attributes = {"pbs.M": value, "pbs.W.x": value, "pbs.some": value}
    for adapter in (pro, classic):
        found = adapter.options(Request(spec, ResourceSpecV1(), "n", "/log"))
        for option in (
            ("-q", value),
            ("-A", value),
            ("-M", value),
            ("-W", f"x={value}"),
            ("-l", f"some={value}"),
        ):
            assert option in found


def test_arrays_dependencies_and_holds() -> None:
    after = {"after": ["1.s"], "afterok": ["2.s", "3.s"]}
    request = Request(JobSpec("x"), ResourceSpecV1(), None, "/log", 7, after, True)
    found = pro.options(request)
    assert {("-J", "0-6"), ("-h",), ("-W", "depend=after:1.s,afterok:2.s:3.s")} <= set(found)
    assert ("-t", "0-6") in classic.options(request)
    assert pro.log_path("/a/t", True) == "/a/t_^array_index^.log"
    assert pro.log_path("/a/t", False) == "/a/t.log"


def test_variables_of_a_surrounding_job_do_not_reach_the_new_one() -> None:
    command = pro.submit_command([], [("-A", "a b")], b"script", "")
    assert command.argv == ("qsub", "-A", "a b")
    assert command.input == b"script"
    assert {"PBS_DPREFIX", "PBS_JOB*", "PBS_O_*"} <= set(command.unset)
    assert "PBS_SERVER" not in command.unset
