"""From a specification to the options of NQSV's qsub, and what NQSV prints."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import InvalidJobException, JobAttributes, JobSpec, JobState, Reason
from exaworks.psij.executors.batch import Accepted, Option, Rejected, Request
from exaworks.psij.executors.nqsv import NqsvAdapter
from exaworks.psij.executors.nqsv_options import job_name
from exaworks.psij.resource_spec import ResourceSpecV1
from exaworks.psij.runner import Command, CommandResult, LocalRunner

DATA = Path(__file__).parent / "data" / "nqsv"
S = JobState
adapter = NqsvAdapter()
END = [("-S", "/bin/bash"), ("-V",), ("-j", "o"), ("-o", "/l.log")]


def recorded(name: str) -> str:
    return (DATA / name).read_text()


def options(
    needs: ResourceSpecV1 | None = None, log: str = "/l.log", **fields: Any
) -> list[Option]:
    more = {k: fields.pop(k) for k in ("name", "array_count", "held") if k in fields}
    fields.setdefault("duration", None)
    spec = JobSpec("x", attributes=JobAttributes(**fields))
    return adapter.options(Request(spec, needs or ResourceSpecV1(), log=log, **more))


def result(
    stdout: str = "", code: int | None = 0, stderr: str = "", scope: str = ""
) -> CommandResult:
    return CommandResult(
        Command(("/bin/sh", "-c", "", "x", "q"), scope=scope), code, stdout, stderr
    )


def test_options() -> None:
    assert options() == END
    found = options(
        ResourceSpecV1(
            node_count=2, processes_per_node=3, cpu_cores_per_process=4, gpu_cores_per_process=1,
            memory=3 * 2**20, exclusive_node_use=True,
        ),
        name="1 a",
        queue_name="q",
        account="a",
        reservation_id="r",
        duration=timedelta(days=1, seconds=7507),
        held=True,
        custom_attributes={"nqsv.T": "openmpi", "nqsv.l.cputim_job": 5, "nqsv.group": "g"},
    )  # fmt: skip
    assert found == [
        ("-N", "j1_a"), ("-q", "q"), ("-A", "a"), ("-y", "r"), ("-b", "2"), ("--exclusive",),
        ("-T", "openmpi"), ("--group=g",), ("-l", "elapstim_req=26:05:07"), ("-l", "cpunum_job=12"),
        ("-l", "gpunum_job=3"), ("-l", "memsz_job=2mb"), ("-l", "cputim_job=5"),
        ("-S", "/bin/bash"), ("-h",), *END[1:],
    ]  # fmt: skip


def test_arrays_and_logs() -> None:
    found = options(array_count=7)
    assert ("-t", "1-7") in found
    assert found[-2:] == [("-o", "/dev/null"), ("-v", "EXAWORKS_OWN_LOG=1")]
    found = options(array_count=7, custom_attributes={"nqsv.v": "NQSV_MPI_VER=4.1.5"})
    assert found[-1] == ("-v", "NQSV_MPI_VER=4.1.5,EXAWORKS_OWN_LOG=1")
    assert options(custom_attributes={"nqsv.v": "A=1"})[-1] == ("-v", "A=1")
    for log in ("/a b/l.log", "/a:b/l.log", "/a%r/l.log", "/\u00e4/l.log"):
        assert options(log=log)[-1] == ("-v", "EXAWORKS_OWN_LOG=1")


@pytest.mark.parametrize("attributes", [{}, {"nqsv.T": "distrib"}])
def test_several_nodes_need_an_mpi(attributes: dict[str, object]) -> None:
    with pytest.raises(InvalidJobException, match=r"nqsv\.T"):
        options(ResourceSpecV1(node_count=2), custom_attributes=attributes)
    assert ("-b", "1") in options(ResourceSpecV1(node_count=1))


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("o", "stdout_path"), ("t", "submit_many"), ("V", "inherit_environment"), ("I", "job.wait"),
        ("S", "executable"), ("", "nqsv.T"), ("-b", "nqsv.T"), ("l.", "nqsv.T"), ("a b", "nqsv.T"),
    ],
)  # fmt: skip
def test_custom_attributes_that_would_break_us_are_refused(name: str, fix: str) -> None:
    with pytest.raises(InvalidJobException, match=fix):
        options(custom_attributes={f"nqsv.{name}": "1"})


texts = st.text(min_size=1).filter(lambda t: "\0" not in t and "\n" not in t)


@given(texts, st.text(min_size=1))
def test_values_are_one_word_and_names_are_allowed(value: str, name: str) -> None:
    found = options(queue_name=value, custom_attributes={"nqsv.M": value, "nqsv.group": value})
    assert {("-q", value), ("-M", value), (f"--group={value}",)} <= set(found)
    assert job_name(name).isascii()
    assert job_name(name)[0].isalpha()
    assert len(job_name(name)) <= 63
    assert not set(job_name(name)) & set(" \n'\"#/")


def test_the_commands_are_found_where_path_does_not_lead(tmp_path: Path) -> None:
    command = adapter.submit_command([("-q", "a b")], [("-q", "a b")], b"", "/s.sh")
    assert command.argv[-4:] == ("qsub", "-q", "a b", "/s.sh")
    assert "/opt/nec/nqsv/bin" in command.argv[2]
    fake = tmp_path / "qsub"
    fake.write_text("#!/bin/sh\nprintf '%s.' \"$@\"; echo $PATH\n")
    fake.chmod(0o755)
    ran = Command(command.argv, environment={"PATH": f"{tmp_path}:/usr/bin:/bin"})
    assert LocalRunner().run(ran).stdout == (
        f"-q.a b./s.sh.{tmp_path}:/usr/bin:/bin:/opt/nec/nqsv/bin\n"
    )
    nowhere = LocalRunner().run(Command(command.argv, environment={"PATH": "/nowhere"}))
    refused = adapter.parse_submit(nowhere, None)
    assert isinstance(refused, Rejected)
    assert "/opt/nec/nqsv/bin" in refused.message
    assert not refused.transient


def test_submissions() -> None:
    text = "\nRequest 143993.ace-ssiox submitted to queue: clexpress.\n"
    assert adapter.parse_submit(result(text), None) == Accepted(["143993.ace-ssiox"])
    for text in (
        "Request 7[].nqsv submitted to queue: q.",
        "Request 7.nqsv submitted to queue: q.",
    ):
        accepted = adapter.parse_submit(result(text), 2)
        assert accepted == Accepted(["7[1].nqsv", "7[2].nqsv"])
    refused = adapter.parse_submit(result("", 1, recorded("qsub-refused.txt")), None)
    assert isinstance(refused, Rejected)
    assert "Request not queued" in refused.message
    assert (refused.transient, refused.uncertain) == (False, False)
    for code, stderr in ((None, ""), (1, "Cannot connect to batch server. timed out")):
        refused = adapter.parse_submit(result("", code, stderr), None)
        assert isinstance(refused, Rejected)
        assert (refused.transient, refused.uncertain) == (True, True)
    refused = adapter.parse_submit(result("ok\n"), None)
    assert isinstance(refused, Rejected)
    assert refused.uncertain


def test_recorded_states() -> None:
    answer = adapter.parse_query(result(recorded("qstat.txt")))
    states = {o.word: o.state for o in answer.observations}
    active = {word for word, state in states.items() if state is S.ACTIVE}
    assert active == {"RUN", "CHK", "EXT", "POR", "SUS"}
    assert {word for word, state in states.items() if state is S.QUEUED} == {
        "PRR", "STG", "ARI", "FWD", "MIG", "QUE", "WAT", "GQD", "HLD", "HOL",
    }  # fmt: skip
    assert len(answer.observations) == 15
    assert not answer.skipped


def test_the_columns_that_are_asked_for() -> None:
    text = "welcome\n949573.nqsv RUN\n7[2].nqsv QUE\n8.nqsv XYZ\n9.nqsv\n10\n"
    answer = adapter.parse_query(result(text, scope="949573 7[2].nqsv"))
    found = {o.native_id: o.state for o in answer.observations}
    assert found == {"949573": S.ACTIVE, "7[2].nqsv": S.QUEUED, "8.nqsv": None}
    assert answer.skipped == ["9.nqsv", "10"]
    gone = "Batch Request: 949573.nqsv does not exist on nqsv.\n"
    answer = adapter.parse_query(result(gone))
    assert (answer.problem, list(answer.observations)) == (None, [])
    assert adapter.parse_query(result("", 1, "Cannot connect to batch server")).problem is not None
    assert adapter.parse_list(result("5.n RUN\n7[].n QUE\n7[1].n RUN\n")) == ["5.n", "7[1].n"]


def test_elements_that_are_still_to_come() -> None:
    told = {o.native_id: o for o in adapter.parse_query(result("7[].nqsv RUN\n")).observations}
    seen, inferred = adapter.look_again("7[3].nqsv", told)
    assert seen is not None
    assert (seen.native_id, seen.state, inferred) == ("7[3].nqsv", None, False)
    assert adapter.look_again("8[3].nqsv", told) == (None, False)
    assert adapter.look_again("7.nqsv", told) == (None, False)
    assert len(adapter.query_commands(["7[3].nqsv", "8"])) == 2
    assert len(adapter.query_commands([str(i) for i in range(9999)])) == 1


@given(st.text(), st.text(alphabet="[]. 15\nRUNQESTqequ:=", max_size=60))
def test_garbage(text: str, other: str) -> None:
    for garbage in (text, other):
        adapter.parse_query(result(garbage))
        adapter.parse_details(result(garbage))
        adapter.parse_logs(result(garbage))
        adapter.read_log(garbage)
        adapter.parse_submit(result(garbage), None)


def test_details() -> None:
    (job,) = adapter.parse_details(result("hello = you\n" + recorded("qstat-f.txt")))
    seen = job.observation
    assert (seen.native_id, seen.state, seen.word) == ("949573.nqsv", S.ACTIVE, "Post-running")
    assert (seen.cause, seen.nodes, job.held) == ("EXIT", "bnode009", False)
    assert job.info.submission_time == datetime(2026, 8, 26, 16, 10, 19)
    assert job.info.dispatch_time == datetime(2026, 8, 26, 16, 10, 26)
    assert (job.info.owner, job.info.wall_time, job.info.queue_name) == ("tanab", 184, "gen_S")
    assert (job.spec.name, job.spec.attributes.account) == ("izt1852ef", "SFC")
    assert job.spec.attributes.duration == timedelta(seconds=180)
    assert job.spec.attributes.reservation_id is None
    logs = adapter.parse_logs(result(recorded("qstat-f.txt")))
    assert logs["949573.nqsv"].startswith("/data/SFC/tanab/")
    waiting = recorded("qstat-f.txt").replace("Post-running", "Held")
    (job,) = adapter.parse_details(result(waiting))
    assert job.held
    assert job.info.estimated_start == "2026-08-26T16:10:29"


def test_the_log_of_a_job_that_was_killed() -> None:
    hint = adapter.read_log("output\n" + recorded("log-timeout.txt"))
    assert hint is not None
    assert hint.reason == Reason.TIMEOUT
    assert "SIGKILL" in hint.message
    line = "%NQSV(INFO): Batch job received signal SIGKILL. (Exceeded per-job memory size limit)"
    hint = adapter.read_log(line)
    assert hint is not None
    assert hint.reason == Reason.OUT_OF_MEMORY
    assert adapter.read_log("fine\nSuccess: (Exceeded per-req elapse time limit)\n") is None


def test_requests() -> None:
    assert adapter.parse_request(result()) is None
    assert adapter.parse_request(result("", 1, "Batch Request: 5.h does not exist on h.")) is None
    assert adapter.parse_request(result("", 1, "Not permitted.")) is not None
    assert adapter.parse_request(result("", None)) is not None
    (command,) = adapter.cancel_commands(["5.h", "7[2].h"])
    assert command.argv[-3:] == ("qdel", "5.h", "7[2].h")


def test_ids_and_ping() -> None:
    for good in ("12", "12.host", "12[3].a-b.c", "12[3]"):
        assert adapter.check_id(good) is None
    for bad in ("", "x", "12[]", "12[].h", "12.", "٣", "1 2", "12.-x y"):
        assert adapter.check_id(bad) is not None
    assert adapter.record_name("12[3].h") == ("nqsv", "12[3]")
    assert adapter.parse_ping(result(recorded("qstat.txt"))) is None
    assert adapter.parse_ping(result("")) is None
    assert "not that of NQSV" in (adapter.parse_ping(result("Job id  Name  User\n")) or "")


def test_nothing_of_ours_comes_into_the_environment_of_jobs() -> None:
    assert not adapter.submit_command([], [], b"", "/s").environment
