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
        submits/            answers to submissions that came over a connection
        staged/             files on their way from or to another machine

Everything must be on a file system that the login and compute nodes share. Whatever its owner
could not remove is swept away after 30 days.
"""

from __future__ import annotations

import os
import time
from collections.abc import Hashable, Mapping
from typing import TypeVar

from exaworks.psij.executors.batch.report import Report, parse_report
from exaworks.psij.runner import Runner

__all__ = ["Spool"]

_KEEP = 30 * 86400.0
_KEEP_WAITING = 180 * 86400.0  # jobs may wait for long in a queue
_SWEEP_EVERY = 86400.0
_WRITTEN_BY_JOBS = ("log", "nodes", "records", "elements", "staged")
_SWEPT = (
    "inbox", "records", "log", "nodes", "scripts", "void", "arrays", "submits",
)  # fmt: skip

_Key = TypeVar("_Key", bound=Hashable)


class Spool:
    """The files of one batch executor. All methods that touch files block."""

    def __init__(self, runner: Runner, folder: str) -> None:
        """Use a folder, which need not exist yet.

        Args:
            runner: where the folder is.
            folder: its absolute path.
        """
        self._runner = runner
        self.folder = folder
        unique = f"{os.uname().nodename}-{os.getpid()}-{os.urandom(4).hex()}"
        self.inbox = self.path("inbox", unique)
        self.records = self.path("records")
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
            path = self.path("arrays", token)
            file = self._runner.read_many([path]).get(path)
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

    def path(self, kind: str, name: str = "") -> str:
        """The path of the file ``name`` in the subfolder ``kind``, or of that folder."""
        return os.path.join(self.folder, kind, name) if name else os.path.join(self.folder, kind)

    def staged_in(self, token: str) -> str:
        """The folder for files that a submission has brought here."""
        return self.path("staged", token)

    def staged_out(self, name: str) -> str:
        """The folder for files that a job leaves for its owner, by the id that the job knows."""
        return self.path("staged", name)

    def prepare(self) -> None:
        """Make the folders that job scripts and the scheduler write to."""
        self._runner.make_folders([self.inbox, *(self.path(kind) for kind in _WRITTEN_BY_JOBS)])

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

    def find_records(self, jobs: Mapping[_Key, tuple[str | None, str]]) -> dict[_Key, Report]:
        """The records of the ends of jobs.

        Args:
            jobs: the jobs, each with its cluster (``None``: unknown, and then the record is only
                found if jobs of no more than one cluster have that id) and the id as the job
                itself knew it.

        Raises:
            OSError: nobody could look.
        """
        unknown = any(site is None for site, _ in jobs.values())
        sites = self._runner.folders(self.records) if unknown else []
        places = {
            key: [os.path.join(self.records, each, name) for each in ([site] if site else sites)]
            for key, (site, name) in jobs.items()
        }
        files = self._runner.read_many([path for paths in places.values() for path in paths])
        found = {}
        for key, paths in places.items():
            reports = [
                report
                for path in paths
                if path in files
                and (report := parse_report(files[path].data, files[path].mtime)) is not None
            ]
            if len(reports) == 1:
                found[key] = reports[0]
        return found

    def close(self) -> None:
        """Remove the inbox: nobody will read it."""
        self._runner.remove([self.inbox])

    def sweep(self) -> None:
        """Remove what is older than 30 days; at most once a day among all processes."""
        mark = self.path("swept")
        last = self._runner.read_many([mark]).get(mark)
        if last is not None and time.time() - last.mtime < _SWEEP_EVERY:
            return
        self._runner.write(mark, b"")
        for kind in _SWEPT:
            self._runner.sweep(self.path(kind), _KEEP)
        for kind in ("elements", "staged"):
            self._runner.sweep(self.path(kind), _KEEP_WAITING)
