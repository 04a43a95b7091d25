"""How jobs are described to HTCondor."""

from __future__ import annotations

import subprocess
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exaworks.psij import InvalidJobException, JobAttributes, JobSpec, ResourceSpecV1
from exaworks.psij.executors.batch import Request
from exaworks.psij.executors.htcondor import HTCondorAdapter
from exaworks.psij.executors.htcondor_options import FORWARD, HOSTS, SETUP, description, escape

adapter = HTCondorAdapter()
TEXT = st.text(st.characters(blacklist_categories=("Cs",)))


def options(
    needs: ResourceSpecV1 | None = None, attributes: JobAttributes | None = None, **fields: object
) -> dict[str, str]:
    spec = JobSpec("/bin/true", attributes=attributes or JobAttributes(None))
    request = Request(spec, needs or ResourceSpecV1(), **fields)  # type: ignore[arg-type]
    found = adapter.options(request)
    assert len({name.lower() for name, *_ in found}) == len(found)
    return {name: value for name, value in found}  # noqa: C416 (each has two words)


def custom(**named: object) -> JobAttributes:
    values = {f"htcondor.{name}": value for name, value in named.items()}
    return JobAttributes(None, custom_attributes=values)


def test_a_plain_job() -> None:
    found = options(log="/l", name="n")
    environment = found.pop("environment")
    assert environment.startswith('"EXAWORKS_JOB=$(ClusterId).$(ProcId) ')
    assert found.pop("periodic_remove").startswith("(JobStatus == 5)")
    assert found == {
        "universe": "vanilla",
        "transfer_executable": "false",
        "should_transfer_files": "NO",
        "initialdir": "/",
        "output": "/l",
        "error": "/l",
        "notification": "never",
        "batch_name": "n",
        "request_cpus": "1",
        "job_max_vacate_time": "30",
        "queue": "1",
    }


def test_all_that_can_be_said() -> None:
    attributes = custom(priority=5, request_cpus="9", requirements=["a", "b"])
    attributes.duration, attributes.account = timedelta(seconds=90.5), "g"
    attributes.custom_attributes["condor.+Mine"] = True  # type: ignore[index]
    attributes.custom_attributes["slurm.x"] = True  # type: ignore[index]
    needs = ResourceSpecV1(1, None, 2, 3, 4, memory=2**20 + 1)
    found = options(needs, attributes, held=True, array_count=7)
    expected = {
        "accounting_group": "g",
        "allowed_job_duration": "91",
        "hold": "true",
        "priority": "5",
        "queue": "7",
        "requirements": "a, b",
        "request_cpus": "9",
        "request_gpus": "8",
        "request_memory": "2M",
        "+Mine": "true",
    }
    assert {name: found.get(name) for name in expected} == expected
    assert "x" not in found
    assert options(needs)["request_cpus"] == "6"


@pytest.mark.parametrize(
    ("attributes", "needs", "message"),
    [
        (JobAttributes(queue_name="q"), None, "has no queues"),
        (JobAttributes(reservation_id="r"), None, "has no reservations"),
        (None, ResourceSpecV1(node_count=2), "on one node"),
        (None, ResourceSpecV1(exclusive_node_use=True), "exclusive_node_use"),
        (custom(Executable="x"), None, "set spec.executable"),
        (custom(getenv=True), None, "set spec.inherit_environment"),
        (custom(queue=3), None, "submit_many"),
        (custom(priority="1\nqueue 5"), None, "one line"),
        (custom(priority="1\\"), None, "one line"),
        (custom(priority=""), None, "one line"),
        (JobAttributes(custom_attributes={"condor.a b": 1}), None, "names no command"),
        (JobAttributes(custom_attributes={"condor.": 1}), None, "names no command"),
        (JobAttributes(account="a\nqueue 5"), None, "one line"),
    ],
)
def test_what_is_refused(
    attributes: JobAttributes | None, needs: ResourceSpecV1 | None, message: str
) -> None:
    with pytest.raises(InvalidJobException, match=message):
        options(needs, attributes)


@given(TEXT, TEXT, TEXT)
def test_a_text_is_one_line(path: str, stem: str, name: str) -> None:
    try:
        log = adapter.log_path(stem, True)
        told = options(log=log, name=name)
        text = description(list(told.items()), path)
    except InvalidJobException:
        assert any(set(part) & set('\n\r\0" $') or part != part.strip() for part in (path, stem))
        return
    lines = text.split("\n")
    assert len(lines) == len(told) + 2
    assert lines[-2:] == ["queue 1", ""]
    assert not any(line.endswith("\\") for line in lines if line.startswith("batch_name"))


@given(TEXT)
def test_no_macro_is_made_by_a_path(path: str) -> None:
    try:
        text = escape(path)
    except InvalidJobException:
        return
    assert "$" not in text.replace("$(DOLLAR)", "")
    assert text.replace("$(DOLLAR)", "$") == path


def test_logs() -> None:
    assert adapter.log_path("/a $b", False) == "/a $(DOLLAR)b.log"
    assert adapter.log_path("/a", True) == "/a_$(ProcId).log"
    for wrong in ("/a\nb", "/a$$b", " /a"):
        with pytest.raises(InvalidJobException, match="work_directory"):
            adapter.log_path(wrong, False)


def test_the_script_gets_the_environment_only_where_it_wants_it() -> None:
    for inherit in (True, False):
        script = "\n".join(adapter.setup(JobSpec("/x", inherit_environment=inherit))).encode()
        command = adapter.submit_command([("queue", "1")], [], script, "/s")
        assert (command.argv[0] == "/bin/sh") is inherit
        assert command.argv[-3:] == ("condor_submit", "-terse", "-")
        assert command.input == b"executable = /s\nqueue 1\n"
        assert "PSIJ_NODEFILE" in command.unset


@pytest.mark.parametrize(
    ("body", "code"),
    [("exit 7", 7), ("ulimit -c 0; kill -SEGV $$", -11), ("[ -z $EXAWORKS_OUTER ]", 0)],
)
def test_the_end_is_handed_on(tmp_path: Path, body: str, code: int) -> None:
    script = tmp_path / "it's"
    script.write_text(f"#!/bin/bash\n{FORWARD}\n{body}\n")
    script.chmod(0o700)
    assert subprocess.run([script], stderr=subprocess.DEVNULL, timeout=20).returncode == code


def test_sigterm_reaches_the_program(tmp_path: Path) -> None:
    script = tmp_path / "script"
    body = "trap 'echo told' TERM\n/bin/sh -c 'echo begun; exec sleep 60'\nexit 9"
    script.write_text(f"#!/bin/bash\n{FORWARD}\n{body}\n")
    script.chmod(0o700)
    with subprocess.Popen([script], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.terminate()
        assert process.stdout.read() == "told\n"
        assert process.wait(20) == 9


def test_what_a_job_begins_with(tmp_path: Path) -> None:
    text = f'{SETUP}\nenv; {{ {HOSTS}; }} >"$0"; wc -l <"$0"; _psij_hosts 3 | wc -l'
    words = ["/bin/bash", "-c", text, str(tmp_path / "nodes")]
    shown = subprocess.run(words, env={}, capture_output=True, text=True, check=True).stdout
    names = {line.partition("=")[0] for line in shown.splitlines()}
    assert {"PATH", "HOME", "USER", "LOGNAME"} <= names
    assert shown.split()[-2:] == ["1", "3"]
