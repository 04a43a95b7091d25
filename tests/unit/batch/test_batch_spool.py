"""The folder of a batch executor."""

import os
import time
from pathlib import Path

from exaworks.psij.executors.batch.report import Report
from exaworks.psij.executors.batch.spool import Spool
from exaworks.psij.runner import LocalRunner

REPORT = b"token=t\nid=5\nstate=%s\nrestarts=0\ncode=0\nmessage=\n--end--\n"


def test_reports_are_taken_once_and_in_order(tmp_path: Path) -> None:
    spool = Spool(LocalRunner(), str(tmp_path))
    assert spool.take_reports() == []
    spool.prepare()
    for name, state, when in (("b", b"END", 20.0), ("a", b"ACTIVE", 10.0)):
        path = os.path.join(spool.inbox, name)
        Path(path).write_bytes(REPORT % state)
        os.utime(path, (when, when))
    assert [r.time for r in spool.take_reports()] == [10.0, 20.0]
    assert spool.take_reports() == []
    assert os.listdir(spool.inbox) == []


def test_a_report_that_is_being_written_is_waited_for(tmp_path: Path) -> None:
    spool = Spool(LocalRunner(), str(tmp_path))
    spool.prepare()
    file = Path(spool.inbox) / "x"
    file.write_bytes((REPORT % b"END")[:20])
    assert spool.take_reports() == []
    assert file.exists()
    file.write_bytes(REPORT % b"END")
    assert len(spool.take_reports()) == 1


def test_what_is_never_finished_is_removed(tmp_path: Path) -> None:
    spool = Spool(LocalRunner(), str(tmp_path))
    spool.prepare()
    file = Path(spool.inbox) / "x"
    file.write_bytes(b"nonsense")
    for _ in range(1000):
        assert file.exists()
        assert spool.take_reports() == []
    assert not file.exists()


def find(spool: Spool, site: str | None) -> Report | None:
    return spool.find_records({"job": (site, "5")}).get("job")


def test_records_of_two_clusters_are_not_confused(tmp_path: Path) -> None:
    spool = Spool(LocalRunner(), str(tmp_path))
    for site in ("a", "b"):
        LocalRunner().write(str(tmp_path / "records" / site / "5"), REPORT % b"END")
    assert find(spool, "a") is not None
    assert find(spool, "c") is None
    assert find(spool, None) is None
    os.unlink(tmp_path / "records" / "b" / "5")
    assert find(spool, None) is not None


def test_processes_have_inboxes_of_their_own(tmp_path: Path) -> None:
    assert Spool(LocalRunner(), str(tmp_path)).inbox != Spool(LocalRunner(), str(tmp_path)).inbox


def test_names_of_submissions_tell_the_jobs(tmp_path: Path) -> None:
    spool = Spool(LocalRunner(), str(tmp_path))
    job_id = "01234567-89ab-cdef-0123-456789abcdef"
    assert spool.new_token(job_id) != spool.new_token(job_id)
    assert spool.job_id(spool.new_token(job_id), 0) == job_id
    token = spool.new_token(None)
    LocalRunner().write(spool.path("arrays", token), b"a\nb\n")
    assert [spool.job_id(token, index) for index in range(3)] == ["a", "b", None]
    assert spool.job_id("something else", 0) is None


def test_close_removes_the_inbox(tmp_path: Path) -> None:
    spool = Spool(LocalRunner(), str(tmp_path))
    spool.prepare()
    (Path(spool.inbox) / "x").touch()
    spool.close()
    assert not Path(spool.inbox).exists()
    spool.close()


def test_sweeping(tmp_path: Path) -> None:
    spool = Spool(LocalRunner(), str(tmp_path))
    spool.prepare()
    month = time.time() - 31 * 86400
    paths = {}
    for kind in ("log", "records/c", "inbox/dead", "void", "nodes", "scripts", "elements"):
        for name, when in (("old", month), ("new", time.time())):
            path = tmp_path / kind / name
            LocalRunner().write(str(path), b"")
            os.utime(path, (when, when))
            paths[kind, name] = path
    os.utime(paths["inbox/dead", "old"].parent, (month, month))
    spool.sweep()
    for (kind, name), path in paths.items():
        assert path.exists() is (name == "new" or kind == "elements"), path
    # once a day is enough
    LocalRunner().write(str(tmp_path / "log" / "old"), b"")
    os.utime(tmp_path / "log" / "old", (month, month))
    spool.sweep()
    assert (tmp_path / "log" / "old").exists()
    os.utime(tmp_path / "swept", (month, month))
    spool.sweep()
    assert not (tmp_path / "log" / "old").exists()
