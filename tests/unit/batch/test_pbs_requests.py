"""What qsub, pbs_mom and the commands that change jobs say, and the ids of jobs."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import Reason
from exaworks.psij.executors.batch import Accepted, Rejected
from exaworks.psij.executors.pbs_classic import PBSClassicAdapter
from exaworks.psij.executors.pbspro import PBSProAdapter
from exaworks.psij.runner import Command, CommandResult

DATA = Path(__file__).parent / "data" / "pbs"
pro, classic = PBSProAdapter(), PBSClassicAdapter()


def result(
    stdout: str = "",
    code: int | None = 0,
    stderr: str = "",
    missing: bool = False,
    program: str = "qstat",
) -> CommandResult:
    return CommandResult(Command((program,)), code, stdout, stderr, missing)


@pytest.mark.parametrize(
    ("native_id", "good"),
    [("12", True), ("0.pbs1", True), ("12[3].s.org", True), ("12[3]", True), ("", False),
     ("x", False), ("12[].s", False), ("12[1-2]", False), ("1 ", False), ("1.a b", False),
     ("\u0661", False)],
)  # fmt: skip
def test_ids(native_id: str, good: bool) -> None:
    problem = pro.check_id(native_id)
    assert (problem is None) is good
    assert good or repr(native_id) in (problem or "")


def test_records_are_named_as_the_job_names_itself() -> None:
    assert pro.record_name("12[3].s.org") == ("s.org", "12[3].s.org")
    assert pro.record_name("12") == (None, "12")


def test_submission() -> None:
    assert pro.parse_submit(result("0.pbs1\n"), None) == Accepted(["0.pbs1"])
    assert pro.parse_submit(result("2[].pbs1\n"), 2) == Accepted(["2[0].pbs1", "2[1].pbs1"])
    chatty = "Project 7 has 3 hours left\n12\n34.s.org\n"
    assert pro.parse_submit(result(chatty), None) == Accepted(["34.s.org"])
    for text, count in (("ok\n", None), ("5.s\n", 3), ("5[].s\n", None)):
        assert isinstance(pro.parse_submit(result(text), count), Rejected)


USAGE = "usage: qsub [-a date_time]\n\t[-C directive_prefix]\n       qsub --version\n"


@pytest.mark.parametrize(
    ("code", "stderr", "transient", "limit", "uncertain"),
    [
        (170, "qsub: Unknown queue", 0, 0, 0),
        (187, "qsub: Unknown resource Resource_List.foo", 0, 0, 0),
        (2, f"qsub: illegal -N value\n{USAGE}", 0, 0, 0),
        (38, "qsub: would exceed complex's per-user limit", 1, 1, 0),
        (38, "qsub: would exceed queue workq's per-user limit", 1, 1, 0),
        (39, "qsub: would exceed limit on resource ncpus in queue workq", 0, 0, 0),
        (1, "qsub: Maximum number of jobs for user x already in queue workq", 1, 1, 0),
        (3, "qsub: Array job exceeds server or queue size limit", 0, 0, 0),
        (188, "qsub: Job violates queue and/or server resource limits", 0, 0, 0),
        (255, "Connection refused\nqsub: cannot connect to server pbs1 (errno=111)", 1, 0, 0),
        (1, "qsub: Request not allowed: Server shutting down", 1, 0, 0),
        (1, "qsub: Communication failure.", 1, 0, 1),
        (190, "qsub: submit error (Unknown queue MSG=requested queue not found)", 0, 0, 0),
        (1, "qsub: submit error (Pbs Server is currently too busy to service this request. Please "
            "retry this request. MSG=pbs server is currently too busy)", 1, 0, 0),
    ],
)  # fmt: skip
def test_rejections(code: int, stderr: str, transient: int, limit: int, uncertain: int) -> None:
    rejected = pro.parse_submit(result("", code, stderr, program="qsub"), None)
    assert isinstance(rejected, Rejected)
    assert (rejected.transient, rejected.queue_limit, rejected.uncertain) == (
        bool(transient),
        bool(limit),
        bool(uncertain),
    )
    assert "qsub:" not in rejected.message
    assert "usage" not in rejected.message


def test_no_commands_and_no_answer() -> None:
    rejected = pro.parse_submit(result(code=None, missing=True), None)
    assert isinstance(rejected, Rejected)
    assert "not in PATH" in rejected.message
    assert not rejected.transient
    rejected = pro.parse_submit(result(code=None), None)
    assert isinstance(rejected, Rejected)
    assert rejected.transient
    assert rejected.uncertain


def test_site() -> None:
    site = pro.parse_site(result((DATA / "openpbs-server.txt").read_text()))
    assert site is not None
    assert (site.name, site.array_limit) == ("pbs1", 10000)
    assert pro.parse_site(result("", 1)) is None
    assert pro.parse_ping(result((DATA / "openpbs-server.txt").read_text())) is None
    assert pro.parse_ping(result("", 255, "qstat: cannot connect to server x"))


@given(st.sets(st.tuples(st.integers(1, 3), st.integers(0, 300)), min_size=1))
def test_cancelling_cancels_exactly_these(elements: set[tuple[int, int]]) -> None:
    wanted = {f"{base}[{index}].s" for base, index in elements}
    words = [w for c in pro.cancel_commands({*wanted, "9.s"}) for w in c.argv[1:]]
    named = set()
    for word in words:
        base, _, rest = word.partition("[")
        first, _, last = rest.partition("]")[0].partition("-")
        if rest:
            named |= {f"{base}[{i}].s" for i in range(int(first), int(last or first) + 1)}
    assert named == wanted
    assert words.count("9.s") == 1
    assert len(words) <= len(wanted) + 1


def test_requests() -> None:
    assert pro.parse_request(result()) is None
    done = "qdel: Job has finished 9.pbs1\nqdel: Unknown Job Id 99.pbs1\n"
    assert pro.parse_request(result("", 35, done, program="qdel")) is None
    late = "qdel: Request invalid for state of job MSG=invalid state for job - COMPLETE 3.tq1\n"
    assert classic.parse_request(result("", 170, late, program="qdel")) is None
    for text, program in (
        (f"{done}qdel: Unauthorized Request 5.pbs1\n", "qdel"),
        ("qhold: Unknown Job Id 9.pbs1\n", "qhold"),
        ("", "qdel"),
    ):
        rejected = pro.parse_request(result("", 1, text, program=program))
        assert rejected is not None
        assert not rejected.transient


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("=>> PBS: job killed: walltime 10 exceeded limit 3", Reason.TIMEOUT),
        ("=>> PBS: job killed: mem 1048576kb exceeded limit 102400kb", Reason.OUT_OF_MEMORY),
        ("=>> PBS: job killed: vmem 1048576kb exceeded limit 102400kb", Reason.OUT_OF_MEMORY),
        ("=>> PBS: job killed: ncpus 4.2 exceeded limit 2 (sum)", Reason.SCHEDULER),
        ("Cgroup mem limit exceeded: oom-kill:constraint=CONSTRAINT_MEMCG", Reason.OUT_OF_MEMORY),
    ],
)
def test_what_pbs_writes_into_logs(line: str, reason: str) -> None:
    hint = pro.read_log(f"loading module x\n{line}\n")
    assert hint is not None
    assert hint.reason == reason
    assert line in hint.message
    assert pro.read_log(f"user output: {line}") is None
