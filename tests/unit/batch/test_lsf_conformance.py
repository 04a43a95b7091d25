"""The executor for LSF against the PSI/J semantics, with a stand-in for LSF's commands."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from field_fakes import LSF, FakeScheduler

from exaworks.psij import JobExecutor
from exaworks.psij.conformance import JobExecutorConformance
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig
from exaworks.psij.executors.lsf import LsfJobExecutor


class TestLsf(JobExecutorConformance):
    many = 10
    can_hold = False  # the stand-in cannot

    @pytest.fixture(autouse=True)
    def stand_in(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        fake = FakeScheduler(tmp_path / "fake", LSF)
        monkeypatch.setenv("PATH", f"{fake.folder / 'bin'}:{os.environ['PATH']}")
        self.folder = tmp_path / "lsf work"

    def make_executor(self) -> JobExecutor:
        return LsfJobExecutor(config=BatchSchedulerExecutorConfig(work_directory=self.folder))
