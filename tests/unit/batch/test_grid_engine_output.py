"""What Grid Engine prints, recorded from a real one, and garbage."""

from __future__ import annotations

import string
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import JobState, Reason, ResourceSpecV1
from exaworks.psij.executors.batch import Accepted, Observation, Rejected
from exaworks.psij.executors.grid_engine import GridEngineAdapter
from exaworks.psij.executors.grid_engine_details import error_messages
from exaworks.psij.runner import Command, CommandResult

DATA = Path(__file__).parent / "data" / "grid_engine"
S = JobState
adapter = GridEngineAdapter()


def recorded(name: str) -> str:
    return (DATA / name).read_text()


def result(
    stdout: str = "",
    code: int | None = 0,
    stderr: str = "",
    scope: str = "",
    missing: bool = False,
    program: str = "qsub",
) -> CommandResult:
    return CommandResult(Command((program,), scope=scope), code, stdout, stderr, missing)


def listing(*jobs: str) -> str:
    return f"<?xml version='1.0'?>\n<job_info>\n{''.join(jobs)}</job_info>\n"


def entry(number: str, state: str, tasks: str = "", queue: str = "") -> str:
    return (
        f'<job_list state="x"><JB_job_number>{number}</JB_job_number><state>{state}</state>'
        f"<queue_name>{queue}</queue_name><tasks>{tasks}</tasks></job_list>\n"
    )


def qstat(text: str) -> dict[str, Observation]:
    answer = adapter.parse_query(result(text))
    assert answer.problem is None
    return {o.native_id: o for o in answer.observations}


def qacct(text: str) -> dict[str, Observation]:
    return {o.native_id: o for o in adapter.parse_accounting(result(text)).observations}


def account(**fields: object) -> Observation:
    lines = {"jobnumber": 5, "taskid": "undefined", "failed": 0, "exit_status": 0, **fields}
    text = "=" * 60 + "\n" + "".join(f"{k:13}{v}\n" for k, v in lines.items())
    (seen,) = qacct(text).values()
    return seen


def test_qstat() -> None:
    seen = qstat(recorded("qstat.xml"))
    assert len(seen) == 1 + 12 + 3 + 4
    assert (seen["387"].state, seen["387"].nodes) == (S.ACTIVE, "vm")
    assert [seen[f"388.{i}"].state for i in (1, 2, 3, 8, 9, 12)] == [S.ACTIVE] * 2 + [S.QUEUED] * 4
    assert (seen["388.3"].word, seen["388.9"].word) == ("qw", "hqw")
    for name in ("389.1", "389.3", "390"):
        assert (seen[name].state, seen[name].reason) == (S.FAILED, Reason.LAUNCH)
        assert "Eqw" in (seen[name].message or "")
    ids = adapter.parse_list(result(recorded("qstat.xml")))
    assert set(ids) == set(seen) - {"389.1", "389.2", "389.3", "390"}


@pytest.mark.parametrize(
    ("word", "state", "restarts"),
    [
        ("qw", S.QUEUED, 0), ("hqw", S.QUEUED, 0), ("Rq", S.QUEUED, 1), ("hRwq", S.QUEUED, 1),
        ("r", S.ACTIVE, 0), ("hr", S.ACTIVE, 0), ("Rr", S.ACTIVE, 1), ("dr", S.ACTIVE, 0),
        ("s", S.ACTIVE, 0), ("S", S.ACTIVE, 0), ("T", S.ACTIVE, 0), ("ts", S.ACTIVE, 0),
        ("t", None, 0), ("dt", None, 0), ("z", None, 0), ("", None, 0), ("Xr", None, 0),
        ("Eqw", S.FAILED, 0), ("Ehqw", S.FAILED, 0), ("EhRqw", S.FAILED, 1),
        ("something", None, 0), ("Error!", None, 0),
    ],
)  # fmt: skip
def test_states(word: str, state: JobState | None, restarts: int) -> None:
    seen = qstat(listing(entry("5", word)))["5"]
    assert (seen.state, seen.word) == (state, word)
    assert seen.restarts == restarts or state is None


