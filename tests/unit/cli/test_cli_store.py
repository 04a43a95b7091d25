"""The list of jobs on disk."""

from __future__ import annotations

import concurrent.futures
import logging
import multiprocessing
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from exaworks.cli.errors import Problem
from exaworks.cli.record import SUBMITTING, UNKNOWN, Record
from exaworks.cli.store import Store
from exaworks.psij import Job, JobSpec, JobState, JobStatus


def add(store: Store, *jobs: Job, executor: str = "local") -> list[Record]:
    store.add(jobs, executor, None, "/work")
    return store.get([job.id for job in jobs])


def accept(store: Store, job: Job, native_id: str, executor: str = "local") -> Record:
    add(store, job, executor=executor)
    job._native_id = native_id
    job._status = JobStatus(JobState.QUEUED, 5.0)
    store.accepted([job])
    return store.get([job.id])[0]


def job(*words: str, name: str | None = None) -> Job:
    return Job(JobSpec(words[0] if words else "/bin/true", list(words[1:]), name=name))


def test_a_job_is_remembered_before_and_after(store: Store) -> None:
    one = job("echo", "\udcff", name="n\udcff")
    (before,) = add(store, one)
    assert (before.state, before.native_id, before.shown_state) == (SUBMITTING, None, SUBMITTING)
    assert before.name == r"n\udcff"
    assert before.job_spec == one.spec
    one._native_id, one._status = "77", JobStatus(JobState.QUEUED, 5.0)
    store.accepted([one])
    (after,) = store.get([one.id])
    assert (after.id, after.state, after.native_id) == (before.id, "QUEUED", "77")


def test_statuses_are_remembered_and_an_end_stays(store: Store) -> None:
    one = job()
    accept(store, one, "1")
    store.update([(one.id, JobStatus(JobState.ACTIVE, 10.0))])
    end = JobStatus(JobState.FAILED, 15.5, "bad\udcff", 3, {"reason": "exit_code", "signal": 9})
    store.update([(one.id, end)])
    store.update([(one.id, JobStatus(JobState.ACTIVE, 20.0))])
    (record,) = store.get([one.id])
    assert (record.state, record.exit_code, record.reason) == ("FAILED", 3, "exit_code")
    assert (record.started, record.ended, record.run_time) == (10.0, 15.5, 5.5)
    assert (record.message, record.signal) == (r"bad\udcff", 9)


def test_the_start_that_comes_with_the_end(store: Store) -> None:
    one = job()
    accept(store, one, "1")
    end = JobStatus(JobState.COMPLETED, 9.0, None, 0, {"started": 4.0})
    store.update([(one.id, end)])
    assert store.get([one.id])[0].run_time == 5.0


