"""The folder in which a batch executor keeps its files, and what lies where in it.

::

    <work directory>/<executor>/
        inbox/<process>/    reports of jobs to the process that submitted them; read and removed
        records/<site>/<id> how each job ended; kept for those who attach later
        log/                what job scripts themselves printed; removed when a job succeeds
        elements/           the job descriptions of arrays, one a line; removed at their end
        arrays/             the :attr:`Job.id` of each element of an array, one a line
        nodes/              the node lists of running jobs
        scripts/            submitted scripts, if they are to be kept
        void/               submissions that were given up and must not run

Everything must be on a file system that the login and compute nodes share. Whatever its owner
could not remove is swept away after 30 days.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from exaworks.psij.executors.batch.report import Report, parse_report
from exaworks.psij.runner import Runner

__all__ = ["Spool"]

_KEEP = 30 * 86400.0
_KEEP_ELEMENTS = 180 * 86400.0  # an array may wait for long in a queue
_SWEEP_EVERY = 86400.0


class Spool:
    """The files of one batch executor. All methods that touch files block."""

    def __init__(self, runner: Runner, folder: Path) -> None:
        """Use a folder, which need not exist yet.

        Args:
            runner: where the folder is.
            folder: the folder.
        """
        self._runner = runner
        self.folder = folder.absolute()
        unique = f"{os.uname().nodename}-{os.getpid()}-{os.urandom(4).hex()}"
        self.inbox = str(self.folder / "inbox" / unique)
        self.records = str(self.folder / "records")
        self._incomplete: dict[str, int] = {}
        self._arrays: dict[str, list[str]] = {}

    @staticmethod
    def new_token(job_id: str | None) -> str:
        """A name for a submission that no other has.

        Args:
            job_id: the :attr:`Job.id`; ``None`` for an array. The name tells it.
        """
        return f"{job_id.replace('-', '') if job_id else 'array'}-{os.urandom(4).hex()}"

    def job_id(self, token: str, index: int) -> str | None:
        """The :attr:`Job.id` of a job by the name of its submission.

        Args:
            token: the name.
            index: its number, if that was an array.
        """
        first = token.partition("-")[0]
        if len(first) == 32:
            return "-".join((first[:8], first[8:12], first[12:16], first[16:20], first[20:]))
        if token not in self._arrays:
            file = self._runner.read(self.path("arrays", token))
            self._arrays[token] = file.data.decode().split() if file is not None else []
        ids = self._arrays[token]
        return ids[index] if index < len(ids) else None

    def ended(self) -> list[Report]:
        """All records, in no order."""
        found = []
        for site in self._runner.folders(self.records):
            for file in self._runner.read_folder(os.path.join(self.records, site)):
                report = parse_report(file.data, file.mtime)
                if report is not None:
                    found.append(report)
        return found

    def path(self, kind: str, name: str) -> str:
        """The path of the file ``name`` in the subfolder ``kind``."""
        return str(self.folder / kind / name)

    def prepare(self) -> None:
        """Make the folders that job scripts and the scheduler write to."""
        os.makedirs(self.inbox, exist_ok=True)
        for kind in ("log", "nodes", "records", "elements"):
            os.makedirs(self.folder / kind, exist_ok=True)

    def take_reports(self) -> list[Report]:
        """Read and remove the reports that have arrived, in order of time."""
        reports: list[Report] = []
        done: list[str] = []
        waiting: dict[str, int] = {}
        for file in self._runner.read_folder(self.inbox):
            report = parse_report(file.data, file.mtime)
            if report is not None:
                reports.append(report)
            elif (count := self._incomplete.get(file.name, 0) + 1) < 1000:
                waiting[file.name] = count  # it is being written
                continue
            done.append(os.path.join(self.inbox, file.name))
        self._incomplete = waiting
        self._runner.remove(done)
        reports.sort(key=lambda r: (r.time, r.state is None))
        return reports

    def find_record(self, site: str | None, native_id: str) -> Report | None:
        """The record of the end of a job.

        Args:
            site: the cluster; ``None``: unknown, and then the record is only found if jobs of no
                more than one cluster have that id.
            native_id: the id as the job itself knew it.
        """
        sites = self._runner.folders(self.records) if site is None else [site]
        found = []
        for each in sites:
            file = self._runner.read(os.path.join(self.records, each, native_id))
            report = parse_report(file.data, file.mtime) if file is not None else None
            if report is not None:
                found.append(report)
        return found[0] if len(found) == 1 else None

    def close(self) -> None:
        """Remove the inbox: nobody will read it."""
        names = [os.path.join(self.inbox, f.name) for f in self._runner.read_folder(self.inbox)]
        self._runner.remove(names)
        try:
            os.rmdir(self.inbox)
        except OSError:
            return

    def sweep(self) -> None:
        """Remove what is older than 30 days; at most once a day among all processes."""
        mark, now = self.path("", "swept"), time.time()
        last = self._runner.read(mark)
        if last is not None and now - last.mtime < _SWEEP_EVERY:
            return
        self._runner.write(mark, b"")
        for kind in ("inbox", "records", "log", "nodes", "scripts", "void", "arrays"):
            self._runner.sweep(self.path(kind, ""), now - _KEEP)
        self._runner.sweep(self.path("elements", ""), now - _KEEP_ELEMENTS)