@pytest.mark.parametrize(
    ("tasks", "numbers"),
    [
        ("", None), ("7", [7]), ("3-5:1", [3, 4, 5]), ("1-7:3,9", [1, 4, 7, 9]),
        ("21,30,31", [21, 30, 31]), ("3-5", [3, 4, 5]),
    ],
)  # fmt: skip
def test_elements(tasks: str, numbers: list[int] | None) -> None:
    expected = ["5"] if numbers is None else [f"5.{n}" for n in numbers]
    assert list(qstat(listing(entry("5", "qw", tasks)))) == expected


@pytest.mark.parametrize("tasks", ["x", "1-", "1-9:0", "1-99999999999", "٣"])
def test_elements_that_make_no_sense(tasks: str) -> None:
    answer = adapter.parse_query(result(listing(entry("5", "qw", tasks), entry("6", "r"))))
    assert [o.native_id for o in answer.observations] == ["6"]
    assert len(answer.skipped) == 1


def test_warnings_before_the_answer() -> None:
    text = "Welcome!\n<job_list>\nwarning: x < y & z\n" + recorded("qstat.xml")
    assert set(qstat(text)) >= set(qstat(recorded("qstat.xml"))) - {"387"}


@pytest.mark.parametrize(
    "failed",
    [
        result("", 1, "error: commlib error: got select error (Connection refused)\n"),
        result("", None),
        result("", None, missing=True),
        result("job-ID  prior   name\n"),
        result(recorded("qstat.xml")[:2000]),
    ],
)
def test_a_failing_qstat_is_a_problem(failed: CommandResult) -> None:
    assert adapter.parse_query(failed).problem
    assert adapter.parse_ping(failed)


def test_qacct() -> None:
    seen = qacct(recorded("qacct.txt"))
    assert len(seen) == 13
    assert (seen["27"].state, seen["27"].exit_code, seen["27"].nodes) == (S.COMPLETED, 0, "vm")
    assert (seen["41.2"].state, seen["48"].exit_code) == (S.COMPLETED, 7)
    assert (seen["39"].state, seen["39"].reason) == (S.FAILED, Reason.LAUNCH)
    assert "opening input/output file" in (seen["39"].message or "")
    assert (seen["49"].state, seen["49"].signal, seen["49"].reason) == (S.FAILED, 11, None)
    assert (seen["51"].state, seen["51"].reason) == (S.FAILED, Reason.TIMEOUT)
    assert (seen["52"].state, seen["52"].reason) == (S.FAILED, Reason.TIMEOUT)
    assert (seen["53"].state, seen["53"].signal, seen["53"].reason) == (S.FAILED, 9, None)
    assert (seen["54"].state, seen["54"].reason) == (S.CANCELED, Reason.CANCELED)
    assert (seen["55"].state, seen["55"].exit_code) == (S.FAILED, 100)
    assert seen["56"].state is S.COMPLETED  # it was started twice


