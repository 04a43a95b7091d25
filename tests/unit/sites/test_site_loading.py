"""Where profiles are found, what overrides what, and what is said of broken files."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.core.sites import SiteError, get_site, load_sites
from exaworks.core.sites.loading import merge

Write = Callable[[str, str], Path]

MINE = """
title = "Mine"
aliases = ["m", "MyCluster"]
ssh = "me@login.mine.org:2222"
[schedulers.slurm]
default_queue = "short"
[schedulers.slurm.queues.short]
max_walltime = "2h"
nodes = "thin"
[nodes.thin]
cores = 64
threads_per_core = 2
memory = "256 GiB"
"""


def test_later_files_override_earlier_ones_key_by_key(write: Write) -> None:
    write("system/sites.d/mine.toml", MINE)
    write("system/sites.toml", '[mine]\ntitle = "System"\n[mine.nodes.thin]\ngpus = 4\n')
    write("home/sites/mine.toml", 'description = "of the user"\n[nodes.thin]\ncores = 60\n')
    write("home/sites.toml", '[mine]\naccount = "user"\nscratch = "/user"\n')
    project = write("project/exaworks-sites.toml", '[mine]\naccount = "project"\n')
    profile = get_site("mine")
    assert (profile.title, profile.description) == ("System", "of the user")
    assert (profile.account, profile.scratch) == ("project", "/user")
    node = profile.nodes["thin"]
    assert (node.cores, node.threads_per_core, node.gpus) == (60, 2, 4)
    assert node.memory == 256 * 1024**3
    assert profile.origins["account",] == str(project)
    assert profile.origins["nodes", "thin", "cores"].endswith("home/sites/mine.toml")
    assert profile.origins["nodes", "thin", "gpus"].endswith("system/sites.toml")
    assert profile.origins["nodes", "thin", "memory"].endswith("system/sites.d/mine.toml")


def test_a_user_completes_a_shipped_profile(write: Write) -> None:
    write("home/sites.toml", '[frontier]\naccount = "abc123"\n[frontier.ssh]\nuser = "me"\n')
    profile = get_site("frontier")
    assert profile.account == "abc123"
    assert profile.url() == "ssh://me@frontier.olcf.ornl.gov"
    assert profile.url("you") == "ssh://you@frontier.olcf.ornl.gov"
    assert profile.origins["title",] == "shipped: frontier.toml"


def test_short_forms(write: Write) -> None:
    write(
        "home/sites/mine.toml",
        MINE.replace("default_queue", 'custom_attributes.slurm.constraint = "gpu"\ndefault_queue'),
    )
    profile = get_site("mine")
    assert profile.ssh is not None
    assert (profile.ssh.user, profile.ssh.host, profile.ssh.port) == ("me", "login.mine.org", 2222)
    assert profile.url() == "ssh://me@login.mine.org:2222"
    assert profile.scheduler().custom_attributes == {"slurm.constraint": "gpu"}
    assert profile.scheduler().queues["short"].nodes == ("thin",)
    assert profile.scheduler().executor == "slurm"


@pytest.mark.parametrize("name", ["mine", "MINE", "m", "M", "mycluster"])
def test_names_and_aliases(write: Write, name: str) -> None:
    write("home/sites/mine.toml", MINE)
    assert get_site(name).name == "mine"


def test_unknown_sites_are_told_with_a_suggestion() -> None:
    with pytest.raises(SiteError, match=r"no site 'fronteer'\. Did you mean 'frontier'"):
        get_site("fronteer")


def test_the_nearest_project_file_is_taken(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("home/sites/mine.toml", MINE)
    write("project/.exaworks/sites.toml", '[mine]\naccount = "outer"\n')
    inner = write("project/a/exaworks-sites.toml", '[mine]\naccount = "inner"\n').parent
    deep = inner / "b" / "c"
    deep.mkdir(parents=True)
    assert get_site("mine", deep).account == "inner"
    assert get_site("mine").account == "outer"
    monkeypatch.chdir(deep)
    assert get_site("mine").account == "inner"


def test_the_users_own_file_is_not_the_projects(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("home/.exaworks/sites.toml", MINE.replace("title", "[mine]\ntitle").split("[sched")[0])
    sites = load_sites(tmp_path / "home" / "work")
    assert "mine" in sites.names()  # as a project's, for EXAWORKS_HOME is elsewhere
    monkeypatch.setenv("EXAWORKS_HOME", str(tmp_path / "home" / ".exaworks"))
    sites = load_sites(tmp_path / "home" / "work")
    assert [origin for origin, _ in sites._layers["mine"].tables] == [
        str(tmp_path / "home" / ".exaworks" / "sites.toml")
    ]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give files away")
def test_a_project_file_of_another_user_is_not_used(write: Write) -> None:
    file = write("project/exaworks-sites.toml", '[frontier]\nsetup = ["touch /tmp/pwned"]\n')
    os.chown(file, 12345, 12345)
    sites = load_sites()
    assert sites.get("frontier").setup == ()
    assert any("belongs to another user" in warning for warning in sites.warnings)


def test_without_a_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EXAWORKS_HOME")
    monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("none")))
    sites = load_sites()
    assert sites.get("frontier").name == "frontier"
    assert any("your own sites are not read" in warning for warning in sites.warnings)


# -- broken files


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("titel = 'x'", "titel: there is no such key; did you mean 'title'?"),
        ("title = 1", "title: must be text"),
        ("aliases = [1]", "aliases: must be text"),
        ("account_required = 'yes'", "account_required: must be true or false, without quotes"),
        ("date = '22.11.2026'", "date: '22.11.2026' is no date; write it like 2026-11-22"),
        ("status = 'old'", "status: must be one of 'active', 'preview', 'retired'"),
        ("ssh = '-oProxyCommand=x'", "ssh.host: '-oProxyCommand=x' must be one word"),
        ("ssh = 'host:ssh'", "ssh.port: must be a port number"),
        ("scratch = 'work'", "scratch: 'work' must begin with '/'"),
        ("nodes.thin.cores = '64'", "nodes.thin.cores: must be a whole number of at least 1"),
        ("nodes.thin.cores = 0", "nodes.thin.cores: must be a whole number of at least 1"),
        ("nodes.thin.memory = '256G'", "nodes.thin.memory: '256G' is no size of memory"),
        ("nodes.thin.memory = 256", "nodes.thin.memory: must be a size with its unit"),
        ("nodes.thin = 1", "nodes.thin: must be a table, such as [nodes.thin]"),
        (
            "schedulers.slurm.queues.q.max_walltime = 24",
            "schedulers.slurm.queues.q.max_walltime: must be a length of time with its unit",
        ),
        (
            "schedulers.slurm.queues.q.max_walltime = '24'",
            "schedulers.slurm.queues.q.max_walltime: '24' is no length of time; write for",
        ),
        (
            "schedulers.slurm.queues.q.max_walltime_by_nodes = {few = '1h'}",
            "schedulers.slurm.queues.q.max_walltime_by_nodes: 'few' must be a number of nodes",
        ),
        (
            "schedulers.slurm.custom_attributes = {constraint = 'gpu'}",
            "schedulers.slurm.custom_attributes: 'constraint' must name the executor",
        ),
        ("schedulers.slurm.launch = 'srun'", "launch: there is no such key; did you mean"),
        ("setup = 'a\\u0000b'", "setup: must not contain NUL"),
    ],
)
def test_errors_name_file_key_and_fix(write: Write, line: str, complaint: str) -> None:
    line = line.replace("'a\\u0000b'", '"a\\u0000b"')
    file = write("home/sites/bad.toml", f'{line}\nschedulers.flux.executor = "flux"\n')
    with pytest.raises(SiteError) as caught:
        get_site("bad")
    assert str(caught.value).startswith(f"{file}: ")
    assert complaint in str(caught.value)
    sites = load_sites()
    assert any(complaint in warning for warning in sites.warnings)
    assert sites.get("frontier").name == "frontier"  # others can be used


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("title = 'x'\n", "bad.schedulers: is missing; write for instance [schedulers.slurm]"),
        (
            "[schedulers.a]\n[schedulers.b]\n",
            "bad.default_scheduler: is missing; name one of: a, b",
        ),
        (
            "default_scheduler = 'c'\n[schedulers.a]\n",
            "bad.default_scheduler: there is no scheduler 'c'; there are: a",
        ),
        (
            "[schedulers.a]\ndefault_queue = 'x'\n[schedulers.a.queues.y]\n",
            "bad.schedulers.a.default_queue: there is no queue 'x'; there are: y",
        ),
        (
            "[schedulers.a.queues.y]\nnodes = 'fat'\n[nodes.thin]\n",
            "bad.schedulers.a.queues.y.nodes: there is no node type 'fat'",
        ),
        (
            "[schedulers.a.queues.y]\nmin_nodes = 3\nmax_nodes = 2\n",
            "bad.schedulers.a.queues.y.min_nodes: is more than max_nodes",
        ),
    ],
)
def test_contradictions_are_found(write: Write, text: str, complaint: str) -> None:
    file = write("home/sites/bad.toml", text)
    with pytest.raises(SiteError) as caught:
        get_site("bad")
    assert f"{file}: {complaint}" in str(caught.value)


def test_a_contradiction_names_the_file_that_made_it(write: Write) -> None:
    file = write("home/sites.toml", '[frontier.schedulers.slurm.queues.batch]\nnodes = "gone"\n')
    with pytest.raises(SiteError, match="no node type 'gone'") as caught:
        get_site("frontier")
    assert str(caught.value).startswith(str(file))


def test_a_file_that_is_no_toml_harms_only_its_sites(write: Write) -> None:
    file = write("home/sites.toml", '[frontier]\naccount = "a"\n[andes\n')
    sites = load_sites()
    assert any(str(file) in warning for warning in sites.warnings)
    assert sites.get("lumi").name == "lumi"
    for name in ("frontier", "andes"):
        with pytest.raises(SiteError, match="is not TOML"):
            sites.get(name)


def test_a_single_profile_that_is_no_toml(write: Write) -> None:
    write("home/sites/mine.toml", "title = \n")
    with pytest.raises(SiteError, match=r"mine\.toml: is not TOML"):
        get_site("mine")
    assert get_site("lumi").name == "lumi"


def test_a_file_that_is_no_text(write: Write) -> None:
    write("home/sites/mine.toml", "").write_bytes(b"title = '\xff'\n")
    with pytest.raises(SiteError, match=r"is not UTF-8 text \(byte 9\)"):
        get_site("mine")


def test_an_alias_or_a_misspelt_name_in_an_overriding_file(write: Write) -> None:
    write("home/sites.toml", '[pm]\naccount = "x"\n[frontir]\naccount = "x"\n')
    with pytest.raises(SiteError, match=r"write the table as \[perlmutter\]"):
        get_site("pm")
    with pytest.raises(SiteError, match="if 'frontier' is meant, write that name"):
        get_site("frontir")


def test_a_value_at_the_top_of_a_file_for_several_sites(write: Write) -> None:
    write("home/sites.toml", 'account = "x"\n')
    assert any("must be the table of a site" in warning for warning in load_sites().warnings)


# -- recognising this machine


def test_this_machine_is_recognised(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    write(
        "home/sites/mine.toml",
        MINE + '[host]\nnames = ["login*.mine.org"]\nenvironment = {HOST_OF = "mine", N = "1"}\n',
    )
    profile = get_site("mine")
    assert profile.is_here(["x", "LOGIN12.mine.org"], {})
    assert profile.is_here(["x"], {"HOST_OF": "mine", "N": "1"})
    assert not profile.is_here(["login1"], {"HOST_OF": "mine"})
    assert not profile.is_here(["login1.mine.org.evil.org"], {})
    assert load_sites().here() is None
    monkeypatch.setenv("HOST_OF", "mine")
    monkeypatch.setenv("N", "1")
    here = load_sites().here()
    assert here is not None
    assert here.name == "mine"
    assert here.url() is None


def test_limits_that_depend_on_nodes() -> None:
    batch = get_site("frontier").scheduler().queues["batch"]
    hours = [batch.walltime_limit(nodes) for nodes in (1, 91, 92, 183, 184, 9472, 9999)]
    assert hours == [timedelta(hours=h) for h in (2, 2, 6, 6, 12, 12, 12)]


# -- merging

_keys = st.sampled_from("abc")
_tables = st.recursive(
    st.dictionaries(_keys, st.integers() | st.lists(st.integers(), max_size=2), max_size=3),
    lambda inner: st.dictionaries(_keys, inner | st.integers(), max_size=3),
    max_leaves=8,
)


@given(_tables)
def test_merging_with_nothing_or_itself_changes_nothing(table: dict[str, Any]) -> None:
    assert merge(table, {}) == merge({}, table) == merge(table, table) == table


@given(_tables, _tables, _tables)
def test_merging_is_associative_where_tables_stay_tables(
    a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]
) -> None:
    def mark(table: dict[str, Any]) -> dict[str, Any]:
        """Tables and values under different keys, as a schema demands."""
        return {
            (f"{key}_table" if isinstance(value, dict) else key): (
                mark(value) if isinstance(value, dict) else value
            )
            for key, value in table.items()
        }

    a, b, c = mark(a), mark(b), mark(c)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


@given(_tables, _tables)
def test_what_overrides_is_found_and_the_arguments_stay(
    base: dict[str, Any], over: dict[str, Any]
) -> None:
    before = repr((base, over))
    merged = merge(base, over)

    def holds(part: dict[str, Any], whole: dict[str, Any]) -> bool:
        return all(
            holds(value, whole[key]) if isinstance(value, dict) else whole[key] == value
            for key, value in part.items()
        )

    assert holds(over, merged)
    assert set(merged) == set(base) | set(over)
    assert repr((base, over)) == before
