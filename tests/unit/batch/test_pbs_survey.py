"""What PBS says about its queues and nodes, recorded and documented."""

from __future__ import annotations

import string
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij.executors.pbs_survey import PbsClassicSurveyor, PbsProSurveyor
from exaworks.psij.runner import Command, CommandResult
from exaworks.psij.survey import SurveyFailed

DATA = Path(__file__).parent / "data" / "pbs"


def result(stdout: str = "", code: int = 0, stderr: str = "") -> CommandResult:
    return CommandResult(Command(("qstat",)), code, stdout, stderr)


def recorded(name: str) -> CommandResult:
    return result((DATA / name).read_text())


def test_openpbs() -> None:
    survey = PbsProSurveyor().parse(
        [recorded(f"openpbs-{name}.txt") for name in ("pbsnodes", "queues", "server")]
    )
    assert (survey.executor, survey.title, survey.cluster) == ("pbspro", "PBS Pro 23.06.06", "pbs1")
    (queue,) = survey.queues
    assert (queue.name, queue.default, queue.closed) == ("workq", True, None)
    (group,) = survey.nodes
    assert (group.count, group.cores, group.gpus) == (1, 4, 0)
    assert group.memory == 24683672 * 1024
    assert queue.nodes == (group.name,)


QUEUES = """\
Queue: prod
    queue_type = Route
    total_jobs = 10
    route_destinations = small,medium
    enabled = True
    started = True

Queue: small
    queue_type = Execution
    resources_max.nodect = 24
    resources_max.walltime = 06:00:00
    resources_min.nodect = 10
    resources_min.walltime = 00:05:00
    max_queued = [o:PBS_ALL=200]
    max_queued = [u:PBS_GENERIC=20]
    max_run = [u:PBS_GENERIC=10]
    acl_user_enable = True
    acl_users = ann,b
\tob
    from_route_only = True
    enabled = True
    started = False

"""
NODES = """\
n1[0]
     resources_available.host = n1
     resources_available.mem = 1048576kb
     resources_available.ncpus = 32
     resources_available.ngpus = 2
     state = free

n1[1]
     resources_available.host = n1
     resources_available.mem = 1048576kb
     resources_available.ncpus = 32
     resources_available.ngpus = 2
     state = job-busy

n2
     resources_available.host = n2
     resources_available.ncpus = 4
     state = free
     queue = small

n3
     resources_available.ncpus = 4
     state = down,offline

"""


def test_limits_and_hosts_of_several_vnodes() -> None:
    survey = PbsProSurveyor().parse([result(NODES), result(QUEUES), result("", 1)])
    prod, small = survey.queues
    assert "small,medium" in (prod.remark or "")
    assert (small.min_nodes, small.max_nodes) == (10, 24)
    assert (small.min_walltime, small.max_walltime) == (timedelta(minutes=5), timedelta(hours=6))
    assert (small.max_jobs, small.max_running_jobs) == (20, 10)
    assert small.closed == "started = False"
    assert "ann,bob" in (small.remark or "")
    big, little = survey.nodes
    assert (big.count, big.cores, big.gpus, big.memory) == (1, 64, 4, 2 * 2**30)
    assert (little.count, little.cores) == (1, 4)
    assert (prod.nodes, small.nodes) == ((big.name,), (little.name,))


TORQUE_NODES = """\
tq1
     state = free
     np = 4
     ntype = cluster
     status = opsys=linux,uname=Linux tq1,totmem=24683672kb,physmem=24683672kb,ncpus=4,state=free
     mom_service_port = 15002
     gpus = 2

tq2
     state = down
     np = 4

"""


def test_torque() -> None:
    queues = "Queue: batch\n    max_user_queuable = 50\n    enabled = True\n    started = True\n"
    server = "Server: tq1\n    default_queue = batch\n    pbs_version = 6.1.3\n"
    survey = PbsClassicSurveyor().parse([result(TORQUE_NODES), result(queues), result(server)])
    assert (survey.executor, survey.title) == ("pbs_classic", "Torque 6.1.3")
    assert (survey.queues[0].max_jobs, survey.queues[0].default) == (50, True)
    (group,) = survey.nodes
    assert (group.count, group.cores, group.gpus) == (1, 4, 2)
    assert group.memory == 24683672 * 1024


def test_no_answer() -> None:
    with pytest.raises(SurveyFailed, match="cannot connect"):
        PbsProSurveyor().parse([result(), result("", 255, "qstat: cannot connect"), result()])
    with pytest.raises(SurveyFailed, match="no queue"):
        PbsProSurveyor().parse([result(), result(), result()])
    survey = PbsProSurveyor().parse([result("", 1, "denied"), result(QUEUES), result()])
    assert "denied" in survey.remarks[0]


@given(st.lists(st.text(alphabet=string.printable, max_size=60), max_size=6).map("\n".join))
def test_garbage_raises_nothing_else(text: str) -> None:
    for surveyor in (PbsProSurveyor(), PbsClassicSurveyor()):
        known = f"Queue: q\n    enabled = True\n{text}"
        assert surveyor.parse([result(text), result(known), result(text)]).queues
