"""What LSF prints, recorded from real ones, and garbage."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import JobState, Reason
from exaworks.psij.executors.batch import Accepted, Observation, Rejected
from exaworks.psij.executors.lsf import LsfAdapter
from exaworks.psij.executors.lsf_output import parse_details
from exaworks.psij.runner import Command, CommandResult

DATA = Path(__file__).parent / "data" / "lsf"
S = JobState
adapter = LsfAdapter()


def recorded(name: str) -> str:
    return (DATA / name).read_text()


def result(
    stdout: str = "", code: int | None = 0, stderr: str = "", program: str = "bjobs"
) -> CommandResult:
    return CommandResult(Command((program,)), code, stdout, stderr)


def listing(*records: dict[str, str]) -> str:
    return json.dumps({"COMMAND": "bjobs", "JOBS": len(records), "RECORDS": records}, indent=2)


def seen(text: str) -> dict[str, Observation]:
    answer = adapter.parse_query(result(text))
    assert answer.problem is None
    return {o.native_id: o for o in answer.observations}


def one(**fields: str) -> Observation:
    (found,) = seen(listing({"JOBID": "5", **fields})).values()
    return found


def test_recorded_states() -> None:
    done = seen(recorded("bjobs-done.json"))["22005"]
    assert (done.state, done.exit_code, done.nodes) == (S.COMPLETED, 0, "tbi-cn019")
    held = seen(recorded("bjobs-held.json"))["58652"]
    assert (held.state, held.word, held.nodes) == (S.QUEUED, "PSUSP", None)
    assert seen(recorded("bjobs-running.json"))["321"].state is S.ACTIVE
    killed = seen(recorded("bjobs-killed.txt"))["12345"]
    assert (killed.state, killed.reason, killed.cause) == (
        S.CANCELED, Reason.CANCELED, "TERM_OWNER",
    )  # fmt: skip
    assert "job killed by owner" in (killed.message or "")


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("PEND", S.QUEUED), ("PSUSP", S.QUEUED), ("WAIT", S.QUEUED), ("PROV", S.QUEUED),
        ("RUN", S.ACTIVE), ("USUSP", S.ACTIVE), ("SSUSP", S.ACTIVE), ("UNKWN", S.ACTIVE),
        ("ZOMBI", S.ACTIVE), ("DONE", S.COMPLETED), ("EXIT", S.FAILED), ("NEW", None), ("", None),
    ],
)  # fmt: skip
def test_states(word: str, state: JobState | None) -> None:
    found = one(STAT=word, EXIT_CODE="", EXIT_REASON="")
    assert (found.state, found.word) == (state, word)


@pytest.mark.parametrize(
    ("cause", "state", "reason"),
    [
        ("TERM_OWNER: job killed by owner", S.CANCELED, Reason.CANCELED),
        ("TERM_ADMIN: job killed by root or LSF administrator", S.CANCELED, Reason.CANCELED),
        ("TERM_FORCE_OWNER: x", S.CANCELED, Reason.CANCELED),
        ("TERM_RUNLIMIT: job killed after reaching LSF run time limit", S.FAILED, Reason.TIMEOUT),
        ("TERM_MEMLIMIT: x", S.FAILED, Reason.OUT_OF_MEMORY),
        ("TERM_PREEMPT: x", S.FAILED, Reason.PREEMPTED),
        ("TERM_REMOVE_HUNG_JOB: x", S.FAILED, Reason.NODE_FAILURE),
        ("TERM_CWD_NOTEXIST: x", S.FAILED, Reason.LAUNCH),
        ("TERM_ORPHAN_SYSTEM: x", S.CANCELED, Reason.DEPENDENCY),
        ("TERM_EXTERNAL_SIGNAL: job killed by a signal external to LSF", S.FAILED, None),
        ("TERM_UNKNOWN: unknown reason", S.FAILED, None),
        ("", S.FAILED, None),
        ("-", S.FAILED, None),
    ],
)
def test_ends(cause: str, state: JobState, reason: str | None) -> None:
    found = one(STAT="EXIT", EXIT_CODE="140", EXIT_REASON=cause)
    assert (found.state, found.reason, found.exit_code, found.signal) == (state, reason, 140, 12)


def test_exit_codes() -> None:
    assert (one(STAT="EXIT", EXIT_CODE="3").exit_code, one(STAT="EXIT").exit_code) == (3, None)
    assert one(STAT="EXIT", EXIT_CODE="255").signal is None
    assert one(STAT="RUN", EXEC_HOST="4*a:2*b:a").nodes == "a,b"


def test_arrays() -> None:
    text = listing(
        {"JOBID": "5", "JOBINDEX": "1", "STAT": "RUN"},
        {"JOBID": "5[2]", "JOBINDEX": "2", "STAT": "PEND"},
        {"JOBID": "6", "JOBINDEX": "0", "STAT": "RUN"},
        {"JOBID": "7", "ERROR": "Job <7> is not found"},
        {"JOBID": "x", "STAT": "RUN"},
    )
    answer = adapter.parse_query(result(text, 255))
    assert [o.native_id for o in answer.observations] == ["5[1]", "5[2]", "6"]
    assert len(answer.skipped) == 1
    assert adapter.parse_list(result(text)) == ["5[1]", "5[2]", "6"]


@pytest.mark.parametrize(
    ("stdout", "code", "stderr"),
    [
        ("", 255, "Job <1> is not found\nJob <2> is not found\n"),
        ("", 0, "No unfinished job found\n"),
        ("No job found\n", 0, ""),
        ('{"COMMAND":"bjobs","JOBS":0,"RECORDS":[]}', 255, ""),
    ],
)
def test_no_jobs(stdout: str, code: int, stderr: str) -> None:
    answer = adapter.parse_query(result(stdout, code, stderr))
    assert (answer.problem, list(answer.observations)) == (None, [])


@pytest.mark.parametrize(
    ("stdout", "code", "stderr"),
    [
        ("", 255, "batch system daemon not responding ... still trying\n"),
        ("LSF is down. Please wait ...\n", 255, ""),
        ("Batch system concurrent query limit exceeded ... retrying in 1 second(s). \n", 255, ""),
        ("", 0, ""),
        ('{\n"COMMAND":"bjobs",\n"RECORDS":[\n{"JOBID":"1"', 0, ""),
        ("", None, "Job <1> is not found"),
        ("[1, 2]", 0, ""),
        ('{"RECORDS": 5}', 0, ""),
    ],
)
def test_no_answer(stdout: str, code: int | None, stderr: str) -> None:
    assert adapter.parse_query(result(stdout, code, stderr)).problem is not None


@given(st.text(), st.text(alphabet='{}[]":,\n aJOBID15', max_size=40))
def test_garbage(text: str, other: str) -> None:
    for garbage in (text, other):
        adapter.parse_query(result(garbage))
        adapter.parse_details(result(garbage))
        adapter.parse_logs(result(garbage))
        adapter.parse_site(result(garbage))
        adapter.parse_submit(result(garbage), None)
    around = f"{text}\n{recorded('bjobs-done.json')}\n{other}"
    if "{" not in text and "\r" not in text:
        assert seen(around)["22005"].state is S.COMPLETED


@pytest.mark.parametrize(
    "text",
    [
        "Job <123> is submitted to queue <normal>.\n",
        "Job <123> is submitted to default queue <normal>.\n",
        "Cannot connect to LSF. Please wait ...\nJob <123> is submitted to queue <a b>.\n",
        "==> Site policy: Job <9> of <me> is fine\nJob <123> is submitted to queue <q>.\nBye\n",
    ],
)
def test_submissions(text: str) -> None:
    assert adapter.parse_submit(result(text), None) == Accepted(["123"])
    assert adapter.parse_submit(result(text), 3) == Accepted(["123[1]", "123[2]", "123[3]"])


@pytest.mark.parametrize(
    ("stderr", "code", "transient", "limit", "uncertain"),
    [
        ("bad: No such queue. Job not submitted.", 255, False, False, False),
        ("Bad argument for option -n. Job not submitted.", 255, False, False, False),
        ("User <joeuser>: Pending job threshold reached. Retrying in 60 seconds...", 255, True,
         True, False),
        ("Group <resUsers>: Pending job threshold reached. Retrying in 60 seconds...", None, True,
         True, True),
        ("LSF is down. Please wait ...", 255, True, False, False),
        ("batch system daemon not responding ... still trying", None, True, False, True),
        ("Failed in an LSF library call: LIM is down; try later. Job not submitted.", 255, True,
         False, False),
        ("Contacting batch daemon: Communication timeout. Job not submitted.", 255, True, False,
         True),
    ],
)  # fmt: skip
def test_refusals(
    stderr: str, code: int | None, transient: bool, limit: bool, uncertain: bool
) -> None:
    refused = adapter.parse_submit(result("", code, stderr, "bsub"), None)
    assert isinstance(refused, Rejected)
    assert (refused.transient, refused.queue_limit, refused.uncertain) == (
        transient, limit, uncertain,
    )  # fmt: skip


def test_an_answer_without_an_id_is_uncertain() -> None:
    refused = adapter.parse_submit(result("Auftrag <123> angenommen\n", 0, "", "bsub"), None)
    assert isinstance(refused, Rejected)
    assert refused.uncertain


def test_site() -> None:
    text = recorded("lsid.txt") + "    MAX_JOB_ARRAY_SIZE = 5000\nREQUEUE_EXIT_VALUES:  99 100\n"
    site = adapter.parse_site(result(text + "REQUEUE_EXIT_VALUES:  EXCLUDE(20)\n"))
    assert site is not None
    assert (site.name, site.array_limit, site.requeue_codes) == ("test-fi", 5000, {99, 100, 20})
    site = adapter.parse_site(result(recorded("lsid.txt")))
    assert site is not None
    assert site.array_limit == 1000
    assert adapter.parse_ping(result(recorded("lsid.txt"))) is None
    assert "profile.lsf" in (adapter.parse_ping(result("", 255, "Cannot open lsf.conf file")) or "")
    gone = CommandResult(Command(("lsid",)), None, missing=True)
    assert "not in PATH" in (adapter.parse_ping(gone) or "")


@given(st.sets(st.tuples(st.integers(1, 3), st.integers(1, 900)), min_size=1))
def test_cancelling_cancels_exactly_these(elements: set[tuple[int, int]]) -> None:
    wanted = {f"{base}[{index}]" for base, index in elements}
    found = set()
    for command in adapter.cancel_commands([*wanted, "77"]):
        assert command.argv[0] == "bkill"
        for word in command.argv[1:]:
            base, _, ranges = word.rstrip("]").partition("[")
            for part in ranges.split(",") if ranges else ():
                first, _, last = part.partition("-")
                found |= {f"{base}[{i}]" for i in range(int(first), int(last or first) + 1)}
            found |= {base} if not ranges else set()
    assert found == wanted | {"77"}


def test_requests() -> None:
    def said(text: str, code: int | None = 255) -> Rejected | None:
        return adapter.parse_request(result("", code, text, "bkill"))

    assert said("Job <1>: Job has already finished\nJob <2>: No matching job found\n") is None
    assert said("Job <3> is being terminated", 0) is None
    assert said("Job <1>: Job has already finished\nJob <2>: User permission denied\n") is not None
    away = said("LSF is down. Please wait ...")
    assert away is not None
    assert away.transient
    assert said("", None) is not None


def test_details() -> None:
    now = datetime(2018, 3, 1)
    (job,) = parse_details(result(recorded("bjobs-done.json")), now)
    assert job.info.submission_time == datetime(2017, 12, 28, 19, 56)
    assert (job.info.owner, job.info.wall_time, job.spec.name) == ("otptest", 1, "ls -l")
    assert job.spec.attributes.duration == timedelta(minutes=10)
    assert (job.spec.attributes.queue_name, job.spec.attributes.account) == ("short-dmg", "default")
    (job,) = parse_details(result(recorded("bjobs-held.json")), now)
    assert job.held
    assert job.info.dispatch_time is None
    (job,) = parse_details(result(recorded("bjobs-running.json")), now)
    assert job.info.submission_time == datetime(2026, 4, 12, 18, 10)
    text = listing(
        {"JOBID": "5", "JOBINDEX": "2", "STAT": "PEND", "JOB_NAME": "a[1-3]%2", "NREQ_SLOT": "4",
         "RUNTIMELIMIT": "1440.0", "RUN_TIME": "16038 second(s)", "SUB_CWD": "/x",
         "PEND_REASON": "New job is waiting for scheduling;", "SUBMIT_TIME": "Feb 29 10:00 L"},
    )  # fmt: skip
    (job,) = parse_details(result(text), now)
    assert (job.spec.name, job.spec.attributes.duration) == ("a", timedelta(days=1))
    assert (job.info.wall_time, str(job.spec.directory)) == (16038, "/x")
    assert job.info.submission_time is None
    assert (job.info.reason or "").startswith("New job")


def test_logs() -> None:
    text = listing(
        {"JOBID": "5", "JOBINDEX": "2", "JOB_DESCRIPTION": "/w/t_%I.log"},
        {"JOBID": "6", "JOBINDEX": "0", "JOB_DESCRIPTION": "/w/u.log"},
        {"JOBID": "7", "JOBINDEX": "0", "JOB_DESCRIPTION": "of the user"},
    )
    assert adapter.parse_logs(result(text)) == {"5[2]": "/w/t_2.log", "6": "/w/u.log"}


def test_ids_and_commands() -> None:
    assert adapter.check_id("12") is None
    assert adapter.check_id("12[3]") is None
    for bad in ("", "x", "12[]", "12[a]", "12_3", "٣", "1\n"):
        assert adapter.check_id(bad) is not None
    (command,) = adapter.query_commands(["4[1]", "4[2]", "9"])
    assert command.argv[-2:] == ("4", "9")
    (command,) = adapter.query_commands([str(i) for i in range(5000)])
    assert command.argv[-2] == "-o"
    submission = adapter.submit_command([], [], b"", "")
    assert "BSUB_*" in submission.unset
    assert not submission.environment  # the job would inherit it
