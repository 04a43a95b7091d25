"""``exaworks site``: profiles of clusters."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exaworks.cli.settings import CONTEXT, verbosity_options

if TYPE_CHECKING:
    from exaworks.core.sites import SiteProfile, Sites

__all__ = ["command"]

_json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group("site", context_settings=CONTEXT)
def command() -> None:
    """List, show, detect and check profiles of sites.

    A profile says what is particular to a cluster: its schedulers, queues and limits, nodes,
    modules, SSH address. Prints what is known; profiles come with the package, from /etc/exaworks,
    from the folder `sites` and the file `sites.toml` in the ExaWorks home folder, and from
    `exaworks-sites.toml` in a project; later ones override earlier ones key by key.

    \b
    Examples:
      exaworks site list
      exaworks site show frontier
      exaworks site detect --name mycluster --write
      exaworks site check mycluster
    """


def _command(name: str) -> Callable[[Callable[..., Any]], click.Command]:
    def decorate(function: Callable[..., Any]) -> click.Command:
        return command.command(name, context_settings=CONTEXT)(verbosity_options(function))

    return decorate


def _load() -> Sites:
    from exaworks.core.sites import load_sites

    return load_sites()


def _get(sites: Sites, name: str) -> SiteProfile:
    from exaworks.cli.errors import FAILED, USAGE, Problem
    from exaworks.core.sites import SiteError

    try:
        proper = sites.resolve(name)
    except SiteError as problem:
        raise Problem(str(problem), exit_code=USAGE) from problem
    try:
        return sites.get(proper)
    except SiteError as problem:
        raise Problem(str(problem), exit_code=FAILED) from problem


@_command("list")
@_json_option
def list_sites(as_json: bool) -> None:
    """List the sites that are known here.

    Prints a line for each: its name, what it is, the executors of its schedulers, the date of the
    facts, and whether they were checked on the machine itself. The site that this machine belongs
    to is marked with a star.

    \b
    Examples:
      exaworks site list
      exaworks site list --json
    """
    from exaworks.cli.output import clean, note, print_json, print_table
    from exaworks.core.sites import SiteError
    from exaworks.core.sites.model import host_names

    sites = _load()
    names = host_names()
    rows: list[dict[str, Any]] = []
    for name in sites.names():
        try:
            profile = sites.get(name)
        except SiteError as problem:
            rows.append({"name": name, "problem": str(problem)})
            continue
        rows.append(
            {
                "name": name,
                "title": profile.title,
                "executors": [s.executor for s in profile.schedulers.values()],
                "status": profile.status,
                "date": profile.date,
                "verified": profile.verified,
                "here": profile.is_here(names),
                "problem": None,
            }
        )
    if as_json:
        print_json(rows)
    else:
        cells = [
            (
                row["name"] + (" *" if row.get("here") else ""),
                ", ".join(row.get("executors", ())),
                row.get("date") or "",
                "yes" if row.get("verified") else "no",
                clean(row.get("title") or row["problem"] or ""),
            )
            for row in rows
        ]
        print_table(("NAME", "EXECUTORS", "DATE", "VERIFIED", "TITLE"), cells)
    for warning in sites.warnings:
        note(f"Warning: {warning}")


@_command("show")
@click.argument("name")
@_json_option
def show(name: str, as_json: bool) -> None:
    """Show what is known about a site, and where each value came from.

    Prints the profile as TOML, all files taken together; the comment after a value names the file
    that it is from.

    \b
    Examples:
      exaworks site show perlmutter
      exaworks site show lumi --json
    """
    from exaworks.cli.output import print_json
    from exaworks.core.sites.toml_text import dump

    profile = _get(_load(), name)
    if as_json:
        print_json(
            {
                "name": profile.name,
                "here": profile.is_here(),
                "url": profile.url(),
                "profile": profile.table,
                "origins": {".".join(path): origin for path, origin in profile.origins.items()},
            }
        )
        return
    click.echo(dump({"name": profile.name, **profile.table}, beside=profile.origins), nl=False)


@_command("detect")
@click.option("--name", help="Name for the site.  [default: what the scheduler calls the cluster]")
@click.option("--url", metavar="ssh://[USER@]HOST", help="Ask the schedulers of that machine.")
@click.option("--write", is_flag=True, help="Store it in the folder of your own profiles.")
@click.option("--force", is_flag=True, help="Replace a profile of that name that you have.")
@_json_option
def detect(name: str | None, url: str | None, write: bool, force: bool, as_json: bool) -> None:
    """Write a first profile of the machine that this runs on, or of another one.

    Asks every scheduler whose commands are here about its queues and nodes, and prints a profile
    as TOML. What a person must add stands in comments.

    \b
    Examples:
      exaworks site detect
      exaworks site detect --name mycluster --write
      exaworks site detect --url ssh://me@login.site --name mycluster --write
    """
    from exaworks.cli.errors import Problem
    from exaworks.cli.output import note, print_json
    from exaworks.cli.site_checks import surveys
    from exaworks.core.sites import user_folder
    from exaworks.core.sites.model import host_names
    from exaworks.core.sites.toml_text import comment, dump
    from exaworks.psij.executors.batch import BatchSchedulerExecutorConfig
    from exaworks.psij.remote import Address, make_runner
    from exaworks.psij.survey import profile_comments, profile_table

    settings = BatchSchedulerExecutorConfig()
    try:
        runner = make_runner(url, settings.command_timeout, settings.ssh_command)
        hosts = host_names() if url is None else [Address.parse(url).host]
        runner.home()
    except (ValueError, OSError) as problem:
        raise Problem(str(problem)) from problem
    found, failures = surveys(runner)
    if not found:
        raise Problem(
            f"No scheduler on {runner.host or 'this machine'} tells about itself.",
            "; ".join(failures)
            or "Its commands must be in PATH; perhaps a module is to be loaded.",
        )
    for failure in failures:
        note(f"Warning: {failure}")
    name = _site_name(name, found[0].cluster, hosts[0])
    table = {
        "name": name,
        "source": [f"{one.title} on {hosts[-1]}" for one in found],
        "date": date.today().isoformat(),
    }
    table |= profile_table(found, name, hosts)
    if url is not None:
        table["ssh"] = url.removeprefix("ssh://").rstrip("/")
    if as_json:
        print_json(table)
        return
    heading = comment(
        f"Profile of {name}, as its schedulers describe it. Complete it, then see\n"
        f"`exaworks site check {name}`."
    )
    comments = {
        **profile_comments(found),
        ("host",): "Names of the machines of the site; * stands for anything.",
        ("ssh",): 'To use the site from elsewhere:\nssh = "login.example.org"',
    }
    text = f"{heading}\n{dump(table, comments)}"
    if not write:
        click.echo(text, nl=False)
        return
    path = user_folder() / f"{name}.toml"
    _store(path, text, force)
    note(f"Wrote {path}")


def _site_name(given: str | None, cluster: str | None, host: str) -> str:
    import re

    from exaworks.cli.errors import USAGE, Problem

    if given is None:
        given = re.sub(r"[^a-z0-9_+-]+", "-", (cluster or host.split(".")[0]).lower()).strip("-")
    if not re.fullmatch(r"[A-Za-z0-9][\w+-]*", given, re.ASCII):
        raise Problem(
            f"{given!r} is no name for a site.", "Use letters, digits, '-', '_' and '+'.", USAGE
        )
    return given


def _store(path: Path, text: str, force: bool) -> None:
    import os

    from exaworks.cli.errors import Problem

    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not force:
        raise Problem(
            f"There is a profile already: {path}", "--force replaces it, --name gives another name."
        )
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


@_command("check")
@click.argument("name")
@_json_option
def check_site(name: str, as_json: bool) -> int:
    """Check the profile of a site against what can be found out from here.

    Prints a table: on the site itself, whether its schedulers answer, and whether queues, limits,
    account and folders are right; elsewhere, whether its SSH address answers. Exit code 1 if
    something must be put right.

    \b
    Examples:
      exaworks site check mycluster
    """
    from exaworks.cli import errors
    from exaworks.cli.output import clean, note, print_json, print_table
    from exaworks.cli.site_checks import FAIL, check

    sites = _load()
    profile = _get(sites, name)
    findings = list(check(profile))
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        print_table(
            ("CHECK", "VERDICT", "FOUND", "TO DO"),
            [(one.what, one.verdict, clean(one.detail), clean(one.fix)) for one in findings],
        )
    for warning in sites.warnings:
        note(f"Warning: {warning}")
    failed = any(finding.verdict == FAIL for finding in findings)
    return errors.FAILED if failed else errors.OK
