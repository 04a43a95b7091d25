"""docs/sites.md describes every key, and its examples can be loaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from exaworks.core.sites import get_site
from exaworks.core.sites.schema import PROFILE, Named, Table

Write = Callable[[str, str], Path]

DOCUMENT = (Path(__file__).parents[3] / "docs" / "sites.md").read_text()


def keys(table: Table) -> Iterator[str]:
    for key, kind in table.keys.items():
        inner = kind.item if isinstance(kind, Named) else kind
        if isinstance(inner, Table):
            yield from keys(inner)
        else:
            yield key


@pytest.mark.parametrize("key", sorted(set(keys(PROFILE))))
def test_every_key_is_described(key: str) -> None:
    assert re.search(rf"`(?:\w+\.)?{key}`", DOCUMENT)


def test_the_examples(write: Write) -> None:
    profile, *overrides = re.findall(r"^```toml\n(.*?)^```", DOCUMENT, re.S | re.M)
    write("home/sites/mycluster.toml", profile)
    write("home/sites.toml", "".join(overrides))
    mine = get_site("mycluster")
    assert mine.scheduler().queues["normal"].max_walltime == timedelta(days=1)
    frontier = get_site("frontier")
    assert frontier.account == "abc123"
    assert frontier.scheduler().queues["extended"].max_nodes == 128
    assert frontier.scheduler().queues["extended"].max_walltime == timedelta(days=1)
