"""How a profile completes a job, and what it refuses."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.core.sites import SiteProfile, get_site
from exaworks.core.sites.schema import normalize
from exaworks.psij import InvalidJobException, JobAttributes, JobSpec, ResourceSpecV1
from exaworks.psij.site_defaults import complete, setup_lines

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Write = Callable[[str, str], Path]

MINE = """
account = "pays"
date = 2026-11-22
setup = ["module load one", "module load two"]
[schedulers.slurm]
launcher = "srun"
custom_attributes = {"slurm.constraint" = "any", "slurm.x" = "scheduler"}
[schedulers.slurm.queues.debug]
max_walltime = "30m"
max_nodes = 2
nodes = ["thin", "fat"]
choose = false
[schedulers.slurm.queues.small]
max_walltime = "1d"
max_nodes = 4
nodes = "thin"
custom_attributes = {"slurm.x" = "queue"}
[schedulers.slurm.queues.large]
max_walltime_by_nodes = {16 = "12h", 64 = "1d"}
max_walltime = "1d"
min_nodes = 5
max_nodes = 64
nodes = "thin"
[schedulers.slurm.queues.long]
min_walltime = "1d"
max_walltime = "10d"
max_nodes = 1
nodes = "thin"
[schedulers.slurm.queues.gpu]
max_walltime = "2d"
max_nodes = 8
nodes = "fat"
[nodes.thin]
cores = 64
threads_per_core = 2
gpus = 0
memory = "256 GiB"
[nodes.fat]
cores = 32
gpus = 4
memory = "1 TiB"
"""
GIB = 1024**3


@pytest.fixture
def mine(write: Write) -> Callable[..., SiteProfile]:
    """The profile, with replacements made in its text."""

    def make(*replacements: tuple[str, str]) -> SiteProfile:
        text = MINE
        for old, new in replacements:
            assert old in text
            text = text.replace(old, new, 1)
        write("home/sites/mine.toml", text)
        return get_site("mine")

    return make


def job(queue: str | None = None, hours: float | None = None, **needs: int) -> JobSpec:
    attributes = JobAttributes(queue_name=queue)
    if hours is not None:
        attributes.duration = timedelta(hours=hours)
    return JobSpec("/bin/true", attributes=attributes, resources=ResourceSpecV1(**needs))


CHOOSE = ("[schedulers.slurm]", "[schedulers.slurm]\nchoose_queue = true")


def test_what_is_missing_is_filled_in(mine: Callable[..., SiteProfile]) -> None:
    done = complete(job("small"), mine())
    assert done.attributes.account == "pays"
    assert done.attributes.queue_name == "small"
    assert done.launcher == "srun"
    assert done.attributes.custom_attributes == {"slurm.constraint": "any", "slurm.x": "queue"}


def test_what_is_given_stays(mine: Callable[..., SiteProfile]) -> None:
    spec = job("debug")
    spec.launcher = "mpirun"
    spec.attributes.account = "mine"
    spec.attributes.custom_attributes = {"slurm.x": "job", "slurm.C": "other"}
    done = complete(spec, mine())
    assert (done.launcher, done.attributes.account) == ("mpirun", "mine")
    assert list((done.attributes.custom_attributes or {}).items()) == [
        ("slurm.constraint", "any"),
        ("slurm.x", "job"),
        ("slurm.C", "other"),
    ]


def test_the_callers_job_is_left_alone(mine: Callable[..., SiteProfile]) -> None:
    spec = job("small")
    spec.attributes.custom_attributes = {"slurm.x": "job"}
    before = copy.deepcopy(spec)
    done = complete(spec, mine())
    assert spec == before
    assert done != before
    assert done.attributes is not spec.attributes
    assert not done.attributes.duration_given  # still nobody's choice


def test_completing_twice_changes_nothing(mine: Callable[..., SiteProfile]) -> None:
    profile = mine(CHOOSE)
    once = complete(job(hours=2), profile)
    assert complete(once, profile) == once


def test_setup_lines(mine: Callable[..., SiteProfile]) -> None:
    assert setup_lines(mine()) == ["module load one", "module load two"]


def test_without_a_default_queue_the_scheduler_chooses(mine: Callable[..., SiteProfile]) -> None:
    assert complete(job(), mine()).attributes.queue_name is None


def test_the_default_queue(mine: Callable[..., SiteProfile]) -> None:
    profile = mine(("[schedulers.slurm]", '[schedulers.slurm]\ndefault_queue = "gpu"'))
    assert complete(job(), profile).attributes.queue_name == "gpu"
    assert complete(job("small"), profile).attributes.queue_name == "small"


@pytest.mark.parametrize(
    ("spec", "queue"),
    [
        (job(), "small"),
        (job(hours=24), "small"),
        (job(hours=24.1), "gpu"),
        (job(hours=49), "long"),
        (job(node_count=5), "large"),
        (job(node_count=5, hours=12), "large"),
        (job(gpu_cores_per_process=1), "gpu"),
        (job(memory=300 * GIB), "gpu"),
        (job(memory=600 * GIB, node_count=3), "small"),
        (job(processes_per_node=128), "small"),
        (job(process_count=10, processes_per_node=2), "large"),
    ],
)
def test_the_smallest_queue_that_fits_is_chosen(
    mine: Callable[..., SiteProfile], spec: JobSpec, queue: str
) -> None:
    assert complete(spec, mine(CHOOSE)).attributes.queue_name == queue


def test_no_queue_takes_the_job(mine: Callable[..., SiteProfile]) -> None:
    with pytest.raises(InvalidJobException) as caught:
        complete(job(node_count=100), mine(CHOOSE))
    said = caught.value.message
    assert "no queue of mine takes the job" in said
    assert "large: it takes at most 64 nodes, the job needs 100" in said
    assert "none of its queues that are known would take the job" in said


@pytest.mark.parametrize(
    ("spec", "complaint", "fitting"),
    [
        (
            job("debug", hours=1),
            "a job may take at most 30m, attributes.duration is 1h",
            "small, gpu",
        ),
        (job("small", node_count=5), "it takes at most 4 nodes, the job needs 5", "large, gpu"),
        (job("large"), "it takes jobs of at least 5 nodes, the job has 1", "debug, small, gpu"),
        (
            job("large", node_count=16, hours=13),
            "a job may take at most 12h for 16 nodes, attributes.duration is 13h",
            None,
        ),
        (job("long"), "a job must ask for at least 1d, attributes.duration is 0:10:00", "debug,"),
        (
            job("small", processes_per_node=43, cpu_cores_per_process=3),
            "a node 'thin' has 64 cores (128 hardware threads), the job needs 129 on each",
            None,
        ),
        (
            job("small", gpu_cores_per_process=1),
            "a node 'thin' has 0 GPUs, the job needs 1 on each",
            "debug, gpu",
        ),
        (
            job("gpu", gpu_cores_per_process=2, processes_per_node=3),
            "a node 'fat' has 4 GPUs, the job needs 6 on each",
            None,
        ),
        (
            job("small", memory=1025 * GIB, node_count=4),
            "a node 'thin' has 256 GiB of memory, the job needs",
            "gpu",
        ),
        (
            job("debug", memory=2049 * GIB, node_count=2),
            "a node 'thin' has 256 GiB of memory",
            None,
        ),
        (job("nope"), "mine has no queue 'nope'", "debug, small, gpu"),
    ],
)
def test_what_cannot_run_is_refused(
    mine: Callable[..., SiteProfile], spec: JobSpec, complaint: str, fitting: str | None
) -> None:
    with pytest.raises(InvalidJobException) as caught:
        complete(spec, mine())
    said = caught.value.message
    assert complaint in said
    if fitting is None:
        assert "none of its queues that are known would take the job" in said
    else:
        assert f"the job would fit into: {fitting}" in said
    assert "[mine.schedulers.slurm.queues." in said


def test_nodes_are_checked_without_a_queue_too(mine: Callable[..., SiteProfile]) -> None:
    with pytest.raises(InvalidJobException, match=r"mine has no such nodes: .*'thin'.*'fat'"):
        complete(job(processes_per_node=129), mine())


def test_queues_that_are_not_listed(mine: Callable[..., SiteProfile]) -> None:
    profile = mine(("[schedulers.slurm]", "[schedulers.slurm]\nother_queues = true"))
    assert complete(job("private"), profile).attributes.queue_name == "private"
    with pytest.raises(InvalidJobException, match="at most 4 nodes"):
        complete(job("small", node_count=5), profile)


def test_no_time_limit_of_the_jobs_own(mine: Callable[..., SiteProfile]) -> None:
    spec = job("debug")
    spec.attributes.duration = None
    assert complete(spec, mine()).attributes.duration is None


def test_a_missing_account(mine: Callable[..., SiteProfile]) -> None:
    profile = mine(('account = "pays"', "account_required = true"))
    with pytest.raises(InvalidJobException, match=r"--account.*sites\.toml.*\[mine\] account ="):
        complete(job(), profile)
    spec = job()
    spec.attributes.account = "mine"
    assert complete(spec, profile).attributes.account == "mine"


def test_queues_that_are_named_with_a_custom_attribute(mine: Callable[..., SiteProfile]) -> None:
    profile = mine(("[schedulers.slurm]", '[schedulers.slurm]\nqueue_attribute = "slurm.qos"'))
    done = complete(job("small"), profile)
    assert done.attributes.queue_name is None
    assert done.attributes.get_custom_attribute("slurm.qos") == "small"
    assert complete(done, profile) == done
    spec = job(hours=2)
    spec.attributes.custom_attributes = {"slurm.qos": "debug"}
    with pytest.raises(InvalidJobException, match="at most 30m"):
        complete(spec, profile)


def test_which_scheduler(mine: Callable[..., SiteProfile]) -> None:
    profile = mine(
        ("date = 2026", 'default_scheduler = "slurm"\ndate = 2026'),
        ("[nodes.thin]", '[schedulers.flux]\nlauncher = "mpirun"\n[nodes.thin]'),
    )
    assert complete(job("small"), profile).launcher == "srun"
    assert complete(job(), profile, "flux").launcher == "mpirun"
    with pytest.raises(ValueError, match="mine has no scheduler 'pbs'; it has: slurm, flux"):
        complete(job(), profile, "pbs")


def test_resources_of_another_version(mine: Callable[..., SiteProfile]) -> None:
    from exaworks.psij import ResourceSpec

    class Other(ResourceSpec):
        @property
        def version(self) -> int:
            return 2

    spec = job("small", hours=2)
    spec.resources = Other()
    assert complete(spec, mine()).resources is spec.resources  # validation will refuse it
    spec.attributes.duration = timedelta(days=2)
    with pytest.raises(InvalidJobException, match="at most 1d"):
        complete(spec, mine())


@given(
    nodes=st.integers(1, 80),
    hours=st.integers(1, 300),
    gpus=st.integers(0, 5),
    processes=st.integers(1, 140),
)
def test_a_chosen_queue_is_one_that_takes_the_job(
    nodes: int, hours: int, gpus: int, processes: int
) -> None:
    table = normalize(tomllib.loads(MINE.replace(*CHOOSE)))
    profile = SiteProfile.of("mine", table, {})
    spec = job(
        hours=hours,
        node_count=nodes,
        gpu_cores_per_process=gpus,
        processes_per_node=processes,
    )
    accepted = []
    for queue in profile.scheduler().queues:
        spec.attributes.queue_name = queue
        try:
            complete(spec, profile)
        except InvalidJobException as refused:
            assert queue in refused.message
        else:
            accepted.append(queue)
    spec.attributes.queue_name = None
    wanted = [queue for queue in accepted if queue != "debug"]
    if wanted:
        assert complete(spec, profile).attributes.queue_name in wanted
    else:
        with pytest.raises(InvalidJobException):
            complete(spec, profile)
