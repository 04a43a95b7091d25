"""What PBS prints, recorded from a real one and from its documentation, and garbage."""

from __future__ import annotations

import json
import string
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import JobState, Reason
from exaworks.psij.executors.batch import Observation
from exaworks.psij.executors.pbs_classic import PBSClassicAdapter
from exaworks.psij.executors.pbspro import PBSProAdapter
from exaworks.psij.runner import Command, CommandResult

DATA = Path(__file__).parent / "data" / "pbs"
S = JobState
pro, classic = PBSProAdapter(), PBSClassicAdapter()
Adapter = PBSProAdapter | PBSClassicAdapter


def recorded(name: str) -> str:
    return (DATA / name).read_text()


def result(
    stdout: str = "",
    code: int | None = 0,
    stderr: str = "",
    asked: str = "",
    missing: bool = False,
) -> CommandResult:
    command = Command(("qstat",), scope=asked)
    return CommandResult(command, code, stdout, stderr, missing)


def seen(text: str, adapter: Adapter = pro, asked: str = "") -> dict[str, Observation]:
    answer = adapter.parse_query(result(text, asked=asked))
    assert answer.problem is None
    return {o.native_id: o for o in answer.observations}


def lines(adapter_state: str, *attributes: str, native_id: str = "5.s") -> str:
    found = [f"    job_state = {adapter_state}", *(f"    {each}" for each in attributes)]
    return f"Job Id: {native_id}\n" + "\n".join(found) + "\n\n"


def test_jobs_that_have_not_ended() -> None:
    found = seen(recorded("openpbs-qstat.json"))
    assert {found[f"177[{i}].pbs1"].state for i in (1, 2)} == {S.ACTIVE}
    assert found["177[1].pbs1"].nodes == "pbs1"
    ended, deleted = found["177[0].pbs1"], found["177[3].pbs1"]
    assert (ended.state, ended.exit_code) == (S.FAILED, 4)
    assert (deleted.state, deleted.reason) == (S.CANCELED, Reason.CANCELED)
    assert found["178.pbs1"].state is S.QUEUED
    assert found["171.pbs1"].state is S.ACTIVE
    assert "Job run at" in (found["171.pbs1"].cause or "")


@pytest.mark.parametrize("name", ["openpbs-history.json", "openpbs-qstat.txt"])
def test_jobs_that_have_ended(name: str) -> None:
    found = seen(recorded(name))
    overtime, seven, killed, ok, waiting, running = (found[f"{i}.pbs1"] for i in range(171, 177))
    assert (overtime.state, overtime.reason) == (S.FAILED, Reason.TIMEOUT)
    assert overtime.exit_code is None
    assert "-29" in (overtime.message or "")
    assert (seven.state, seven.exit_code, seven.signal) == (S.FAILED, 7, None)
    assert (killed.state, killed.exit_code, killed.signal) == (S.FAILED, 137, 9)
    assert (ok.state, ok.exit_code) == (S.COMPLETED, 0)
    for deleted in (waiting, running, found["177[1].pbs1"]):
        assert (deleted.state, deleted.reason) == (S.CANCELED, Reason.CANCELED)
        assert deleted.exit_code is None
    assert "by root@pbs1" in (running.message or "")
    # PBS has forgotten how these ended, and shows what it knows of the array instead
    assert not {"177[0].pbs1", "177[3].pbs1"} & set(found)


def test_elements_about_which_nothing_is_said() -> None:
    found = seen(recorded("openpbs-history.json"))
    observation, inferred = pro.look_again("177[3].pbs1", found)
    assert inferred
    assert observation is not None
    assert (observation.native_id, observation.state) == ("177[3].pbs1", S.CANCELED)
    assert pro.look_again("99[3].pbs1", found) == (None, False)
    assert pro.look_again("99.pbs1", found) == (None, False)


