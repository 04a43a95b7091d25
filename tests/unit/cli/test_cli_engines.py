"""``exaworks engines``."""

from __future__ import annotations

import json
from dataclasses import fields

import pytest

from exaworks.core.plugins import Descriptor
from exaworks.tasks import Features, LocalEngine, engine_descriptors
from exaworks.tasks import engines as registry


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that cannot be imported, and one that cannot be used, besides the others."""
    more = [
        Descriptor("broken", "1.0", "no_such_module_at_all.Engine"),
        Descriptor("closed", "2.0", f"{__name__}.Closed"),
    ]
    for descriptor in more:
        monkeypatch.setitem(registry._registry._entries, descriptor.name, [])
        registry._registry._entries.pop(descriptor.name)
        registry._registry.register(descriptor)


class Closed(LocalEngine):
    """One that says why it cannot be used."""

    @classmethod
    def unusable(cls) -> str | None:
        return "it is closed:\nring the bell"


def test_a_line_for_each(exaworks, broken: None) -> None:  # type: ignore[no-untyped-def]
    lines = {line.split()[0]: line for line in exaworks("engines").stdout.splitlines()}
    assert lines["ENGINE"].split()[:4] == ["ENGINE", "VERSION", "USABLE", "WHERE"]
    assert {each.name for each in engine_descriptors()} <= set(lines)
    assert lines["local"].split()[2:6] == ["yes", "on", "this", "machine"]
    assert "No module named 'no_such_module_at_all'" in lines["broken"]
    assert lines["broken"].split()[:3] == ["broken", "1.0", "no"]
    assert lines["closed"].endswith(r"it is closed:\nring the bell")


def test_as_json(exaworks, broken: None) -> None:  # type: ignore[no-untyped-def]
    found = {each["name"]: each for each in json.loads(exaworks("engines", "--json").stdout)}
    assert found["local"]["usable"] is True
    assert found["local"]["reason"] is None
    assert set(found["local"]["features"]) == {field.name for field in fields(Features)}
    assert found["broken"]["features"] is None
    assert "no_such_module_at_all" in found["broken"]["reason"]
    assert (found["closed"]["usable"], found["closed"]["version"]) == (False, "2.0")


def test_as_markdown(exaworks) -> None:  # type: ignore[no-untyped-def]
    lines = exaworks("engines", "--markdown").stdout.splitlines()
    columns = [field.name.replace("_", " ") for field in fields(Features)]
    assert lines[0] == f"| engine | {' | '.join(columns)} |"
    assert [line.split(" ")[1] for line in lines[2:]] == [
        f"`{each.name}`" for each in engine_descriptors()
    ]
    assert {line.count("|") for line in lines} == {len(columns) + 2}


def test_both_forms_at_once(exaworks) -> None:  # type: ignore[no-untyped-def]
    assert exaworks("engines", "--json", "--markdown").exit_code == 2
