"""Ranks as jobs of Flux, as far as that needs no Flux."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.tasks import Resources, TaskSpec, UnsupportedError
from exaworks.tasks.engines.flux import FluxLaunch, rank_in
from exaworks.tasks.engines.flux_ranks import carried, describe
from exaworks.tasks.scheduler import Placement, Rank

words = st.text(
    st.characters(exclude_characters="\0", exclude_categories=()).filter(
        lambda each: not "\ud800" <= each < "\udc80" and each <= "\U0010ffff"
    ),
    max_size=30,
).filter(lambda text: not any("\udd00" <= each <= "\udfff" for each in text))


@given(st.lists(st.one_of(words, st.sampled_from(["{{id}}", "a {{b}}", "\\", "'"])), max_size=4))
def test_a_command_means_what_it_says(arguments: list[str]) -> None:
    """Whatever the job shell would replace, or JSON cannot carry, arrives all the same."""
    through = carried(["printf", "%s\\0", *arguments])
    assert not any("{{" in word for word in through)
    for word in through:
        word.encode()
    said = subprocess.run(through, capture_output=True, check=True).stdout
    wanted = b"".join(os.fsencode(each) + b"\0" for each in arguments) or b"\0"
    assert said == wanted


def test_uneven_ranks() -> None:
    wanted = {"brokers": [(5, 2), (3, 1)], "cores": 4, "name": "x", "grace": 5.0}
    spec = describe(wanted, ["./solver"])
    (node,) = spec["resources"]
    assert (node["count"], node["with"][0]["count"]) == (2, 1)  # at least one on each
    assert spec["tasks"][0]["count"] == {"total": 3}
    system = spec["attributes"]["system"]
    assert system["constraints"] == {"ranks": ["3,5"]}
    assert system["shell"]["options"]["taskmap"]["value"] == "[[1, 1, 2, 1], [0, 1, 1, 1]]"


def test_names_of_nodes_have_the_rank() -> None:
    assert rank_in("node3 (rank 17)") == 17
    launch = FluxLaunch("0-1")
    placement = Placement(Resources(ranks=2), (Rank(4, (0,)), Rank(9, (0,))))
    names = {4: "a (rank 0)", 9: "a (rank 1)"}
    prefix = launch.spread(TaskSpec(["true"], ranks=2), placement, names)
    assert '"brokers": [[0, 1], [1, 1]]' in prefix[-1]
    with pytest.raises(UnsupportedError, match="other GPUs"):
        launch.check(TaskSpec(["true"], ranks=2, gpus=1))


def test_how_jobs_start_an_instance() -> None:
    words = FluxLaunch().words(["agent"], 3)
    assert words[:2] == ["sh", "-c"]
    assert "flux start" in words[2]
    assert words[3] == "3"
    assert words[-1] == "agent"
    assert (FluxLaunch().launcher("flux"), FluxLaunch().launcher("slurm")) == ("multiple", "single")
