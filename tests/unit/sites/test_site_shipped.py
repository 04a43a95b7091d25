"""Every profile that comes with the package."""

from __future__ import annotations

import datetime
import re
from pathlib import Path

import pytest

from exaworks.core import sites as package
from exaworks.core.sites import SiteProfile, load_sites
from exaworks.psij import Launcher

FOLDER = Path(package.__file__).parent / "data"
NAMES = sorted(file.stem for file in FOLDER.glob("*.toml"))
EXECUTORS = {
    "local",
    "ssh",
    "slurm",
    "pbspro",
    "pbs_classic",
    "lsf",
    "flux",
    "grid_engine",
    "cobalt",
    "nqsv",
    "htcondor",
    "oar",
}
RETIRED = {"summit", "theta", "cori", "titan", "bluewaters", "stampede2", "puhti", "mahti"}


@pytest.fixture(params=NAMES)
def profile(request: pytest.FixtureRequest) -> SiteProfile:
    return load_sites().get(request.param)


def test_there_are_enough_and_all_are_understood() -> None:
    sites = load_sites()
    assert sites.warnings == []
    assert len(NAMES) >= 12
    assert sites.names() == NAMES
    assert not RETIRED.intersection(NAMES)


def test_names_and_aliases_are_unique() -> None:
    sites = load_sites()
    names = [name for site in NAMES for name in (site, *sites.get(site).aliases)]
    assert len({name.casefold() for name in names}) == len(names)


def test_facts_have_a_source_and_a_date(profile: SiteProfile) -> None:
    assert profile.title
    assert profile.source
    assert all(re.fullmatch(r"https://\S+", url) for url in profile.source)
    assert profile.date is not None
    assert datetime.date(2024, 1, 1) <= datetime.date.fromisoformat(profile.date)
    assert profile.status != "retired"
    assert not profile.verified
    assert "verified" in profile.table


def test_it_can_be_used(profile: SiteProfile) -> None:
    assert profile.ssh is not None
    assert profile.ssh.user is None
    assert profile.account is None
    for scheduler in profile.schedulers.values():
        assert scheduler.executor in EXECUTORS
        assert scheduler.queues
        assert scheduler.launcher is None or scheduler.launcher in Launcher.get_launcher_names()
        assert scheduler.default_queue is None or scheduler.default_queue in scheduler.queues


def test_every_node_type_is_used_and_makes_sense(profile: SiteProfile) -> None:
    used = {
        node
        for scheduler in profile.schedulers.values()
        for queue in scheduler.queues.values()
        for node in queue.nodes
    }
    assert used == set(profile.nodes)
    for node in profile.nodes.values():
        assert bool(node.gpus) == (node.gpu_model is not None)
        assert node.memory is None or 2**34 <= node.memory <= 2**44
        assert node.cores is None or 8 <= node.cores <= 512


def test_limits_make_sense(profile: SiteProfile) -> None:
    for scheduler in profile.schedulers.values():
        for queue in scheduler.queues.values():
            if queue.max_walltime is not None:
                low, high = datetime.timedelta(minutes=10), datetime.timedelta(days=31)
                assert low <= queue.max_walltime <= high
            steps = queue.max_walltime_by_nodes
            assert not steps or steps[-1][0] == queue.max_nodes
            assert not steps or queue.max_walltime == max(limit for _, limit in steps)
            if queue.max_running_jobs is not None and queue.max_jobs is not None:
                assert queue.max_running_jobs <= queue.max_jobs


def test_a_machine_is_not_taken_for_another(profile: SiteProfile) -> None:
    assert not profile.is_here(["login1", "login01.example.org", "localhost", "node1"], {})
    for pattern in profile.host_names:
        assert len(re.sub(r"login|\W|\d", "", pattern)) >= 3, pattern