def test_a_submission_whose_process_is_gone_is_unknown(store: Store, tmp_path: Path) -> None:
    code = (
        "from exaworks.cli.store import Store; from exaworks.psij import *; import os\n"
        "Store().add([Job(JobSpec('x'))], 'local', None, None); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    (record,) = store.select()
    assert (record.state, record.shown_state) == (SUBMITTING, UNKNOWN)


def test_jobs_are_found_by_number_native_id_and_uuid(store: Store) -> None:
    first, second, third = job(), job(), job()
    accept(store, first, "2")
    accept(store, second, "4711", "slurm")
    accept(store, third, "4711_3", "slurm")

    def found(text: str) -> list[int]:
        return [record.id for record in store.find(text)]

    assert found("1") == [1]
    assert found("2") == [2]  # the short number goes before the native id 2
    assert found("local:2") == [1]
    assert found("4711") == found("slurm:4711") == [2]
    assert found("4711_3") == [3]
    assert found(second.id) == found(second.id[:13]) == found(second.id[:13].upper()) == [2]
    assert found("local:4711") == found("9") == found("") == found("%") == []
    assert found("9" * 40) == []


def test_an_id_may_be_ambiguous(store: Store) -> None:
    accept(store, job(), "900", "local")
    accept(store, job(), "900", "slurm")
    assert [record.id for record in store.find("900")] == [1, 2]
    assert [record.id for record in store.find("slurm:900")] == [2]


def test_selection(store: Store) -> None:
    for index in range(5):
        accept(store, job(name=f"sim-{index}"), str(100 + index))
    accept(store, job(name="other"), "1", "slurm")
    ended = store.find("101")[0]
    store.update([(ended.uuid, JobStatus(JobState.COMPLETED, 1.0))])
    assert [r.id for r in store.select()] == [1, 2, 3, 4, 5, 6]
    assert [r.id for r in store.select(limit=2)] == [5, 6]
    assert [r.id for r in store.select(executor="slurm")] == [6]
    assert [r.id for r in store.select(name="sim-[23]")] == [3, 4]
    assert [r.id for r in store.select(name="sim")] == []
    assert [r.id for r in store.select(unfinished=True)] == [1, 3, 4, 5, 6]
    assert store.states() == {"QUEUED": 5, "COMPLETED": 1}
    assert store.states("local", "sim-[12]") == {"QUEUED": 1, "COMPLETED": 1}


def test_many_jobs_in_one_request(store: Store) -> None:
    jobs = [job() for _ in range(1200)]
    add(store, *jobs)
    assert [r.uuid for r in store.get([j.id for j in jobs])] == [j.id for j in jobs]


def test_removing_deletes_kept_output_and_numbers_are_not_used_again(store: Store) -> None:
    first, second = job(), job()
    add(store, first, second)
    store.output_folder(second.id).mkdir(parents=True)
    (store.output_folder(second.id) / "stdout").write_text("x")
    store.remove([second.id])
    assert not store.output_folder(second.id).exists()
    (third,) = add(store, job())
    assert [r.id for r in store.select()] == [1, third.id] == [1, 3]


def _add_and_finish(count: int) -> None:
    store = Store()
    for _ in range(count):
        one = job()
        accept(store, one, one.id)
        store.update([(one.id, JobStatus(JobState.COMPLETED, 1.0, None, 0))])
    store.close()


def test_eight_processes_at_once_from_nothing() -> None:
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(8, mp_context=spawn) as pool:
        list(pool.map(_add_and_finish, [15] * 8))
    records = Store().select()
    assert len(records) == len({record.id for record in records}) == 8 * 15
    assert {record.state for record in records} == {"COMPLETED"}


def test_nobody_else_may_read_it(store: Store) -> None:
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700


def _select_after_damage() -> list[Record]:
    """What a user sees who gives the command again if told to."""
    try:
        return Store().select()
    except Problem as problem:
        told = problem
    assert "damaged" in told.message
    assert "again" in (told.hint or "")
    return Store().select()


@pytest.mark.parametrize("damage", ["head", "root", "leaf"])
def test_a_damaged_store_is_set_aside(
    store: Store, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    add(store, *(job() for _ in range(200)))
    store.close()
    size = store.path.stat().st_size
    with store.path.open("r+b") as file:
        file.seek({"head": 0, "root": 4096, "leaf": size // 2 // 4096 * 4096}[damage])
        file.write(b"\xee" * 4096)
    logger = logging.getLogger("exaworks.cli.store")
    logger.addHandler(caplog.handler)
    try:
        assert _select_after_damage() == []
    finally:
        logger.removeHandler(caplog.handler)
    fresh = Store()
    add(fresh, job())
    assert len(fresh.select()) == 1
    aside = [p for p in store.folder.iterdir() if ".damaged-" in p.name]
    assert [p.stat().st_size for p in aside] == [size]
    assert str(aside[0]) in caplog.text


def _open_damaged(_: int) -> int:
    return len(Store().select())


def test_a_damaged_store_is_set_aside_once(store: Store) -> None:
    store.close()
    store.path.write_bytes(b"this is no database" * 1000)
    spawn = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(6, mp_context=spawn) as pool:
        assert list(pool.map(_open_damaged, range(6))) == [0] * 6
    assert len([p for p in store.folder.iterdir() if ".damaged-" in p.name]) == 1


def test_a_store_of_a_later_version_is_left_alone(store: Store) -> None:
    store._db.execute("PRAGMA user_version = 99")
    store.close()
    with pytest.raises(Problem, match="another version"):
        Store()
    assert store.path.exists()


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Problem, match="cannot be used") as caught:
        Store(tmp_path / "file" / "cli")
    assert "EXAWORKS_HOME" in (caught.value.hint or "")


def test_a_store_that_is_locked_for_long(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exaworks.cli.store.BUSY_SECONDS", 0.1)
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(Problem, match="locked"):
        Store()
    other.execute("ROLLBACK")
    other.close()
    assert Store().select() == []


def test_streams_are_seen_from_the_jobs_directory(store: Store) -> None:
    spec = JobSpec("x", directory="/data", stdout_path="out", stderr_path="/abs/err")
    one = Job(spec)
    (record,) = add(store, one)
    assert (record.stream("stdout"), record.stream("stderr")) == (
        Path("/data/out"),
        Path("/abs/err"),
    )
    home = Job(JobSpec("x", directory="~/d", stdout_path="out", stderr_path="~/err"))
    (record,) = add(store, home)
    assert record.stream("stdout") == Path.home() / "d/out"
    assert record.stream("stderr") == Path(os.path.expanduser("~/err"))