@pytest.mark.parametrize(
    ("fields", "state", "reason", "code"),
    [
        ({"failed": "100 : assumedly after job", "exit_status": 140}, S.CANCELED, "canceled", 140),
        ({"failed": "100 : x", "exit_status": 152}, S.FAILED, Reason.TIMEOUT, 152),
        ({"failed": "100", "exit_status": 137, "deleted_by": "NONE"}, S.FAILED, None, 137),
        ({"failed": "100", "exit_status": 137, "deleted_by": "a@b"}, S.CANCELED, "canceled", 137),
        ({"failed": "100 : x", "exit_status": 0}, S.FAILED, Reason.SCHEDULER, 0),
        ({"failed": "15 : in epilog", "exit_status": 0}, S.FAILED, Reason.SCHEDULER, 0),
        ({"failed": "15 : in epilog", "exit_status": 3}, S.FAILED, None, 3),
        ({"failed": "19", "exit_status": 0}, S.FAILED, Reason.NODE_FAILURE, None),
        ({"failed": "21  : in recognizing job"}, S.FAILED, Reason.NODE_FAILURE, None),
        ({"failed": "25  : rescheduling", "exit_status": 137}, S.QUEUED, None, None),
        ({"failed": "8   : in prolog", "exit_status": 0}, S.FAILED, Reason.LAUNCH, None),
        ({"failed": "28", "taskid": 3}, S.FAILED, Reason.LAUNCH, None),
        ({"failed": 0, "exit_status": "137                  (Killed)"}, S.FAILED, None, 137),
        ({"failed": 0, "exit_status": 255}, S.FAILED, None, 255),
    ],
)
def test_verdicts(
    fields: dict[str, object], state: JobState, reason: str | None, code: int | None
) -> None:
    seen = account(**fields)
    assert (seen.state, seen.reason, seen.exit_code) == (state, reason, code)
    assert seen.native_id == ("5.3" if "taskid" in fields else "5")


def test_accounting_that_is_not_there() -> None:
    unknown = result("", 1, "error: job id 5 not found\n")
    answer = adapter.parse_accounting(unknown)
    assert (answer.problem, answer.unavailable, list(answer.observations)) == (None, False, [])
    assert adapter.parse_accounting(result("", 1)).problem is None  # grep has found nothing
    none = adapter.parse_accounting(
        result("", 1, "/sge/default/common/accounting: No such file or directory\n")
    )
    assert none.unavailable
    down = adapter.parse_accounting(result("", 1, "error: commlib error: x"))
    assert down.problem
    assert not down.unavailable
    assert adapter.parse_accounting(result("", None, missing=True)).unavailable


def test_the_accounting_is_read_as_seldom_as_can_be() -> None:
    commands = adapter.accounting_commands(["5", "6.1", "6.2", "7"])
    assert sorted(c.argv for c in commands) == [("qacct", "-j", n) for n in "567"]
    assert len(adapter.accounting_commands([f"4.{i}" for i in range(5000)])) == 1
    assert len(adapter.accounting_commands([str(i) for i in range(5000)])) == 1
    assert len(adapter.query_commands([str(i) for i in range(5000)])) == 1


garbage = st.text(alphabet=string.printable + "é\x1e<>&", max_size=60)


@given(st.lists(garbage, max_size=5), st.lists(garbage, max_size=5))
def test_garbage_harms_no_other_job(before: list[str], after: list[str]) -> None:
    text = "\n".join([*before, listing(entry("77777", "r", "3", "q@node7")), *after])
    assert qstat(text)["77777.3"].nodes == "node7"
    records = "".join(f"=======\n{line}\n" for line in before)
    good = "=======\njobnumber 77777\ntaskid 3\nfailed 0\nexit_status 0\n=======\n"
    assert qacct(records + good + "\n".join(after).replace("==", "")).get("77777.3") is not None


@given(garbage)
def test_garbage_is_reported_not_raised(text: str) -> None:
    for part in (text, listing(text), listing(f"<job_list>{text}</job_list>"), f"=====\n{text}"):
        some = result(part)
        adapter.parse_query(some)
        adapter.parse_accounting(some)
        adapter.parse_list(some)
        adapter.parse_details(some)
        adapter.parse_logs(some)
        adapter.parse_site(some)
        adapter.parse_submit(some, None)
        error_messages(some)


@pytest.mark.parametrize(
    ("native_id", "good"),
    [("12", True), ("12.3", True), ("", False), ("x", False), ("12 ", False), ("-1", False),
     ("12.", False), ("12.1-3", False), ("12_3", False), ("\u0661", False)],
)  # fmt: skip
def test_ids(native_id: str, good: bool) -> None:
    problem = adapter.check_id(native_id)
    assert (problem is None) is good
    assert good or repr(native_id) in (problem or "")


