"""``exaworks submit``."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from exaworks.cli.errors import USAGE, Problem
from exaworks.cli.options import JobOptions, job_options
from exaworks.cli.settings import command as make_command

if TYPE_CHECKING:
    from exaworks.psij import JobSpec

__all__ = ["command"]


@make_command("submit", takes_command=True)
@job_options
@click.option(
    "--file",
    "file",
    metavar="FILE",
    help="JSON file with one job specification or a list of them; - reads standard input.",
)
@click.option("--count", type=click.IntRange(min=1), help="Submit so many jobs; {i} counts from 0.")
@click.option(
    "--sweep",
    metavar="FILE",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Submit a job for each row of a .csv, .tsv, .json, .jsonl or .txt file.",
)
@click.option("--quiet", is_flag=True, help="Print the ids and nothing else.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects with the ids.")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
def command(
    command: tuple[str, ...],
    options: JobOptions,
    executor: str | None,
    url: str | None,
    file: str | None,
    count: int | None,
    sweep: Path | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Submit one job or many, and print their ids.

    Prints one id a line; these are short numbers for the other commands. What a job prints is
    kept for `exaworks logs` if --stdout and --stderr are not given.

    With --count and --sweep the arguments, values of --env, paths, and the name are templates:
    {i} is the job's index, {column} a value from the parameter file ({line} for .txt), {{ and }}
    literal braces. ${NAME} stays a variable of the job's environment, in which EXAWORKS_INDEX is
    the index. Many jobs go to the executor together (Slurm: as arrays).

    \b
    Examples:
      exaworks submit --time 1h -n 16 --launcher mpirun -- ./solver in.dat
      exaworks submit --count 100 --stdout 'out-{i}.txt' -- ./simulate --seed '{i}'
      exaworks submit --sweep params.csv --name 'lr{rate}' -- python train.py --rate '{rate}'
      exaworks submit --file jobs.json -e slurm
      exaworks wait $(exaworks submit --quiet --count 10 -- ./simulate)
    """
    from exaworks.cli.backends import Backends
    from exaworks.cli.output import note, print_json
    from exaworks.cli.store import Store
    from exaworks.cli.submitting import (
        executor_for,
        hint_about_launcher,
        make_jobs,
        submit,
        working_directory,
    )
    from exaworks.cli.usable import choose_executor

    _check(command, file, options, count, sweep)
    name = choose_executor(executor)
    backend = executor_for(Backends(), name, url)
    base = working_directory(backend)
    specs = [options.spec(name, command, base)] if file is None else _read(file, base)
    if not quiet:
        hint_about_launcher(specs[0])
    specs = _multiply(specs, count, sweep)
    store = Store()
    submission = submit(store, backend, make_jobs(store, specs, backend))
    records = store.get([job.id for job in submission.accepted])
    if as_json:
        print_json(
            [
                {
                    "id": record.id,
                    "uuid": record.uuid,
                    "native_id": record.native_id,
                    "executor": record.executor,
                    "name": record.name,
                }
                for record in records
            ]
        )
    else:
        click.echo("".join(f"{record.id}\n" for record in records), nl=False)
    problem = submission.problem()
    if problem is not None:
        raise problem
    if not quiet and sys.stderr.isatty():
        many = f"{len(records)} jobs" if len(records) > 1 else "1 job"
        note(f"{many} submitted to {name}; `exaworks jobs` shows them")


def _check(
    command: Sequence[str],
    file: str | None,
    options: JobOptions,
    count: int | None,
    sweep: Path | None,
) -> None:
    if count is not None and sweep is not None:
        raise click.UsageError("--count and --sweep cannot be combined.")
    if file is None:
        if not command:
            raise click.UsageError("What is to be run? Give a command after -- , or --file.")
        return
    if command:
        raise click.UsageError("--file and a command cannot be combined.")
    if options.given():
        raise click.UsageError(
            f"--file and {', '.join(options.given())} cannot be combined; write it into the file."
        )


def _read(file: str, working_directory: Path | None) -> list[JobSpec]:
    """The specifications in a JSON file."""
    import json

    from exaworks.psij import InvalidJobException
    from exaworks.psij.serialize import spec_from_dict

    title = "standard input" if file == "-" else file
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        data: Any = json.loads(text)
    except OSError as problem:
        raise Problem(f"{title} cannot be read: {problem.strerror}", None, USAGE) from problem
    except ValueError as problem:
        raise Problem(f"{title} is not JSON: {problem}", None, USAGE) from problem
    items = data if isinstance(data, list) else [data]
    if not items:
        raise Problem(f"{title} holds no job specification.", None, USAGE)
    specs = []
    for index, item in enumerate(items):
        try:
            spec = spec_from_dict(item)
        except (InvalidJobException, ValueError, TypeError) as problem:
            where = f"{title}, item {index}" if isinstance(data, list) else title
            raise Problem(f"{where}: {problem}", None, USAGE) from problem
        if spec.directory is None:
            spec.directory = working_directory
        specs.append(spec)
    return specs


def _multiply(specs: list[JobSpec], count: int | None, sweep: Path | None) -> list[JobSpec]:
    """The specifications with all templates filled in; as they are if nothing was asked for."""
    if count is None and sweep is None:
        return specs
    from exaworks.cli.sweep import read_sweep
    from exaworks.cli.templates import fill_spec
    from exaworks.psij.serialize import spec_to_dict

    rows = read_sweep(sweep) if sweep is not None else [{} for _ in range(count or 0)]
    made = []
    for data in [spec_to_dict(spec) for spec in specs]:
        for index, row in enumerate(rows):
            spec = fill_spec(data, {"i": str(index), **row})
            spec.environment = {**(spec.environment or {}), "EXAWORKS_INDEX": str(index)}
            made.append(spec)
    return made
