"""What ``exaworks site detect`` and ``check`` find out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from exaworks.core.sites import SiteProfile
from exaworks.core.sites.units import format_duration
from exaworks.psij import Launcher, PSIJException
from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig
from exaworks.psij.job_executor import JobExecutor, registry
from exaworks.psij.remote import make_runner
from exaworks.psij.runner import LocalRunner, Runner

if TYPE_CHECKING:
    from exaworks.core.sites import Scheduler
    from exaworks.psij.survey import QueueFacts, Survey

__all__ = ["FAIL", "OK", "WARN", "Finding", "check", "check_connection", "surveys"]

OK: Final = "ok"
WARN: Final = "warn"
FAIL: Final = "fail"

_PATIENCE: Final = 30.0


@dataclass(frozen=True)
class Finding:
    """What came of one check.

    Attributes:
        what: what was checked.
        verdict: :data:`OK`, :data:`WARN` or :data:`FAIL`.
        detail: what was found.
        fix: what to do about it.
    """

    what: str
    verdict: str
    detail: str
    fix: str = ""


def surveys(runner: Runner) -> tuple[list[Survey], list[str]]:
    """What schedulers say about themselves where ``runner`` runs commands, and why some do not."""
    found: list[Survey] = []
    failures: list[str] = []
    seen: set[type] = set()
    for name in sorted(JobExecutor.get_executor_names()):
        try:
            _, implementation = registry.find(name)
        except ValueError:
            continue  # `exaworks executors` says why
        survey = getattr(implementation, "survey", None)
        if survey is None or implementation in seen:
            continue
        seen.add(implementation)
        try:
            result = survey(runner)
        except PSIJException as problem:
            failures.append(f"{name}: {problem.message}")
            continue
        if result is not None:
            found.append(result)
    return found, failures


def check(profile: SiteProfile) -> Iterator[Finding]:
    """Compare a profile with what can be found out from here."""
    told = f"facts of {profile.date}" if profile.date else "facts without a date"
    if profile.status == "retired":
        yield Finding("profile", WARN, "the site is retired", "use another one")
    else:
        checked = "" if profile.verified else ", not checked on the machine"
        yield Finding("profile", OK, f"can be understood; {told}{checked}")
    here = profile.is_here()
    runner: Runner | None = None
    if here:
        runner = LocalRunner(_PATIENCE)
        yield Finding("this machine", OK, "belongs to the site")
    elif profile.ssh is None:
        yield Finding(
            "this machine",
            WARN,
            "does not belong to the site, and the profile has no SSH address",
            "add [ssh] host, or this machine's name to [host] names",
        )
    else:
        finding, runner = check_connection(profile)
        yield finding
    yield from _check_account(profile)
    for scheduler in profile.schedulers.values():
        yield from _check_scheduler(scheduler, profile, runner)
    if here:
        yield from _check_folder("scratch", profile.scratch, must_exist=True)
        yield from _check_folder("work_directory", profile.work_directory, must_exist=False)


def check_connection(profile: SiteProfile) -> tuple[Finding, Runner | None]:
    """Whether the site can be reached with SSH, and what runs commands there if so."""
    url = profile.url()
    assert url is not None
    settings = BatchSchedulerExecutorConfig()
    runner = make_runner(url, _PATIENCE, settings.ssh_command, profile.remote_setup)
    place = url.removeprefix("ssh://")
    try:
        runner.home()
    except OSError as problem:
        fix = f"see whether `ssh {place}` works; correct [ssh] if not"
        return Finding("connection", FAIL, str(problem), fix), None
    return Finding("connection", OK, f"{place} answers"), runner


def _check_account(profile: SiteProfile) -> Iterator[Finding]:
    if profile.account:
        yield Finding("account", OK, profile.account)
    elif profile.account_required:
        yield Finding(
            "account",
            FAIL,
            "the site wants one, and the profile has none",
            f'write into sites.toml: [{profile.name}] account = "..."',
        )


def _check_scheduler(
    scheduler: Scheduler, profile: SiteProfile, runner: Runner | None
) -> Iterator[Finding]:
    what = f"scheduler {scheduler.name}"
    if scheduler.launcher and scheduler.launcher not in Launcher.get_launcher_names():
        known = ", ".join(sorted(Launcher.get_launcher_names()))
        yield Finding(
            what, FAIL, f"there is no launcher {scheduler.launcher!r}", f"write one of: {known}"
        )
    if scheduler.executor not in JobExecutor.get_executor_names():
        known = ", ".join(sorted(JobExecutor.get_executor_names()))
        yield Finding(
            what,
            FAIL,
            f"there is no executor {scheduler.executor!r}",
            f"install the package that has it, or write one of: {known}",
        )
        return
    if runner is None:
        return
    try:
        executor = JobExecutor.for_site(profile.name, scheduler.name)
    except ValueError as problem:
        yield Finding(what, FAIL, str(problem))
        return
    reason = executor.problem()
    if reason is not None:
        yield Finding(what, FAIL, reason, "load its module, or ask the site")
        return
    yield Finding(what, OK, "answers")
    survey = getattr(executor, "survey", None)
    try:
        found = None if survey is None else survey(runner)
    except PSIJException as problem:
        yield Finding(what, WARN, problem.message)
        return
    if found is not None:
        yield from _compare(scheduler, profile, found)


def _compare(scheduler: Scheduler, profile: SiteProfile, survey: Survey) -> Iterator[Finding]:
    """Hold the profile against what the scheduler says."""
    if profile.account and survey.accounts and profile.account not in survey.accounts:
        yield Finding(
            "account",
            FAIL,
            f"{profile.account!r} is none of yours",
            f"write one of: {', '.join(survey.accounts)}",
        )
    if scheduler.queue_attribute is not None:
        return  # such queues are not the ones that the scheduler lists
    there = {queue.name: queue for queue in survey.queues}
    for name, queue in scheduler.queues.items():
        what = f"queue {name}"
        facts = there.get(name)
        if facts is None:
            # What is named with a custom attribute may be a QOS, which is not listed.
            yield Finding(
                what,
                WARN if queue.custom_attributes else FAIL,
                f"{survey.title} does not list it",
                f"remove it from the profile; there are: {', '.join(there) or 'none'}",
            )
            continue
        differences = list(_differences(queue.max_walltime, queue.max_nodes, facts))
        if facts.closed:
            yield Finding(what, WARN, f"is closed at present ({facts.closed})")
        elif differences:
            yield Finding(what, WARN, "; ".join(differences), "correct the profile")
        else:
            yield Finding(what, OK, "is there, and its limits are right")


def _differences(walltime: object, nodes: int | None, facts: QueueFacts) -> Iterator[str]:
    if facts.max_walltime is not None and walltime != facts.max_walltime:
        yield f"max_walltime is {format_duration(facts.max_walltime)} there"
    if facts.max_nodes is not None and nodes != facts.max_nodes:
        yield f"max_nodes is {facts.max_nodes} there"


def _check_folder(key: str, folder: str | None, must_exist: bool) -> Iterator[Finding]:
    if folder is None:
        return
    path = os.path.expanduser(os.path.expandvars(folder))
    unset = re.search(r"\$\{?\w+\}?", path)
    if unset:
        yield Finding(key, WARN, f"{unset[0]} is not set here", f"set it, or write another {key}")
    elif os.path.isdir(path):
        writable = os.access(path, os.W_OK | os.X_OK)
        yield Finding(
            key,
            OK if writable else FAIL,
            f"{path} is there" if writable else f"you may not write into {path}",
            "" if writable else f"write another {key} into the profile",
        )
    else:
        yield Finding(
            key,
            FAIL if must_exist else OK,
            f"{path} is not there" + ("" if must_exist else "; it is made when it is needed"),
            f"make it, or write another {key} into the profile" if must_exist else "",
        )