def test_submission() -> None:
    assert adapter.parse_submit(result("42\n"), None) == Accepted(["42"])
    assert adapter.parse_submit(result("42.1-2:1\n"), 2) == Accepted(["42.1", "42.2"])
    assert adapter.parse_submit(result("Hello 7\n42\n"), None) == Accepted(["42"])
    for text, count in (("ok\n", None), ("42.1-3:1\n", None), ("42\n", 3), ("42.1-2:1\n", 3)):
        odd = adapter.parse_submit(result(text), count)
        assert isinstance(odd, Rejected)
        assert odd.uncertain


@pytest.mark.parametrize(
    ("stderr", "code", "transient", "limit", "uncertain"),
    [
        ("Unable to run job: Job was rejected because job requests unknown queue \"x\"\nExiting.",
         1, 0, 0, 0),
        ('Unable to run job: unknown resource "nosuch"\nExiting.', 1, 0, 0, 0),
        ("Unable to run job: job rejected: only 2 jobs are allowed per user (current job count: "
         "3)\nExiting.", 25, 1, 1, 0),
        ("Unable to run job: job rejected: only 3 jobs are allowed per cluster\nExiting.",
         25, 1, 1, 0),
        ("error: commlib error: got select error (Connection refused)\nUnable to run job: unable "
         'to send message to qmaster using port 1 on host "h": got send error\nExiting.',
         1, 1, 0, 0),
        ("error: commlib error: got read error (closing \"h/qmaster/1\")\nerror: unable to receive "
         "message from qmaster", 1, 1, 0, 1),
        ("Unable to run job: Error reading answer list from qmaster\nExiting.", 1, 0, 0, 1),
        ('qsub: invalid option argument "-bogus"', 2, 0, 0, 0),
    ],
)  # fmt: skip
def test_rejections(stderr: str, code: int, transient: int, limit: int, uncertain: int) -> None:
    rejected = adapter.parse_submit(result("", code, stderr), None)
    assert isinstance(rejected, Rejected)
    assert (rejected.transient, rejected.queue_limit, rejected.uncertain) == (
        bool(transient),
        bool(limit),
        bool(uncertain),
    )
    assert "Exiting" not in rejected.message
    assert "Unable to run job" not in rejected.message


def test_no_commands_no_configuration_no_answer() -> None:
    for none in (
        result(code=None, missing=True),
        result("", 127, "sh: 1: exec: qconf: not found", program="sh"),
    ):
        rejected = adapter.parse_request(none)
        assert isinstance(rejected, Rejected)
        assert "not in PATH" in rejected.message
        assert not rejected.transient
    fatal = "critical error: Please set the environment variable SGE_ROOT.\n"
    assert "settings.sh" in (adapter.parse_ping(result("", 1, fatal)) or "")
    assert "not that of Grid Engine" in (adapter.parse_ping(result("")) or "")
    assert adapter.parse_ping(result(listing())) is None
    rejected = adapter.parse_submit(result(code=None), None)
    assert isinstance(rejected, Rejected)
    assert rejected.transient
    assert rejected.uncertain


@pytest.mark.parametrize(
    ("text", "name", "limit"),
    [
        ("cluster p6444\n#global:\nmax_aj_instances 2000\nmax_aj_tasks   75000\n", "p6444", 75000),
        ("cluster default\nmax_aj_tasks   0\n", "default", 1_000_000),
        ("cluster a/../b\nx\n", "default", 75000),
    ],
)
def test_site(text: str, name: str, limit: int) -> None:
    site = adapter.parse_site(result(text))
    assert site is not None
    assert (site.name, site.array_limit) == (name, limit)
    assert adapter.parse_site(result("", 1)) is None


def test_cancelling_many_elements_takes_few_words() -> None:
    ids = ["9", *(f"4.{i}" for i in range(1, 1001)), "5.1", "5.3", "4.2000"]
    (command,) = adapter.cancel_commands(ids)
    assert command.argv == ("qdel", "9", "4.1-1000", "4.2000", "5.1", "5.3")


