"""Submission with the command, by programs in its place."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from exaworks.psij import SubmitException
from exaworks.psij.executors.flux import FluxExecutorConfig
from exaworks.psij.executors.flux.messages import FluxError
from exaworks.psij.executors.flux.submit import (
    Order,
    envelope,
    refused,
    submit_by_command,
    wants_signature,
)

ORDERS = [Order(f'{{"job":{i}}}'.encode(), i) for i in range(20)]


def program(folder: Path, text: str) -> str:
    path = folder / "flux"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def test_envelope() -> None:
    """RFC 39 and the header that Flux 0.88 makes for user 1000."""
    header, body, signature = envelope(b"{}", 1000).split(".")
    assert base64.b64decode(header) == b"version\0i1\0userid\0i1000\0mechanism\0snone\0"
    assert (base64.b64decode(body), signature) == (b"{}", "none")


def test_each_job_is_handed_over(tmp_path: Path) -> None:
    flux = program(
        tmp_path,
        f'n=${{3#--urgency=}}; cat >"{tmp_path}/$n"; echo "$FLUX_URI $*" >>"{tmp_path}/log"\n'
        'case $n in 7) echo "flux-job: no such queue" >&2; exit 1 ;; 8) echo nonsense ;; '
        '*) echo "$((n + 1000))" ;; esac',
    )
    outcomes = list(submit_by_command(flux, "local:///s", ORDERS, 30))
    assert len(outcomes) == 20
    assert outcomes[19] == 1019
    for number in (7, 8):
        assert isinstance(outcomes[number], SubmitException)
    assert "no such queue" in str(outcomes[7])
    assert "nonsense" in str(outcomes[8])
    assert (tmp_path / "12").read_bytes() == b'{"job":12}'
    assert "local:///s job submit --urgency=3 -" in (tmp_path / "log").read_text()


def test_no_command(tmp_path: Path) -> None:
    (outcome,) = submit_by_command(str(tmp_path / "none"), "local:///s", ORDERS[:1], 30)
    assert "cannot be run" in str(outcome)


def test_a_command_that_hangs(tmp_path: Path) -> None:
    flux = program(tmp_path, "exec sleep 300")
    (outcome,) = submit_by_command(flux, "local:///s", ORDERS[:1], 0.1)
    assert isinstance(outcome, SubmitException)
    assert outcome.transient


def test_answers_of_the_broker() -> None:
    guest = FluxError(1, "only instance owner can use sign-type=none")
    assert wants_signature(guest)
    assert not wants_signature(FluxError(22, "sign"))
    assert not refused(FluxError(22, "'x' is not a valid queue")).transient
    assert refused(FluxError(22, "job submission is disabled: maintenance")).transient
    assert refused(FluxError(38, "No service matching job-ingest.submit")).transient
    known = SubmitException("x")
    assert refused(known) is known


def test_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert FluxExecutorConfig().submit_with == "auto"
    monkeypatch.setenv("EXAWORKS_FLUX_SUBMIT_WITH", "command")
    assert FluxExecutorConfig().submit_with == "command"
    assert FluxExecutorConfig(submit_with="socket").submit_with == "socket"
    for bad in ({"submit_with": "post"}, {"timeout": 0.0}, {"patience": -1.0}):
        with pytest.raises(ValueError, match="must"):
            FluxExecutorConfig(**bad)  # type: ignore[arg-type]