# https://docs.adaptivecomputing.com/torque/3-0-5/2.7jobexitstatus.php
TORQUE = """\
Job Id: 179.host
    Job_Name = STDIN
    Job_Owner = user@host
    job_state = C
    queue = batchq
    server = host
    Checkpoint = u
    ctime = Fri Aug 29 14:55:55 2008
    Error_Path = host:/opt/moab/STDIN.e179
    exec_host = node1/0
    Hold_Types = n
    Join_Path = n
    Output_Path = host:/opt/moab/STDIN.o179
    Priority = 0
    qtime = Fri Aug 29 14:55:55 2008
    Rerunable = True
    Resource_List.ncpus = 2
    Resource_List.nodect = 1
    Resource_List.nodes = node1
    Variable_List = PBS_O_HOME=/home/user,PBS_O_LOGNAME=user,
    PBS_O_PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:,
    PBS_O_WORKDIR=/opt/moab,PBS_O_QUEUE=batchq
    etime = Fri Aug 29 14:55:55 2008
    exit_status = -1

"""


def test_torque() -> None:
    found = seen(TORQUE, classic)["179.host"]
    assert (found.state, found.reason, found.nodes) == (S.FAILED, Reason.LAUNCH, "node1")
    assert classic.parse_logs(result(TORQUE)) == {"179.host": "/opt/moab/STDIN.o179"}
    (details,) = classic.parse_details(result(TORQUE))
    assert details.info.submission_time == datetime(2008, 8, 29, 14, 55, 55)
    assert details.info.owner == "user"


@pytest.mark.parametrize(
    ("adapter", "status", "state", "code", "signal", "reason"),
    [
        (pro, -27, S.FAILED, None, None, Reason.OUT_OF_MEMORY),
        (pro, -28, S.FAILED, None, None, Reason.TIMEOUT),
        (pro, -20, S.FAILED, None, None, Reason.NODE_FAILURE),
        (pro, -1, S.FAILED, None, None, Reason.LAUNCH),
        (pro, -99, S.FAILED, None, None, Reason.SCHEDULER),
        (pro, 271, S.FAILED, 143, 15, None),
        (pro, 139, S.FAILED, 139, 11, None),
        (pro, 255, S.FAILED, 255, None, None),
        (classic, -10, S.FAILED, None, None, Reason.OUT_OF_MEMORY),
        (classic, -11, S.FAILED, None, None, Reason.TIMEOUT),
        (classic, 271, S.CANCELED, 143, 15, Reason.CANCELED),
        (classic, 265, S.FAILED, 137, 9, None),
        (classic, 0, S.COMPLETED, 0, None, None),
    ],
)
def test_exit_status(
    adapter: Adapter,
    status: int,
    state: JobState,
    code: int | None,
    signal: int | None,
    reason: str | None,
) -> None:
    word, name = ("F", "Exit_status") if adapter is pro else ("C", "exit_status")
    found = seen(lines(word, f"{name} = {status}"), adapter)["5.s"]
    assert (found.state, found.exit_code, found.signal, found.reason) == (
        state,
        code,
        signal,
        reason,
    )


def test_a_dependency_that_cannot_come_true() -> None:
    # OpenPBS 23.06.06: "Job deleted as result of dependency on job 1091.pbs1"
    waited = ("depend = afternotok:1091.pbs1@pbs1", "Hold_Types = s", "substate = 92")
    found = seen(lines("F", *waited))["5.s"]
    assert (found.state, found.reason) == (S.CANCELED, Reason.DEPENDENCY)
    assert "1091" in (found.message or "")
    found = seen(lines("F", *waited, "stime = Sun Nov 22 17:36:08 2026", "Exit_status = 2"))["5.s"]
    assert (found.state, found.exit_code) == (S.FAILED, 2)
    deleted = lines("F", *waited[:2], "substate = 91")
    assert seen(deleted)["5.s"].reason == Reason.CANCELED


def test_elements_that_have_ended_and_of_which_nothing_is_known() -> None:
    status = ("Exit_status = 0", "comment = Subjob finished")
    for substate in (30, 70, 91):
        assert not seen(lines("X", f"substate = {substate}", *status, native_id="5[1].s"))
    assert not seen(lines("X", "substate = 42", "Exit_status = 0", native_id="5[1].s"))
    assert seen(lines("X", "substate = 92", "Exit_status = 0", native_id="5[1].s"))


