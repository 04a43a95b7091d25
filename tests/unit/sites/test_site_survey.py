"""What Slurm says about itself: recorded output, and the profile made of it.

The data are of Slurm 22.05.8 on four nodes (tests/clusters/slurm.sh), one of them declared without
GPUs and with two threads a core, another one with features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.core.sites import get_site
from exaworks.core.sites.toml_text import dump
from exaworks.psij.executors.slurm_survey import SlurmSurveyor, _cores, _expand, _gpus
from exaworks.psij.runner import Command, CommandResult
from exaworks.psij.survey import (
    NodeGroup,
    QueueFacts,
    Survey,
    SurveyFailed,
    conduct,
    group_name,
    profile_comments,
    profile_table,
)

Write = Callable[[str, str], Path]

DATA = Path(__file__).parent / "data"
MIB = 1024**2
GPU, CPU = "c8-16g-2x-a100", "c8-64g"


def recorded(**changes: CommandResult | str) -> list[CommandResult]:
    """What the commands printed; changes replace some of it."""
    files = {
        "partitions": "slurm-22.05-partitions.txt",
        "nodes": "slurm-22.05-nodes.txt",
        "config": "slurm-22.05-config.txt",
        "accounts": "slurm-22.05-associations.txt",
    }
    commands = dict(zip(files, SlurmSurveyor("me").commands(), strict=True))
    results = []
    for name, file in files.items():
        change = changes.get(name, (DATA / file).read_text())
        if isinstance(change, str):
            change = CommandResult(commands[name], 0, change)
        results.append(change)
    return results


def test_the_recorded_cluster() -> None:
    survey = SlurmSurveyor("me").parse(recorded())
    assert (survey.executor, survey.title, survey.cluster) == (
        "slurm",
        "Slurm 22.05.8",
        "sitetest",
    )
    assert survey.nodes == (
        NodeGroup(GPU, 3, 8, 1, 2, "a100", 16000 * MIB),
        NodeGroup(CPU, 1, 8, 2, 0, None, 65536 * MIB),
    )
    week, half = timedelta(days=7), timedelta(minutes=30)
    assert survey.queues == (
        QueueFacts("debug", default=True, max_walltime=half, nodes=(GPU, CPU)),
        QueueFacts("batch", max_walltime=week, nodes=(GPU, CPU)),
        QueueFacts("small", max_nodes=1, nodes=(GPU,)),
        QueueFacts("closed", nodes=(GPU, CPU), closed="State = DOWN"),
        QueueFacts("short", max_walltime=half, max_nodes=1, exclusive=True, nodes=(GPU,)),
        QueueFacts(
            "down",
            max_walltime=timedelta(days=2),
            nodes=(GPU,),
            closed="State = DOWN",
            remark="AllowAccounts = physics",
        ),
    )
    assert survey.accounts == ("proj1", "proj2", "root")
    assert survey.remarks == ()


def test_the_commands_only_ask() -> None:
    commands = SlurmSurveyor("me").commands()
    assert [command.argv[0] for command in commands] == [
        "scontrol",
        "sinfo",
        "scontrol",
        "sacctmgr",
    ]
    assert all("show" in c.argv or c.argv[0] == "sinfo" for c in commands)
    assert all(command.timeout for command in commands)


def test_without_accounting_and_configuration() -> None:
    asked = SlurmSurveyor("me").commands()
    survey = SlurmSurveyor("me").parse(
        recorded(
            config=CommandResult(asked[2], 1, stderr="scontrol: error: no"),
            accounts=CommandResult(asked[3], None, missing=True),
        )
    )
    assert (survey.title, survey.cluster, survey.accounts) == ("Slurm", None, ())
    assert survey.remarks == ("`scontrol show config` failed: scontrol: error: no",)
    assert len(survey.queues) == 6


def test_slurm_that_does_not_answer() -> None:
    asked = SlurmSurveyor("me").commands()
    broken = CommandResult(asked[0], 1, stderr="slurm_load_partitions: Unable to contact")
    with pytest.raises(SurveyFailed, match=r"Slurm does not answer: .*Unable to contact"):
        SlurmSurveyor("me").parse(recorded(partitions=broken))
    with pytest.raises(SurveyFailed, match="lists no partition"):
        SlurmSurveyor("me").parse(recorded(partitions="No partitions in the system\n"))


def test_lines_that_are_not_understood_are_told() -> None:
    text = (DATA / "slurm-22.05-nodes.txt").read_text()
    survey = SlurmSurveyor("me").parse(recorded(nodes=f"Warning: x\n{text}debug|?|1|1|1|1|1|a|b\n"))
    assert [group.name for group in survey.nodes] == [GPU, CPU]
    assert len(survey.remarks) == 1


class Runner:
    """Answers with what it is given; None: there is no such program."""

    def __init__(self, results: list[CommandResult | None]) -> None:
        self.results = results
        self.asked: list[Command] = []

    def run(self, command: Command) -> CommandResult:
        self.asked.append(command)
        result = self.results[len(self.asked) - 1]
        return CommandResult(command, None, missing=True) if result is None else result


def test_a_scheduler_that_is_not_there() -> None:
    runner = Runner([None])
    assert conduct(SlurmSurveyor("me"), runner) is None  # type: ignore[arg-type]
    assert len(runner.asked) == 1


def test_a_scheduler_that_is_there() -> None:
    runner = Runner([*recorded()])
    assert conduct(SlurmSurveyor("me"), runner) == SlurmSurveyor("me").parse(  # type: ignore[arg-type]
        recorded()
    )


@pytest.mark.parametrize(
    ("gres", "expected"),
    [
        ("(null)", (0, None)),
        ("", (0, None)),
        ("gpu:2", (2, None)),
        ("gpu", (1, None)),
        ("gpu:a100:4", (4, "a100")),
        ("gpu:a100:4(S:0-1)", (4, "a100")),
        ("gpu:a100:4(S:0,1),nvme:1", (4, "a100")),
        ("nvme:3,gpu:h100:2(S:0),gpu:l40:1(S:1)", (3, "h100+l40")),
        ("mps:400", (0, None)),
        ("gpu:k80", (1, "k80")),
    ],
)
def test_gpus(gres: str, expected: tuple[int, str | None]) -> None:
    assert _gpus(gres) == expected


@pytest.mark.parametrize(
    ("cpus", "cores", "threads", "expected"),
    [
        (128, 64, 2, (64, 2)),
        (64, 64, 2, (64, 1)),  # Slurm hands out one thread of each core
        (64, 64, 1, (64, 1)),
        (60, 64, 1, (60, 1)),
        (0, 0, 1, (None, 1)),
    ],
)
def test_cores(cpus: int, cores: int, threads: int, expected: tuple[int | None, int]) -> None:
    assert _cores(cpus, cores, threads) == expected


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("n1", {"n1"}),
        ("n[1-3],m", {"n1", "n2", "n3", "m"}),
        ("n[08-11,20]x", {"n08x", "n09x", "n10x", "n11x", "n20x"}),
        ("a[1,3],b[5-6]", {"a1", "a3", "b5", "b6"}),
        ("rack[0-1]node[0-1]", None),
        ("n[1-99999999]", None),
    ],
)
def test_lists_of_nodes(text: str, names: set[str] | None) -> None:
    assert _expand(text) == names


@given(st.text(max_size=40))
def test_any_output_is_survived(text: str) -> None:
    """Whatever is printed, an answer or SurveyFailed comes of it."""
    try:
        survey = SlurmSurveyor("me").parse(
            recorded(partitions=f"PartitionName=a {text}", nodes=text, config=text, accounts=text)
        )
    except SurveyFailed:
        return
    assert survey.queues


# -- from a survey to a profile and back

_name = st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1, max_size=6)
_count = st.none() | st.integers(1, 10**6)
_time = st.none() | st.integers(1, 10**7).map(lambda s: timedelta(seconds=s))


@st.composite
def surveys(draw: st.DrawFn, executor: str = "slurm") -> Survey:
    groups: dict[str, NodeGroup] = {}
    for _ in range(draw(st.integers(0, 3))):
        gpus = draw(st.none() | st.integers(0, 8))
        group = NodeGroup(
            "",
            draw(_count),
            draw(_count),
            draw(_count),
            gpus,
            draw(st.none() | st.text('ab -é"\\', min_size=1, max_size=4).filter(str.strip))
            if gpus
            else None,
            draw(st.none() | st.integers(1, 2**50)),
        )
        name = group_name(group, groups)
        groups[name] = replace(group, name=name)
    names = draw(st.lists(st.text("abcé.-_ \"'", min_size=1, max_size=5), unique=True, max_size=4))
    default = draw(st.integers(-1, len(names) - 1))
    queues = [
        QueueFacts(
            name,
            index == default,
            draw(_time),
            draw(_time),
            None,
            draw(_count),
            draw(_count),
            draw(_count),
            draw(st.none() | st.booleans()),
            tuple(
                draw(
                    st.lists(st.sampled_from(sorted(groups)), unique=True)
                    if groups
                    else st.just([])
                )
            ),
            draw(st.none() | st.text(max_size=5)),
            draw(st.none() | st.text(max_size=5)),
        )
        for index, name in enumerate(names)
        if name.strip() == name
    ]
    return Survey(executor, "A scheduler", None, tuple(queues), tuple(groups.values()), ("a", "b"))


@given(surveys(), surveys("flux"))
def test_a_detected_profile_says_what_the_survey_said(
    tmp_path_factory: pytest.TempPathFactory, one: Survey, other: Survey
) -> None:
    folder = tmp_path_factory.mktemp("written")
    table = profile_table([one, other], "mine", ["host"])
    file = folder / "exaworks-sites.toml"
    text = dump(
        {"mine": table}, {("mine", *k): v for k, v in profile_comments([one, other]).items()}
    )
    file.write_text(text)
    profile = get_site("mine", folder)
    assert profile.default_scheduler == "slurm"
    assert profile.host_names == ("host",)
    for survey in (one, other):
        scheduler = profile.schedulers[survey.executor]
        assert list(scheduler.queues) == [queue.name for queue in survey.queues]
        default = [queue.name for queue in survey.queues if queue.default]
        assert scheduler.default_queue == (default[0] if default else None)
        for facts in survey.queues:
            queue = scheduler.queues[facts.name]
            for key in (
                "min_walltime",
                "max_walltime",
                "max_nodes",
                "max_jobs",
                "max_running_jobs",
                "exclusive",
            ):
                assert getattr(queue, key) == getattr(facts, key), key
            found = [profile.nodes[name] for name in queue.nodes]
            wanted = {group.name: group for group in survey.nodes}
            assert len(found) == len(facts.nodes)
            for node, name in zip(found, facts.nodes, strict=True):
                group = wanted[name]
                for key in ("count", "cores", "threads_per_core", "gpus", "gpu_model", "memory"):
                    assert getattr(node, key) == getattr(group, key), key
    assert len(profile.nodes) == len(one.nodes) + len(other.nodes)


def test_names_of_groups() -> None:
    group = NodeGroup("", 1, 64, 2, 4, "NVIDIA A100", 500 * 2**30)
    assert group_name(group, {}) == "c64-500g-4x-nvidia-a100"
    assert group_name(group, {"c64-500g-4x-nvidia-a100": 1}) == "c64-500g-4x-nvidia-a100-2"
    assert group_name(NodeGroup(""), {}) == "node"
