"""From a specification to the options of Cobalt's qsub, and what Cobalt prints."""

from __future__ import annotations

import os
import re
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import InvalidJobException, JobAttributes, JobSpec, JobState, Reason
from exaworks.psij.executors.batch import Accepted, Rejected, Request
from exaworks.psij.executors.cobalt import CobaltAdapter
from exaworks.psij.resource_spec import ResourceSpecV1
from exaworks.psij.runner import Command, CommandResult, LocalRunner

DATA = Path(__file__).parent / "data" / "cobalt"
S = JobState
adapter = CobaltAdapter()


def options(needs: ResourceSpecV1 | None = None, log: str = "/l.log", **fields: Any) -> list[str]:
    more = {k: fields.pop(k) for k in ("name", "dependencies", "held") if k in fields}
    fields.setdefault("duration", None)
    spec = JobSpec("x", attributes=JobAttributes(**fields))
    found = adapter.options(Request(spec, needs or ResourceSpecV1(), log=log, **more))
    return [word for (word,) in found]


def result(
    stdout: str = "", code: int | None = 0, stderr: str = "", program: str = "qstat"
) -> CommandResult:
    return CommandResult(Command((program,)), code, stdout, stderr)


BASE = [
    "--nodecount=1", "--proccount=1", "--time=0", "--output=/l.log", "--error=/l.log",
    "--debuglog=/l.log", "--mode=script",
]  # fmt: skip


def test_options() -> None:
    assert options() == BASE
    found = options(
        ResourceSpecV1(node_count=2, processes_per_node=3),
        name="n m",
        queue_name="q",
        account="a",
        duration=timedelta(seconds=61),
        dependencies={"afterok": ["12", "13"]},
        held=True,
        custom_attributes={"cobalt.attrs": "x=1:y=2", "COBALT.t": 9, "cobalt.preemptable": None},
    )
    assert set(found) >= {
        "--nodecount=2", "--proccount=6", "--time=9", "--queue=q", "--project=a", "--jobname=n m",
        "--attrs=x=1:y=2", "--preemptable", "--dependencies=12:13", "--held",
    }  # fmt: skip
    assert "--queue=R.x" in options(queue_name="q", reservation_id="R.x")
    assert "--time=2" in options(duration=timedelta(seconds=61))


@pytest.mark.parametrize("log", ["/a b/l.log", "/a\nb", "/$jobid/l.log"])
def test_work_directories_that_cobalt_cannot_have(log: str) -> None:
    with pytest.raises(InvalidJobException, match="work directory"):
        options(log=log)


@pytest.mark.parametrize(
    ("name", "fix"),
    [
        ("o", "stdout_path"), ("cwd", "directory"), ("env", "environment"), ("I", "job.wait"),
        ("mode", "launcher"), ("dependencies", "dependencies"), ("", "cobalt.attrs"),
        ("--attrs", "cobalt.attrs"), ("z", "cobalt.attrs"),
    ],
)  # fmt: skip
def test_custom_attributes_that_would_break_us_are_refused(name: str, fix: str) -> None:
    with pytest.raises(InvalidJobException, match=fix):
        options(custom_attributes={f"cobalt.{name}": "1"})


@given(st.text(min_size=1).filter(lambda t: "\0" not in t))
def test_values_are_one_word_whatever_is_in_them(value: str) -> None:
    found = options(name=value, queue_name=value, custom_attributes={"cobalt.attrs": value})
    assert {f"--jobname={value}", f"--queue={value}", f"--attrs={value}"} <= set(found)


names = st.from_regex(re.compile(r"FIELD_[A-Z]{1,4}", re.ASCII), fullmatch=True)
values = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@given(st.dictionaries(names, st.one_of(values, st.just("a\udcff'\n\"$(x)"))))
def test_the_environment_comes_along(environment: dict[str, str]) -> None:
    folder = Path(os.environ.get("TMPDIR", "/tmp"))
    path = folder / f"exaworks-test-{os.getpid()}.sh"
    spec = JobSpec("x")
    (line,) = adapter.setup(spec)
    assert adapter.setup(JobSpec("x", inherit_environment=False)) == []
    path.write_text(f"#!/bin/bash\n{line}\nenv -0\n")
    path.chmod(0o700)
    try:
        command = adapter.submit_command([], [], path.read_bytes(), str(path))
        argv = ["true" if word == "qsub" else word for word in command.argv]
        subprocess.run(argv, env={**environment, "PATH": os.environ["PATH"]}, check=True)
        shown = subprocess.run([path], env={}, capture_output=True, check=True).stdout
        told = dict(item.partition("=")[::2] for item in os.fsdecode(shown).split("\0"))
        assert {k: v for k, v in told.items() if k.startswith("FIELD_")} == environment
        assert not path.with_name(f"{path.name}.env").exists()
    finally:
        path.unlink()