def test_a_job_that_is_deleted_while_it_starts() -> None:
    comment = "comment = Job run at Sun Nov 22 at 17:36 on (n:ncpus=1) and terminated by me@n"
    for status in (0, 1):
        found = seen(lines("X", comment, "substate = 92", f"Exit_status = {status}"))["5.s"]
        assert (found.state, found.reason) == (S.CANCELED, Reason.CANCELED)


def test_a_job_that_torque_stops_at_its_limit() -> None:
    limits = ("Resource_List.walltime = 00:01:00", "resources_used.walltime = 00:01:02")
    found = seen(lines("C", *limits, "exit_status = 271"), classic)["5.s"]
    assert (found.state, found.reason) == (S.FAILED, Reason.TIMEOUT)


@pytest.mark.parametrize(
    ("word", "state"),
    [
        *((word, S.QUEUED) for word in "QHWTM"),
        *((word, S.ACTIVE) for word in "RESUB"),
        ("Z", None),
    ],
)
def test_states(word: str, state: JobState | None) -> None:
    assert seen(lines(word))["5.s"].state is state
    assert seen(lines(word), classic)["5.s"].word == word


def test_the_server_may_be_left_out_or_shortened_in_a_question() -> None:
    text = lines("R", native_id="5.s.site.org") + lines("R", native_id="7[1].s.site.org")
    assert set(seen(text, asked="5 7[1].s")) == {"5", "7[1].s"}
    assert set(seen(text, asked="5.s.site.org 7[1]")) == {"5.s.site.org", "7[1]"}
    assert set(seen(text, asked="5.other")) == {"5.s.site.org", "7[1].s.site.org"}


def test_long_lines_are_put_together_and_values_forge_nothing() -> None:
    text = (
        "Job Id: 5.s\n    job_state = R\n    comment = Job run at ...\n\tand on\n"
        "    Variable_List = A=b,\n\tF=() { x\n    job_state = F\n    comment = no\n}\n\n"
    )
    found = seen(text)["5.s"]
    assert (found.word, found.cause) == ("R", "Job run at ...and on")


# Such as versions before 20 print, see issues 1255 and 2541 of github.com/openpbs/openpbs
BROKEN = """\
Welcome to HAL 9000
{
    "timestamp":1656686587,
    "pbs_version":"19.1.1",
    "pbs_server":"s",
    "Jobs":{
        "4.s":{
            "Job_Name":"STDIN",
            "resources_used":{
                "cput":"00:00:00",
                "walltime":"00:00:10"
            },
            "job_state":"R",
            "exec_host":"n2/0*4+n3/0",
            "Variable_List":{
                "foo":005,
                "VAR":\\'\\"x\\"\\',
                "BASH_FUNC_module()":"() {  eval `/usr/bin/modulecmd bash $*`
}",
                "dot":1.,
                "quote":"say "hello" to",
                "EXAWORKS_NAME":"a%20b"
            },
            "comment":"Job run "now" at n2",
            "run_count":1
        },
        "5.s":{
            "job_state":"F",
            "Exit_status":3,
            "substate":93
        }
    }
}
"""


def test_json_that_is_not_valid() -> None:
    with pytest.raises(json.JSONDecodeError):
        json.loads(BROKEN.partition("\n")[2])
    found = seen(BROKEN)
    assert (found["4.s"].state, found["4.s"].nodes) == (S.ACTIVE, "n2,n3")
    assert found["4.s"].cause == 'Job run "now" at n2'
    assert (found["5.s"].state, found["5.s"].exit_code) == (S.FAILED, 3)
    details = {d.observation.native_id: d for d in pro.parse_details(result(BROKEN))}
    assert details["4.s"].spec.name == "a b"
    assert details["4.s"].info.wall_time == 10


@pytest.mark.parametrize("name", ["openpbs-qstat.json", "openpbs-history.json"])
def test_broken_json_is_read_as_well_as_good_json(name: str) -> None:
    good = recorded(name)
    broken = good.replace('"Priority":\t0,', '"Priority":\t007,')
    assert broken != good
    assert seen(broken) == seen(good)


garbage = st.text(alphabet=string.printable + "é\x1e", max_size=60)


