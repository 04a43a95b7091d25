"""What ``exaworks top`` makes of what engines tell."""

from __future__ import annotations

import io
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from exaworks.cli.top.drawing import cells, frame, per_time
from exaworks.cli.top.model import EngineView, History, NodeView, engine_view
from exaworks.tasks.status import short_address


def node(name: str = "n", **more: Any) -> dict[str, Any]:
    return {
        "name": name,
        "cores": 4,
        "free_cores": 4,
        "gpus": 0,
        "free_gpus": 0,
        "memory": 0,
        "free_memory": 0,
        "remaining": None,
        **more,
    }


def told(**more: Any) -> dict[str, Any]:
    return {
        "id": "local-1-1",
        "engine": "local",
        "program": "sweep.py",
        "pid": 1,
        "user": "me",
        "host": "here",
        "started": 1000.0,
        "uptime": 100.0,
        "waiting": 0,
        "running": 0,
        "completed": 0,
        "failed": 0,
        "canceled": 0,
        "nodes": [node()],
        "source": {},
        "failures": [],
        **more,
    }


def drawn(
    views: list[EngineView],
    width: int = 80,
    height: int = 24,
    silent: tuple[str, ...] = (),
    ascii: bool = False,
) -> list[str]:
    """The lines of a screen."""
    file = io.TextIOWrapper(io.BytesIO(), encoding="ascii" if ascii else "utf-8")
    console = Console(width=width, height=height, file=file, color_system=None)
    assert console.options.ascii_only is ascii
    lines = console.render_lines(frame(views, silent, width, height, ascii), pad=False)
    return ["".join(part.text for part in line).rstrip() for line in lines]


# The model


def test_rates_are_of_tasks_that_ended() -> None:
    before = told(uptime=100.0, completed=50, failed=10, canceled=3)
    after = told(uptime=110.0, completed=75, failed=15, canceled=99, waiting=60)
    view = engine_view(before, after)
    assert (view.rate, view.left) == (3.0, 20.0)
    assert view.average == pytest.approx(90 / 110)


def test_without_an_earlier_look_the_average_tells_how_long_it_takes() -> None:
    view = engine_view(None, told(completed=50, waiting=10))
    assert (view.rate, view.average, view.left) == (None, 0.5, 20.0)


def test_where_none_has_ended_lately_the_average_tells_it() -> None:
    before = told(uptime=90.0, completed=50, waiting=10)
    view = engine_view(before, told(completed=50, waiting=10))
    assert (view.rate, view.left) == (0.0, 20.0)


def test_nobody_knows_how_long_it_takes_if_none_has_ended() -> None:
    assert engine_view(None, told(waiting=10)).left is None
    assert engine_view(None, told(uptime=0.0, waiting=10)).left is None
    assert engine_view(None, told(completed=10)).left is None


def test_the_busiest_nodes_come_first() -> None:
    nodes = [
        node("idle"),
        node("half", free_cores=2, gpus=2, free_gpus=0.5, memory=100, free_memory=30),
        node("full", free_cores=0, remaining=60.0),
        node("large", cores=8, free_cores=4),
        node("none", cores=0, free_cores=0),
    ]
    view = engine_view(None, told(nodes=nodes))
    assert [each.name for each in view.nodes] == ["full", "large", "half", "idle", "none"]
    assert view.nodes[2] == NodeView("half", 4, 2, 2, 1.5, 100, 70, None)
    assert (view.used_cores, view.cores, view.share) == (10, 20, 0.5)


def test_how_long_the_nodes_stay() -> None:
    ends = [node(remaining=50.0), node(remaining=70.0)]
    assert engine_view(None, told(nodes=ends)).remaining == 70.0
    assert engine_view(None, told(nodes=[*ends, node()])).remaining is None
    assert engine_view(None, told(nodes=[])).remaining is None
    source = {"executor": "slurm", "job": 12, "state": "ACTIVE", "remaining": 9}
    view = engine_view(None, told(nodes=ends, source=source))
    assert (view.remaining, view.origin) == (9, "slurm 12 ACTIVE")
    assert engine_view(None, told(source={"source": "a cluster"})).origin == "a cluster"


