"""How jobs are described to OAR."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import InvalidJobException, JobAttributes, JobSpec, ResourceSpecV1
from exaworks.psij.executors.batch import Request
from exaworks.psij.executors.oar import OarAdapter
from exaworks.psij.executors.oar_options import HOSTS, command_of, log_of
from exaworks.psij.executors.script_environment import INHERIT
from exaworks.psij.runner import Command, CommandResult

adapter = OarAdapter()
NO_NUL = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)))


def options(
    needs: ResourceSpecV1 | None = None, attributes: JobAttributes | None = None, **fields: object
) -> dict[str, list[str]]:
    spec = JobSpec("/bin/true", attributes=attributes or JobAttributes(None))
    request = Request(spec, needs or ResourceSpecV1(), **fields)  # type: ignore[arg-type]
    found: dict[str, list[str]] = {}
    for name, *value in adapter.options(request):
        found.setdefault(name, []).append(*(value or [""]))
    return found


def custom(**named: object) -> JobAttributes:
    values = {f"oar.{name}": value for name, value in named.items()}
    return JobAttributes(None, custom_attributes=values)


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        (ResourceSpecV1(), "/core=1"),
        (ResourceSpecV1(process_count=5), "/core=5"),
        (ResourceSpecV1(process_count=5, cpu_cores_per_process=2), "/nodes=1/core=10"),
        (ResourceSpecV1(node_count=2), "/nodes=2/core=1"),
        (ResourceSpecV1(2, None, 3, 4), "/nodes=2/core=12"),
        (ResourceSpecV1(process_count=6, processes_per_node=2), "/nodes=3/core=2"),
        (ResourceSpecV1(node_count=3, exclusive_node_use=True), "/nodes=3"),
        (ResourceSpecV1(gpu_cores_per_process=2), "/nodes=1/gpu=2"),
        (ResourceSpecV1(2, None, 2, 8, 1), "/nodes=2/gpu=2/core=8"),
        (ResourceSpecV1(1, None, 1, 5, 2), "/nodes=1/gpu=2/core=3"),
        (ResourceSpecV1(gpu_cores_per_process=0), "/core=1"),
    ],
)
def test_resources(needs: ResourceSpecV1, expected: str) -> None:
    assert options(needs)["--resource"] == [expected]
    limited = options(needs, JobAttributes(timedelta(hours=26, seconds=61.5)))
    assert limited["--resource"] == [f"{expected},walltime=26:1:2"]


def test_resources_given_in_ones_own_words() -> None:
    own = custom(l=["/nodes=2", "core=4,walltime=2:0:0"])
    own.duration = timedelta(minutes=1)
    given_options = options(ResourceSpecV1(memory=1), own)
    assert given_options["--resource"] == ["/nodes=2,walltime=0:1:0", "core=4,walltime=2:0:0"]


def test_memory() -> None:
    with pytest.raises(InvalidJobException, match=r"oar\.p"):
        options(ResourceSpecV1(memory=1))
    assert options(ResourceSpecV1(memory=1), custom(p="mem > 1"))["--property"] == ["mem > 1"]


def test_the_rest() -> None:
    attributes = JobAttributes(None, "q", "p", "12", {"oar.t": ["a", "b"], "oar.k": None})
    attributes.custom_attributes["slurm.x"] = 1  # type: ignore[index]
    found = options(
        None, attributes, name="it's", log="/l", array_count=4, held=True,
        dependencies={"afterany": ["3", "4"]},
    )  # fmt: skip
    assert found == {
        "--directory": ["/"],
        "--stderr": ["/dev/null"],
        "--stdout": ["/l"],
        "--resource": ["/core=1"],
        "--name": ["it_s"],
        "--queue": ["q"],
        "--project": ["p"],
        "--type": ["inner=12", "a", "b"],
        "--array": ["4"],
        "--anterior": ["3", "4"],
        "--hold": [""],
        "--use-job-key": [""],
    }
    assert options(None, custom(hold=False, n="own"), name="x")["--name"] == ["own"]


@pytest.mark.parametrize(
    "name", ["array", "S", "O", "stderr", "d", "resubmit", "J", "", "-x", "A b", "é"]
)
def test_options_that_are_refused(name: str) -> None:
    with pytest.raises(InvalidJobException, match=r"custom attribute 'oar\."):
        options(None, custom(**{name: "x"}))


def test_new_lines_are_refused() -> None:
    with pytest.raises(InvalidJobException, match="new line"):
        options(None, custom(p="a\nb"))


@given(NO_NUL)
def test_names(name: str) -> None:
    told = options(name=name).get("--name", ["x"])[0]
    assert 0 < len(told) <= 100
    assert not set(told) & set("'\"\\$`%\n")
    assert told == told.strip()


@given(NO_NUL.filter(lambda text: "%index%" not in text), NO_NUL)
def test_logs_are_found_in_commands(stem: str, path: str) -> None:
    assert log_of(command_of(path, adapter.log_path(stem, False)), 1) == f"{stem}.log"
    assert log_of(command_of(path, adapter.log_path(stem, True)), 7) == f"{stem}_7.log"


@given(NO_NUL)
def test_other_commands_have_no_log(text: str) -> None:
    assert log_of(text, 1) is None


def test_logs_of_jobs() -> None:
    command = command_of("/x", adapter.log_path("/a b", True))
    record = {"7": {"state": "Waiting", "array_index": 3, "command": command}}
    result = CommandResult(Command(("oarstat",)), 0, json.dumps(record))
    assert adapter.parse_logs(result) == {"7": "/a b_3.log"}


@pytest.fixture
def oarsub(tmp_path: Path) -> dict[str, str]:
    """An environment with an oarsub that runs what it is given, as OAR does on a node."""
    program = tmp_path / "bin" / "oarsub"
    program.parent.mkdir()
    program.write_text(
        '#!/bin/sh\nfor each; do :; done\n'
        'exec env -i OAR_ARRAY_INDEX=3 OAR_JOB_ID=5 /bin/sh -c "$each"\n'
    )  # fmt: skip
    program.chmod(0o755)
    return {**os.environ, "PATH": f"{program.parent}:{os.environ['PATH']}"}


@pytest.mark.parametrize("array", [False, True])
@pytest.mark.parametrize("inherit", [False, True])
def test_what_is_run(tmp_path: Path, oarsub: dict[str, str], array: bool, inherit: bool) -> None:
    odd = "a 'b' \"c\" $x `y` \\ \n#ENVIRONMENT x\n\x1b ü"
    folder = tmp_path / "it's a $folder"
    folder.mkdir()
    spec = JobSpec("/bin/true", inherit_environment=inherit)
    script = folder / "script.sh"
    lines = ["#!/bin/bash", *adapter.setup(spec), 'printf %s "$ODD$OAR_JOB_ID"']
    script.write_text("\n".join(lines))
    script.chmod(0o700)
    log = adapter.log_path(str(folder / "l"), array)
    request = Request(spec, ResourceSpecV1(), log=log, array_count=3 if array else None)
    found = adapter.options(request)
    command = adapter.submit_command(found, found, script.read_bytes(), str(script))
    assert set(command.unset) == {"OAR_*", "PSIJ_NODEFILE"}
    subprocess.run(command.argv, env={**oarsub, "ODD": odd}, check=True)
    written = (folder / ("l_3.log" if array else "l.log")).read_bytes().decode()
    assert written == (odd if inherit else "") + "5"


def test_the_environment_is_not_written_where_it_is_not_wanted() -> None:
    command = adapter.submit_command([], [], b"#!/bin/bash\n", "/s")
    assert command.argv[0] == "oarsub"
    assert shlex.split(command.argv[-1])[-2:] == ["/s", "/dev/null"]
    assert INHERIT in adapter.setup(JobSpec("/bin/true"))


@pytest.mark.parametrize(
    ("needs", "expected"),
    [
        (ResourceSpecV1(process_count=5), "a a b b b"),
        (ResourceSpecV1(2, None, 2, 3), "a a b b"),
        (ResourceSpecV1(node_count=2, exclusive_node_use=True), "a b"),
    ],
)
def test_hosts(tmp_path: Path, needs: ResourceSpecV1, expected: str) -> None:
    (tmp_path / "in").write_text("a\na\nb\nb\nb\n")
    spec = JobSpec("/bin/true", resources=needs, inherit_environment=False)
    text = [f'{{ {HOSTS}; }} >"$_psij_nodefile"', *adapter.setup(spec), 'cat "$_psij_nodefile"']
    environment = {"OAR_NODEFILE": str(tmp_path / "in"), "_psij_nodefile": str(tmp_path / "out")}
    words = ["/bin/bash", "-c", "\n".join(text)]
    shown = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    assert shown.stdout.split() == expected.split()