@given(garbage, st.sampled_from(["json", "text"]))
def test_what_stands_before_the_answer_does_no_harm(before: str, form: str) -> None:
    before = "".join(c for c in before if c not in "{}")
    text = '{"Jobs": {"5.s": {"job_state": "R"}}}' if form == "json" else lines("R")
    assert seen(f"{before}\n{text}")["5.s"].state is S.ACTIVE


@given(st.lists(garbage, max_size=6).map("\n".join), st.sampled_from(["", "{", '{"Jobs": {']))
def test_garbage_raises_nothing(text: str, begin: str) -> None:
    for adapter in (pro, classic):
        answer = result(begin + text, asked="1 2.s")
        adapter.parse_query(answer)
        adapter.parse_accounting(answer)
        adapter.parse_list(answer)
        adapter.parse_logs(answer)
        adapter.parse_details(answer)
        adapter.parse_site(answer)
        adapter.parse_ping(answer)
        adapter.parse_submit(answer, None)
        adapter.parse_request(result(text, 1, text))
        adapter.read_log(text)


GONE = (
    "qstat: Unknown Job Id 99.pbs1\n"
    "qstat: 0.pbs1 Job has finished, use -x or -H to obtain historical job information\n"
)


def test_jobs_that_are_gone_are_no_failure() -> None:
    for code, text in ((153, GONE), (35, GONE), (153, "qstat: Unknown Job Id Error 99.tq1\n")):
        answer = pro.parse_query(result(lines("R"), code, text))
        assert answer.problem is None
        assert len(answer.observations) == 1


@pytest.mark.parametrize(
    "failed",
    [
        result("", 255, "Connection refused\nqstat: cannot connect to server pbs1 (errno=111)\n"),
        result("", 255, GONE + "qstat: cannot connect to server pbs1 (errno=15010)\n"),
        result("", None),
        result("", None, missing=True),
        result("", 1, "something else"),
    ],
)
def test_a_failing_qstat_is_a_problem(failed: CommandResult) -> None:
    assert pro.parse_query(failed).problem


def test_history() -> None:
    off = "qstat: PBS is not configured to maintain job history 0.pbs1\n"
    assert pro.parse_accounting(result("", 1, off)).unavailable
    assert not pro.parse_accounting(result("", 153, GONE)).unavailable
    down = pro.parse_accounting(result("", 255, "qstat: cannot connect to server x (errno=111)"))
    assert down.problem
    assert not down.unavailable
    assert classic.accounting_commands(["1.s"]) == []
    (command,) = pro.accounting_commands(["1.s", "2[3].s", "2[4].s"])
    assert command.argv == ("qstat", "-f", "-E", "-F", "json", "-x", "-t", "1.s", "2[].s")


def test_list() -> None:
    found = pro.parse_list(result(recorded("openpbs-qstat.json")))
    assert found == ["171.pbs1", "177[1].pbs1", "177[2].pbs1", "178.pbs1"]


def test_logs() -> None:
    found = pro.parse_logs(result(recorded("openpbs-qstat.json")))
    assert found["177[2].pbs1"] == "/srv/t/tok-1_2.log"
    assert found["178.pbs1"] == "/srv/wörk/log/tok-2.log"
    own = "    Variable_List = A=b,EXAWORKS_LOG=/w%20d/tok.log\n\n"
    text = f"Job Id: 5[3].tq1\n    job_state = R\n{own}"
    assert classic.parse_logs(result(text)) == {"5[3].tq1": "/w d/tok_3.log"}


def test_details() -> None:
    found = {
        d.observation.native_id: d
        for d in pro.parse_details(result(recorded("openpbs-qstat.json")))
    }
    assert "177[].pbs1" not in found
    waiting = found["178.pbs1"]
    assert waiting.held
    assert waiting.spec.name == "a name"
    assert waiting.spec.attributes.account == "proj 1"
    assert waiting.spec.attributes.duration == timedelta(hours=30)
    assert waiting.spec.resources is not None
    assert waiting.spec.resources.node_count == 2  # type: ignore[attr-defined]
    assert waiting.spec.resources.exclusive_node_use  # type: ignore[attr-defined]
    assert waiting.info.priority == 5
    running = found["177[1].pbs1"]
    assert not running.held
    assert running.info.owner == "root"
    assert running.info.dispatch_time is not None
    assert running.info.resourcelist == "pbs1"