def test_submissions() -> None:
    said = 'Job routed to queue "default".\nMemory mode set to cache quad for queue default\n'
    assert adapter.parse_submit(result("347106\n", 0, said, "qsub"), None) == Accepted(["347106"])
    assert adapter.parse_submit(result(f"{said}7\n", 1, "", "qsub"), None) == Accepted(["7"])
    for stderr, transient, limit, uncertain in (
        ("<Fault 1001: \"Walltime less than the 'default' queue min walltime of 00:30:00\\n\">",
         False, False, False),
        ("The limit of 20 jobs per user in the 'default' queue has been reached", True, True,
         False),
        ("component error: Failed to connect to queue-manager: x", True, False, False),
        ("component error: Following exception occurred while trying to execute "
         "queue-manager.add_jobs: timed out", True, False, True),
        ("'nodecount' not provided", False, False, False),
    ):  # fmt: skip
        refused = adapter.parse_submit(result("", 1, stderr, "qsub"), None)
        assert isinstance(refused, Rejected)
        assert (refused.transient, refused.queue_limit, refused.uncertain) == (
            transient, limit, uncertain,
        )  # fmt: skip
    refused = adapter.parse_submit(result("welcome\n", 0, "", "qsub"), None)
    assert isinstance(refused, Rejected)
    assert refused.uncertain
    refused = adapter.parse_submit(LocalRunner().run(Command(("no-such-qsub",))), None)
    assert isinstance(refused, Rejected)
    assert "not in PATH" in refused.message


def test_recorded_states() -> None:
    answer = adapter.parse_query(result((DATA / "qstat-long.txt").read_text()))
    assert [(o.native_id, o.state, o.nodes) for o in answer.observations] == [
        ("763827", S.QUEUED, None), ("347106", None, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("queued", S.QUEUED), ("user_hold", S.QUEUED), ("admin_hold", S.QUEUED),
        ("dep_hold", S.QUEUED), ("maxrun_hold", S.QUEUED), ("starting", S.QUEUED),
        ("preempted", S.QUEUED), ("running", S.ACTIVE), ("killing", S.ACTIVE),
        ("exiting", S.ACTIVE), ("preempting", S.ACTIVE), ("done", S.ACTIVE),
        ("dep_fail", S.CANCELED), ("Running", S.ACTIVE), ("other", None),
    ],
)  # fmt: skip
def test_states(word: str, state: JobState | None) -> None:
    text = f"Message of the day\nJobID: 5\n    State     : {word}\n    Location  : nid00[1-4]\n\n"
    (found,) = adapter.parse_query(result(text)).observations
    assert (found.native_id, found.state) == ("5", state)
    assert (found.reason == Reason.DEPENDENCY) == (word == "dep_fail")
    if state is S.ACTIVE:
        assert found.nodes == "nid00[1-4]"


def test_answers_that_are_none() -> None:
    assert adapter.parse_query(result("", 1)).problem is None
    for code, stderr in ((1, "component error: Failed to connect to queue-manager"), (None, "")):
        assert adapter.parse_query(result("", code, stderr)).problem is not None
    assert "not that of Cobalt" in (adapter.parse_ping(result("Job id  Name\n")) or "")
    queues = "Name     Users  Groups  MinTime  MaxTime  MaxRunning  MaxQueued  MaxUserNodes\n"
    assert adapter.parse_ping(result(queues)) is None
    site = adapter.parse_site(result(queues))
    assert site is not None
    assert site.array_limit < 2


@given(st.text(), st.text(alphabet="JobID: 15\nSta\t", max_size=60))
def test_garbage(text: str, other: str) -> None:
    for garbage in (text, other):
        adapter.parse_query(result(garbage))
        adapter.parse_details(result(garbage))
        adapter.parse_logs(result(garbage))
        adapter.read_log(garbage)
        adapter.parse_submit(result(garbage, program="qsub"), None)


def test_requests() -> None:
    def said(text: str, code: int | None = 0, program: str = "qhold") -> Rejected | None:
        return adapter.parse_request(result(text, code, "", program))

    assert said("Placed user hold on jobs: \n      5\n") is None
    failed = "   Failed to place user hold on jobs: \n      job 5 "
    assert said(f"{failed}already in state 'user hold'\n") is None
    assert said(f"{failed}has already completed\n") is None
    assert said(f"{failed}encountered an unexpected problem\n") is not None
    assert said("      Deleted Jobs\nJobID  User\n=====\n5  me\n", 0, "qdel") is None
    assert said("component error: Failed to connect to queue-manager", 1, "qdel") is not None
    assert said("", None, "qdel") is not None


def test_details() -> None:
    text = (DATA / "qstat-long.txt").read_text()
    job, held = adapter.parse_details(result(text))
    assert job.info.owner == "ac.ssiddiqui"
    assert job.info.submission_time is not None
    assert job.info.submission_time.astimezone().isoformat() != ""
    assert job.info.submission_time.timestamp() == 1711722401
    assert (job.spec.name, job.spec.attributes.queue_name) == ("hostname_test", "iris")
    assert job.spec.attributes.duration == timedelta(minutes=10)
    assert job.spec.resources == ResourceSpecV1(node_count=1, process_count=1)
    assert held.spec.name == "hold_job"
    on_hold = text.replace("queued", "user_hold")
    assert [d.held for d in adapter.parse_details(result(on_hold))] == [True, False]


def test_logs_and_hints() -> None:
    text = "JobID: 5\n    OutputPath     : /w/log/t.log\n\n"
    assert adapter.parse_logs(result(text)) == {"5": "/w/log/t.log"}
    assert adapter.parse_list(result(text)) == ["5"]
    said = "x\nInfo: maximum execution time exceeded; initiating job termination\ny\n"
    hint = adapter.read_log(said)
    assert hint is not None
    assert hint.reason == Reason.TIMEOUT
    assert adapter.read_log("Info: user delete requested with signal SIGTERM by user x") is None


def test_ids() -> None:
    assert adapter.check_id("12") is None
    for bad in ("", "x", "1.h", "٣", "1 2"):
        assert adapter.check_id(bad) is not None


def test_nothing_of_ours_comes_into_the_environment_of_jobs() -> None:
    assert not adapter.submit_command([], [], b"", "/s").environment