def test_the_newest_failure_comes_first() -> None:
    failures = [{"task": f"local-1-1.{i}", "title": "t", "message": "m"} for i in range(3)]
    view = engine_view(None, told(failures=failures))
    assert [each.task for each in view.failures] == ["local-1-1.2", "local-1-1.1", "local-1-1.0"]


def test_the_present_rate_is_taken_over_the_last_seconds() -> None:
    history = History()
    # One ends a second for a minute, then ten a second.
    counts = [*range(60), *range(60, 200, 10)]
    rates = []
    for second, count in enumerate(counts):
        (view,) = history.views([told(uptime=float(second), completed=count)])
        rates.append(view.rate)
    assert rates[0] is None
    assert rates[1:61] == [1.0] * 60
    assert rates[65] == pytest.approx(5.5)
    assert rates[-1] == 10.0


def test_a_long_interval_is_longer_than_the_window() -> None:
    history = History()
    for uptime in (100.0, 160.0, 220.0):
        (view,) = history.views([told(uptime=uptime, completed=int(uptime))])
    assert view.rate == 1.0


def test_an_id_that_is_used_again_is_another_engine() -> None:
    history = History()
    history.views([told(completed=50)])
    (view,) = history.views([told(started=2000.0, uptime=200.0, completed=1)])
    assert view.rate is None


def test_engines_that_do_not_answer_are_shown_as_they_were() -> None:
    history = History()
    history.views([told(id="a"), told(id="b", running=3)])
    views = history.views([told(id="a", uptime=101.0)], ["b", "c"])
    assert [(view.id, view.silent) for view in views] == [("a", False), ("b", True)]
    assert views[1].running == 3
    assert [view.id for view in history.views([], ["b"])] == ["b"]
    assert history.views([]) == []
    (view,) = history.views([told(id="b", uptime=200.0)])
    assert (view.silent, view.rate) == (False, None)


# Drawing


def test_rates_in_words() -> None:
    rates = [None, 0.0, 1234.5, 12.34, 1.0, 0.5, 1 / 60, 0.01, 0.0001]
    assert [per_time(rate) for rate in rates] == [
        "?", "0/s", "1,234/s", "12.3/s", "1.0/s", "30.0/min", "1.0/min", "36.0/h", "0.4/h",
    ]  # fmt: skip


def test_a_panel() -> None:
    view = engine_view(
        told(uptime=90.0, completed=1000, failed=9),
        told(
            uptime=100.0,
            waiting=1200,
            running=3,
            completed=1099,
            failed=10,
            nodes=[
                node("a", free_cores=1, gpus=4, free_gpus=2.5, remaining=3500.0),
                node("b", memory=64 << 30, free_memory=63 << 30, remaining=30.0),
            ],
            source={"executor": "slurm", "job": "4711", "state": "ACTIVE", "remaining": 3500},
            failures=[
                {"task": "local-1-1.7", "title": "old", "message": "bad"},
                {"task": "local-1-1.8", "title": "[b]new[/b]", "message": "ValueError: \x1b[2J"},
            ],
        ),
    )
    assert drawn([view]) == [
        "╭─ local-1-1  sweep.py (1) on here ────────────────────────────────────────────╮",
        "│ cores   ██████████████████████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░ 3/8  38% │",
        "│ tasks   1,200 waiting  3 running  1,099 completed  10 failed  0 canceled     │",
        "│ rate    10.0/s now  11.1/s on average  about 2m00s until none waits          │",
        "│ NODE  CORES               GPUS        MEMORY  REMAINS                        │",
        "│ a       3/4  ████████░░  1.5/4                 58m20s                        │",
        "│ b       0/4  ░░░░░░░░░░         1.0/64.0 GiB      30s                        │",
        "│ failed  8 [b]new[/b]: ValueError: \\x1b[2J                                    │",
        "│         7 old: bad                                                           │",
        f"╰{'─' * 32} slurm 4711 ACTIVE, for 1m40s, 58m20s remain ─╯",
        "1 engine   q quits",
    ]