@given(st.sets(st.tuples(st.integers(1, 3), st.integers(1, 600)), min_size=1))
def test_cancelling_cancels_exactly_these(elements: set[tuple[int, int]]) -> None:
    wanted = {f"{base}.{task}" for base, task in elements}
    words = [w for command in adapter.cancel_commands(wanted) for w in command.argv[1:]]
    jobs = [entry(base, "qw", tasks) for base, _, tasks in (w.partition(".") for w in words)]
    assert set(qstat(listing(*jobs))) == wanted


def test_requests() -> None:
    assert adapter.parse_request(result()) is None
    for text in (
        'denied: job "99999" does not exist\n',
        'root has deleted job 3\njob "45" task "1" does not exist\n',
        "job 7 is already in deletion\n",
    ):
        assert adapter.parse_request(result(text, 1)) is None
    denied = adapter.parse_request(result("eve - you do not have the necessary privileges\n", 1))
    assert denied is not None
    assert not denied.transient
    away = adapter.parse_request(result("", 1, "error: commlib error: got select error (x)"))
    assert away is not None
    assert away.transient
    assert adapter.parse_request(result("", None)) is not None


def test_details() -> None:
    parsed = adapter.parse_details(result(recorded("qstat-details.xml")))
    found = {d.observation.native_id: d for d in parsed}
    assert len(found) == 20
    big = found["387"]
    assert (big.spec.name, str(big.spec.directory)) == ("1 a name", "/tmp/a b")
    assert big.spec.attributes.duration == timedelta(seconds=600)
    assert (big.spec.attributes.queue_name, big.spec.attributes.account) == ("all.q", "proj1")
    assert big.spec.resources == ResourceSpecV1(process_count=3, exclusive_node_use=True)
    assert (big.info.owner, big.info.queue_name, big.info.resourcelist) == ("root", "all.q", "vm")
    submitted = big.info.submission_time
    assert submitted == datetime.fromtimestamp(1795366722)
    assert big.info.dispatch_time is not None
    later = found["391"]
    assert later.info.priority == -7
    assert later.info.dispatch_time is None
    assert later.info.estimated_start == datetime.fromtimestamp(1893456000).isoformat()
    assert [found[name].held for name in ("392", "393", "391", "388.9", "388.3")] == [
        True, False, False, True, False,
    ]  # fmt: skip
    assert found["392"].info.reason == "Job is in hold state"
    assert found["390"].observation.state is S.FAILED
    assert "can't open output file" in (found["390"].info.reason or "")
    assert found["388.9"].spec.name == "arr"


def test_details_of_some_jobs() -> None:
    found = adapter.parse_details(result(recorded("qstat-details.xml"), scope="388.9 391 77"))
    assert sorted(d.observation.native_id for d in found) == ["388.9", "391"]
    (command,) = adapter.details_commands(["388.9", "391"], None)
    assert command.argv[-2:] == ("$user", "388|391")
    (command,) = adapter.details_commands(None, "me")
    assert command.argv[-2:] == ("me", "")
    (command,) = adapter.details_commands(None, None)
    assert command.argv[-2:] == ("*", "")


def test_logs() -> None:
    logs = adapter.parse_logs(result(recorded("qstat-details.xml")))
    assert logs["387"] == "/tmp/job.log"
    assert (logs["388.1"], logs["388.12"]) == ("/tmp/arr_1.log", "/tmp/arr_12.log")
    assert logs["392"] == "/tmp/with:colon.log"


def test_why_jobs_could_not_be_started() -> None:
    found = error_messages(result(recorded("qstat-j.xml")))
    assert set(found) == {"389", "389.1", "389.2", "389.3", "390", "390.1"}
    assert found["389.2"].startswith('can\'t open output file "/none/arr_2.log"')
