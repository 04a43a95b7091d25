"""The executor against the recorded answers of a real broker."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flux_recording import ReplayBroker, payload_text, topic

from exaworks.psij import (
    InvalidStateException,
    Job,
    JobAttributes,
    JobExecutor,
    JobSpec,
    JobState,
    ResourceSpecV1,
    SubmitException,
)
from exaworks.psij.job_status import Reason

S = JobState
LIMIT = 10.0


def job_of(*command: str, custom: dict[str, Any] | None = None, **kwargs: Any) -> Job:
    attributes = JobAttributes(custom_attributes=custom, **kwargs.pop("attributes", {}))
    spec = JobSpec(command[0], list(command[1:]), inherit_environment=False, **kwargs)
    spec.attributes = attributes
    return Job(spec)


def test_a_whole_session(tmp_path: Path) -> None:
    broker = ReplayBroker(tmp_path / "socket")
    executor = JobExecutor.get_instance("flux", url=broker.uri)
    waited = [
        job_of("/bin/true"),
        job_of("/bin/sh", "-c", "exit 3"),
        job_of("/bin/sh", "-c", "kill -9 $$"),
        job_of("no-such-command"),
    ]
    for job in waited:
        executor.submit(job)
        assert job.wait(LIMIT) is not None
    limited = job_of("/bin/sleep", "300", attributes={"duration": timedelta(seconds=1)})
    executor.submit(limited)
    unmet = job_of("/bin/true", resources=ResourceSpecV1(node_count=99))
    executor.submit(unmet)
    assert unmet.wait(LIMIT) is not None
    held, trap = job_of("/bin/true", custom={"flux.urgency": 0}), job_of("/bin/sleep", "300")
    executor.submit(held)
    executor.submit(trap)
    (found,) = executor.info([held])
    assert found.status.state is S.HELD
    assert found.current_info is not None
    assert found.current_info.resourcelist is None
    executor.cancel(held)
    executor.cancel(trap)
    jobs = [*waited, limited, unmet, held, trap]
    for job in jobs:
        assert job.wait(LIMIT) is not None
    assert [(j.status.state, j.status.exit_code, j.status.reason) for j in jobs] == [
        (S.COMPLETED, 0, None),
        (S.FAILED, 3, Reason.EXIT_CODE),
        (S.FAILED, 137, Reason.SIGNAL),
        (S.FAILED, 127, Reason.LAUNCH),
        (S.FAILED, 142, Reason.TIMEOUT),
        (S.FAILED, None, Reason.SCHEDULER),
        (S.CANCELED, None, Reason.CANCELED),
        (S.CANCELED, 5, Reason.CANCELED),
    ]
    assert waited[1].native_id == "fTar85d"
    assert waited[1].status.time == 1795365773.4121706
    refused = job_of("/bin/true", attributes={"queue_name": "none"})
    with pytest.raises(SubmitException, match="'none' is not a valid queue"):
        executor.submit(refused)
    assert refused.status.state is S.NEW
    for text in ("f9", "987654321"):
        unknown = Job()
        executor.attach(unknown, text)
        assert unknown.wait(LIMIT) is not None
        assert unknown.status.reason == Reason.LOST
    assert executor.find(["recorded-exit", "another"]) == {"recorded-exit": "fTar85d"}
    assert executor.list() == []
    with pytest.raises(InvalidStateException, match="inactive"):
        executor.hold(waited[1])
    broker.close()
    assert broker.problem is None
    submitted = [r for r in broker.requests if topic(r) == "job-ingest.submit"]
    assert [json.loads(payload_text(r))["urgency"] for r in submitted] == [16] * 6 + [0, 16, 16]
    envelope = json.loads(payload_text(submitted[1]))["J"]
    header, body, signature = envelope.split(".")
    assert base64.b64decode(header).startswith(b"version\0i1\0userid\0i")
    assert signature == "none"
    described = json.loads(base64.b64decode(body))
    assert described["tasks"][0]["command"] == ["/bin/sh", "-c", "exit 3"]
    assert described["attributes"]["user"]["exaworks"]["id"] == waited[1].id


def test_it_needs_nothing_of_flux_to_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FLUX_URI", raising=False)
    executor = JobExecutor.get_instance("flux")
    assert executor.name == "flux"
    monkeypatch.setenv("FLUX_URI", "nonsense")
    with pytest.raises(ValueError, match="FLUX_URI"):
        JobExecutor.get_instance("flux")


def test_unusable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from exaworks.psij.executors.flux import FluxJobExecutor

    monkeypatch.setenv("FLUX_URI", f"local://{tmp_path}/none")
    assert "does not answer" in (FluxJobExecutor.unusable() or "")
    monkeypatch.setenv("FLUX_URI", "nonsense")
    assert "nonsense" in (FluxJobExecutor.unusable() or "")


def test_no_broker(tmp_path: Path) -> None:
    executor = JobExecutor.get_instance("flux", url=f"local://{tmp_path}/none")
    job = Job(JobSpec("/bin/true"))
    with pytest.raises(SubmitException, match="No such file") as caught:
        executor.submit(job)
    assert caught.value.transient
    assert (job.status.state, job.executor) == (S.NEW, None)
    with pytest.raises(SubmitException):
        executor.list()