def test_of_many_nodes_the_busiest_are_shown() -> None:
    nodes = [node(f"n{i:04}", free_cores=3 if i % 100 == 7 else 4) for i in range(2000)]
    lines = drawn([engine_view(None, told(nodes=nodes))], height=14)
    assert len(lines) == 14
    assert [line[2:7] for line in lines[5:11]] == [f"n{i:02}07" for i in range(6)]
    assert "1,994 more nodes: 14 at work, 1,980 idle" in lines[11]


def test_many_engines_have_a_line_each() -> None:
    views = [engine_view(None, told(id=f"local-1-{i}")) for i in range(30)]
    lines = drawn(views)
    assert len(lines) == 24
    assert lines[0].split()[:2] == ["ENGINE", "NODES"]
    assert lines[1].split()[0] == "local-1-0"
    assert lines[-2:] == ["and 9 more; --engine ID chooses one", "30 engines   q quits"]
    assert [line.split()[0] for line in drawn(views, height=40)[1:31]] == [v.id for v in views]


def test_where_there_is_nothing() -> None:
    assert "No engine runs on this machine." in drawn([])[0]
    assert drawn([], silent=("local-5-1",))[0] == "local-5-1 does not answer"


def test_engines_that_do_not_answer_are_marked() -> None:
    history = History()
    history.views([told()])
    (view,) = history.views([], ["local-1-1"])
    assert "does not answer" in "\n".join(drawn([view]))
    assert cells(view)[-1] == "sweep.py (does not answer)"


counts = st.integers(0, 10**7)
words = st.text(max_size=30)
some_nodes = st.lists(
    st.builds(
        NodeView,
        name=words,
        cores=st.just(8),
        used_cores=st.integers(0, 8),
        gpus=st.integers(0, 4),
        used_gpus=st.just(0.0),
        memory=st.sampled_from([0, 1 << 36]),
        used_memory=st.just(0),
        remaining=st.none() | st.floats(0, 1e6),
    ),
    max_size=12,
)


@st.composite
def views(draw: Any) -> EngineView:
    snapshot = told(
        id=draw(words),
        program=draw(words),
        waiting=draw(counts),
        completed=draw(counts),
        source={"executor": draw(words)},
        failures=[
            {"task": "x.1", "title": draw(words), "message": draw(words)}
            for _ in range(draw(st.integers(0, 5)))
        ],
    )
    return replace(engine_view(None, snapshot), nodes=tuple(draw(some_nodes)))


@settings(max_examples=50, deadline=None)
@given(
    st.lists(views(), max_size=8),
    st.lists(words, max_size=3).map(tuple),
    st.integers(20, 200),
    st.integers(1, 60),
    st.booleans(),
)
def test_every_screen_fits(
    views: list[EngineView], silent: tuple[str, ...], width: int, height: int, ascii: bool
) -> None:
    lines = drawn(views, width, height, silent, ascii)
    if views:
        assert len(lines) <= height
    assert all(cell_len(line) <= width for line in lines)
    assert all(line.isprintable() for line in lines)
    assert lines[-1].endswith(("q quits", "…"))


# The command


def test_without_engines(exaworks) -> None:  # type: ignore[no-untyped-def]
    for arguments in ([], ["--once"]):
        result = exaworks("top", *arguments)
        assert (result.exit_code, result.stdout) == (0, "")
        assert result.stderr.startswith("No engine runs on this machine.")
        assert "LocalEngine()" in result.stderr
    assert exaworks("top", "--json").stdout == "[]\n"
    result = exaworks("top", "--engine", "local-1-1")
    assert result.exit_code == 2
    assert "No engine is known as 'local-1-1'" in result.stderr
    assert exaworks("top", "--interval", "0").exit_code == 2


def test_an_engine_that_does_not_answer(exaworks, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = tmp_path / "home" / "engines" / socket.gethostname()
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as stopped:
        with short_address(str(folder / "local-1-1.sock")) as address:
            stopped.bind(address)
        stopped.listen()
        result = exaworks("top", "--json")
        assert (result.exit_code, result.stdout) == (0, "[]\n")
        assert "local-1-1 does not answer" in result.stderr
        result = exaworks("top", "--engine", "local-1-2")
        assert "There are: local-1-1." in result.stderr
