"""Job scripts as real shells run them, with the environment that Slurm would give them."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exaworks.psij import Job, JobAttributes, JobSpec, JobState, Launcher, StageIn
from exaworks.psij.executors.batch.jobscript import (
    Entry,
    Submission,
    array_name,
    job_name,
    plan,
    render,
)
from exaworks.psij.executors.batch.report import Report, parse_report
from exaworks.psij.executors.batch.spool import Spool
from exaworks.psij.executors.slurm import SlurmAdapter
from exaworks.psij.runner import LocalRunner

SHELLS = [s for s in ("/bin/sh", "/bin/bash") if shutil.which(s)]
TOKEN = "0123456789abcdef"
anything = st.binary(max_size=40).filter(lambda b: b"\0" not in b).map(os.fsdecode)
words = anything | st.text("${}AB'\"\\ \n`!*~#;&|<>()[]%\t=-", max_size=25)


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    spool = Spool(LocalRunner(), str(tmp_path / "a folder"))
    spool.prepare()
    return spool


def entry(spec: JobSpec) -> Entry:
    job = Job(spec)
    return Entry(job, Launcher.get_instance(spec.launcher or "single"), job)


def rendered(spool: Spool, *specs: JobSpec, keep: bool = False) -> Submission:
    entries = [entry(spec) for spec in specs]
    submission = render(entries, SlurmAdapter(), spool, TOKEN, keep, os.getcwd())
    if submission.elements is not None:
        assert submission.elements_path is not None
        LocalRunner().write(submission.elements_path, submission.elements)
    return submission


def run(
    submission: Submission, index: int | None = None, shell: str = "/bin/sh", **environment: str
) -> subprocess.CompletedProcess[bytes]:
    variables = {
        "PATH": os.environ["PATH"],
        "SLURM_JOB_ID": "42",
        "SLURM_JOB_NODELIST": "node1",
        "SLURM_CLUSTER_NAME": "here",
        **environment,
    }
    if index is not None:
        variables.update(SLURM_ARRAY_JOB_ID="40", SLURM_ARRAY_TASK_ID=str(index))
    return subprocess.run(
        [shell], input=submission.script, capture_output=True, env=variables, timeout=30
    )


def record_of(spool: Spool, site: str | None) -> Report | None:
    return spool.find_records({"job": (site, "42")}).get("job")


def reports(spool: Spool) -> list[Report]:
    return spool.take_reports()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("code", [0, 1, 7, 127, 255])
def test_the_exit_code_is_reported_recorded_and_returned(
    spool: Spool, shell: str, code: int
) -> None:
    done = run(rendered(spool, JobSpec("/bin/sh", ["-c", f"exit {code}"])), shell=shell)
    assert (done.returncode, done.stdout, done.stderr) == (code, b"", b"")
    active, end = reports(spool)
    assert (active.token, active.native_id, active.state) == (TOKEN, "42", JobState.ACTIVE)
    assert (end.state, end.code, end.terminated, end.step) == (None, code, False, "ACTIVE")
    assert (end.nodes, end.restarts, end.message) == ("node1", 0, None)
    assert end.begun is not None
    assert end.ended is not None
    record = record_of(spool, "here")
    assert record is not None
    assert (record.code, record.token) == (code, TOKEN)
    assert record_of(spool, "elsewhere") is None
    assert record_of(spool, None) == record
    assert reports(spool) == []


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("number", [9, 11, 15])
def test_the_script_dies_of_the_signal_of_its_job(spool: Spool, shell: str, number: int) -> None:
    done = run(rendered(spool, JobSpec("/bin/sh", ["-c", f"kill -{number} $$"])), shell=shell)
    assert done.returncode == -number
    end = reports(spool)[-1]
    assert (end.code, end.signal) == (128 + number, number)


def test_sigterm_is_noted(spool: Spool) -> None:
    done = run(rendered(spool, JobSpec("/bin/sh", ["-c", "kill $PPID; exit 3"])))
    assert done.returncode == 3
    end = reports(spool)[-1]
    assert (end.code, end.terminated) == (3, True)


def test_sigterm_that_has_only_reached_the_program_is_noted(spool: Spool) -> None:
    log = Path(spool.path("log", f"{TOKEN}.log"))
    log.write_text("x CANCELLED AT\n")
    run(rendered(spool, JobSpec("/bin/false")))
    assert not reports(spool)[-1].terminated
    log.write_text("slurmstepd-n: error: *** JOB 4 ON n CANCELLED AT 2026-11-22T13:45:11 ***\n")
    run(rendered(spool, JobSpec("/bin/false")))
    assert reports(spool)[-1].terminated
    assert log.exists()


def test_a_missing_directory_is_named(spool: Spool, tmp_path: Path) -> None:
    done = run(rendered(spool, JobSpec("/bin/true", directory=tmp_path / "no such")))
    assert done.returncode == 1
    (end,) = reports(spool)
    assert str(tmp_path / "no such") in (end.message or "")
    assert (end.phase, end.step) == ("setup", "")


def test_stages_are_reported(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    spec = JobSpec("/bin/true", directory=tmp_path, stage_in={StageIn(tmp_path / "f", "g")})
    spec.cleanup = {"g"}
    run(rendered(spool, spec))
    assert {r.state for r in reports(spool)} == {
        JobState.STAGE_IN,
        JobState.ACTIVE,
        JobState.CLEANUP,
        None,
    }


def test_restarts_and_old_records(spool: Spool) -> None:
    run(rendered(spool, JobSpec("/bin/false")), SLURM_RESTART_COUNT="2")
    assert {r.restarts for r in reports(spool)} == {2}
    # a job that is killed at once leaves no record of its predecessor behind
    run(rendered(spool, JobSpec("/bin/sh", ["-c", "kill -9 $PPID"])))
    assert record_of(spool, "here") is None


def test_a_submission_that_was_given_up_does_not_run(spool: Spool, tmp_path: Path) -> None:
    submission = rendered(spool, JobSpec("/bin/sh", ["-c", f"touch '{tmp_path}/ran'"]))
    LocalRunner().write(spool.path("void", TOKEN), b"")
    assert run(submission).returncode != 0
    assert not (tmp_path / "ran").exists()


def test_nothing_is_left_after_success(spool: Spool) -> None:
    log = Path(spool.path("log", f"{TOKEN}.log"))
    log.write_text("from a prolog\n")
    run(rendered(spool, JobSpec("/bin/true")))
    assert not log.exists()
    assert list(Path(spool.path("nodes", "")).iterdir()) == []
    log.write_text("why it failed\n")
    run(rendered(spool, JobSpec("/bin/false")))
    assert log.exists()
    assert reports(spool)[-1].log == str(log)
    run(rendered(spool, JobSpec("/bin/true"), keep=True))
    assert log.exists()


def test_the_job_runs_though_its_submitter_is_gone(spool: Spool, tmp_path: Path) -> None:
    submission = rendered(spool, JobSpec("/bin/echo", ["x"], stdout_path=tmp_path / "out"))
    spool.close()
    done = run(submission)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "out").read_text() == "x\n"
    assert record_of(spool, "here") is not None


@pytest.mark.parametrize(("tasks", "expected"), [("", 1), ("1", 1), ("4", 4), ("3(x1)", 3)])
def test_node_list(spool: Spool, tmp_path: Path, tasks: str, expected: int) -> None:
    spec = JobSpec("/bin/sh", ["-c", 'cat "$PSIJ_NODEFILE"'], stdout_path=tmp_path / "out")
    run(rendered(spool, spec), SLURM_TASKS_PER_NODE=tasks)
    assert (tmp_path / "out").read_text() == "node1\n" * expected


def test_node_list_of_several_nodes(spool: Spool, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    scontrol = tmp_path / "bin" / "scontrol"
    scontrol.write_text("#!/bin/sh\nprintf '%s\\n' a b c d\n")
    scontrol.chmod(0o755)
    spec = JobSpec("/bin/sh", ["-c", 'cat "$PSIJ_NODEFILE"'], stdout_path=tmp_path / "out")
    run(
        rendered(spool, spec),
        PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        SLURM_JOB_NUM_NODES="4",
        SLURM_JOB_NODELIST="[a-d]",
        SLURM_TASKS_PER_NODE="2(x2),1,3",
    )
    assert (tmp_path / "out").read_text().split() == ["a", "a", "b", "b", "c", "d", "d", "d"]


@pytest.mark.parametrize("shell", SHELLS)
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(arguments=st.lists(st.lists(words, max_size=3), min_size=2, max_size=4), data=st.data())
def test_each_element_of_an_array_gets_its_own_arguments(
    spool: Spool, tmp_path: Path, shell: str, arguments: list[list[str]], data: st.DataObject
) -> None:
    show = ["-c", 'for i; do printf "%s\\0" "$i"; done; exit $((SLURM_ARRAY_TASK_ID + 1))', "x"]
    specs = [
        JobSpec("/bin/sh", show + each, stdout_path=tmp_path / f"out\n{i} x")
        for i, each in enumerate(arguments)
    ]
    submission = rendered(spool, *specs)
    assert submission.elements is not None
    assert submission.elements.count(b"\n") == len(specs)
    index = data.draw(st.integers(0, len(specs) - 1))
    done = run(submission, index, shell)
    assert (done.returncode, done.stderr) == (index + 1, b"")
    expected = b"".join(os.fsencode(a) + b"\0" for a in arguments[index])
    assert (tmp_path / f"out\n{index} x").read_bytes() == expected
    assert reports(spool)[-1].native_id == f"40_{index}"


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("name", ["USR1", "USR2", "XCPU", "ALRM"])
def test_a_warning_to_the_script_does_not_end_the_job(spool: Spool, shell: str, name: str) -> None:
    spec = JobSpec("/bin/sh", ["-c", f"kill -{name} $PPID; exit 3"])
    assert run(rendered(spool, spec), shell=shell).returncode == 3
    assert reports(spool)[-1].code == 3


@pytest.mark.parametrize("shell", SHELLS)
def test_a_job_that_was_stopped_before_its_launch_is_not_launched(
    spool: Spool, tmp_path: Path, shell: str
) -> None:
    (tmp_path / "pre.sh").write_text("kill -TERM $$\n")
    spec = JobSpec("/bin/touch", [str(tmp_path / "ran")], pre_launch=tmp_path / "pre.sh")
    assert run(rendered(spool, spec), shell=shell).returncode == -15
    assert not (tmp_path / "ran").exists()
    end = reports(spool)[-1]
    assert (end.code, end.terminated) == (143, True)


def test_a_lost_file_of_elements_is_told(spool: Spool) -> None:
    submission = rendered(spool, JobSpec("/bin/true"), JobSpec("/bin/true"))
    assert submission.elements_path is not None
    os.unlink(submission.elements_path)
    assert run(submission, 1).returncode == 1
    (end,) = reports(spool)
    assert submission.elements_path in (end.message or "")


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=words.filter(bool))
def test_options_are_in_the_script_only_if_that_is_safe(spool: Spool, name: str) -> None:
    spec = JobSpec("/bin/true", name=name, attributes=JobAttributes(queue_name="q"))
    submission = rendered(spool, spec)
    script = os.fsdecode(submission.script)
    directives = [line for line in script.split("\n") if line.startswith("#SBATCH")]
    assert "#SBATCH --partition=q" in directives
    in_script = f"#SBATCH --job-name={name}" in directives
    on_line = (f"--job-name={name}",) in submission.outside
    assert in_script is not on_line
    if in_script:
        assert not set(name) & set(" '\"\\#\n\t$`")


def test_names() -> None:
    assert job_name(JobSpec("/usr/bin/env")) == "env"
    assert job_name(JobSpec("/usr/bin/env", name="mine")) == "mine"
    assert job_name(JobSpec("/usr/bin/env", name="a/b")) == "a/b"
    assert array_name([JobSpec("x", name="a"), JobSpec("x", name="a")]) == "a"
    assert array_name([JobSpec("x", name="run-1"), JobSpec("x", name="run-12")]) == "run"
    assert array_name([JobSpec("x", name="a"), JobSpec("x", name="b")]) is None
    assert array_name([JobSpec("x"), JobSpec("x")]) == "x"


def test_plans_are_equal_for_jobs_that_differ_only_in_their_elements() -> None:
    def plan_of(**fields: object) -> object:
        spec = JobSpec("/bin/a", **fields)  # type: ignore[arg-type]
        return plan(entry(spec), SlurmAdapter())

    base = plan_of()
    for alike in (
        {"name": "n"},
        {"arguments": ["x"]},
        {"environment": {"A": "1"}},
        {"stdout_path": "/x"},
    ):
        assert plan_of(**alike) == base
    for different in (
        {"directory": "/x"},
        {"inherit_environment": False},
        {"attributes": JobAttributes(queue_name="q")},
        {"pre_launch": "/x"},
        {"cleanup": {"x"}, "directory": "/x"},
    ):
        assert plan_of(**different) != base


def test_incomplete_reports_are_left_alone() -> None:
    whole = b"token=t\nid=5\nstate=END\ncode=0\nmessage=a\nb\n--end--\n"
    complete = parse_report(whole, 1.0)
    assert complete is not None
    assert (complete.message, complete.time) == ("a\nb", 1.0)
    for length in range(len(whole)):
        assert parse_report(whole[:length], 1.0) is None


@given(st.binary(max_size=200))
def test_garbage_is_no_report(data: bytes) -> None:
    assert parse_report(data, 0.0) is None
    parse_report(data + b"\n--end--\n", 0.0)
    parse_report(b"token=t\n" + data + b"\nmessage=\n--end--\n", 0.0)
