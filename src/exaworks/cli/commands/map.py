"""``exaworks map``."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from exaworks.cli.errors import INTERRUPTED, USAGE, Problem
from exaworks.cli.mapping.options import MapOptions, map_options
from exaworks.cli.settings import command as make_command
from exaworks.cli.settings import settings

if TYPE_CHECKING:
    from exaworks.cli.mapping.inputs import Inputs
    from exaworks.cli.mapping.joblog import Finished
    from exaworks.cli.mapping.outcome import Task
    from exaworks.cli.mapping.running import Mapping
    from exaworks.cli.mapping.summary import Summary
    from exaworks.cli.mapping.templates import Template

__all__ = ["command"]


@make_command("map", takes_command=True)
@map_options
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED)
def command(command: tuple[str, ...], options: MapOptions) -> int:
    """Run a command for each of many arguments, on any engine.

    A command of one word is a line of shell; one of several words is run without a shell.
    Arguments are ::: words, the lines of :::: files (or of standard input), or the rows of --from.
    Several sources are combined, the last varies fastest; :::+ and ::::+ link with the one before.

    In the command, {} is the argument, {.} without its extension, {/} its last part, {//} its
    folder, {/.} the last part without extension; {1}, {2/.} an argument of several; {name} a
    column; {#} the number of the task. If there is none of these, {} is added. In a line of shell
    they are quoted.

    Output of a task is printed as a whole when it has ended. Ctrl-C ends the tasks that run. The
    exit code is the number of tasks that have failed, 101 if these are more than 100; 2 if the
    command line or the inputs cannot be understood; 130 after ctrl-C.

    \b
    Examples:
      exaworks map 'gzip -k {} && echo {/} is done' ::: *.txt
      exaworks map -j 4 ./simulate --rate {1} --seed {2} ::: 0.1 0.2 ::: 1 2 3
      exaworks map --from params.csv --joblog log --resume ./train --rate {rate} --out {name}.pt
      find . -name '*.png' -print0 | exaworks map -0 --halt now convert {} {.}.jpg
    """
    from exaworks.cli.mapping.inputs import choose_inputs, split_command
    from exaworks.cli.mapping.joblog import Finished
    from exaworks.cli.mapping.summary import Summary
    from exaworks.cli.mapping.templates import Template

    if options.joblog is None and (options.resume or options.resume_failed):
        raise click.UsageError("--resume and --resume-failed need --joblog FILE.")
    end = b"\0" if options.null else b"\n"
    words, groups = split_command(command, end)
    if not words:
        raise click.UsageError(
            "What is to be run? Give a command before the arguments; to run lines of shell that "
            "are the arguments: sh -c {}"
        )
    inputs = choose_inputs(groups, options.arg_file, options.from_, end)
    template = Template(words, inputs.width, inputs.names)
    finished = None
    if options.joblog is not None and (options.resume or options.resume_failed):
        finished = Finished(options.joblog, failed_too=not options.resume_failed)
    summary = Summary(options.as_json)
    tasks = _tasks(template, inputs, finished, summary)
    if options.shuffle:
        everything = list(tasks)
        random.shuffle(everything)
        tasks = iter(everything)
    if options.dry_run:
        output = sys.stdout.buffer
        for task in tasks:
            output.write(os.fsencode(task.text) + b"\n")
        return 0
    summary.total = inputs.count()
    return _run(tasks, options, summary)


def _tasks(
    template: Template, inputs: Inputs, finished: Finished | None, summary: Summary
) -> Iterator[Task]:
    """What is to be run."""
    from exaworks.cli.mapping.outcome import Task

    for seq, values in enumerate(inputs, 1):
        words, text = template.fill(seq, values)
        if finished is not None and finished.has(seq, text):
            summary.skipped += 1
        else:
            yield Task(seq, values, words, text)


def _run(tasks: Iterator[Task], options: MapOptions, summary: Summary) -> int:
    from exaworks.cli.mapping.joblog import JobLog
    from exaworks.cli.mapping.progress import Bar
    from exaworks.cli.mapping.running import Mapping
    from exaworks.cli.output import print_json
    from exaworks.tasks import InvalidTaskError, TaskError

    spec_of = options.spec_maker()
    bar = sys.stderr.isatty() if options.progress is None else options.progress
    again = options.resume or options.resume_failed
    with options.make_engine() as engine, contextlib.ExitStack() as stack:
        log = None
        if options.joblog is not None:
            log = stack.enter_context(contextlib.closing(JobLog(options.joblog, append=again)))
        mapping = Mapping(
            engine,
            tasks,
            spec_of,
            lambda: options.most_on_the_way(engine),
            summary,
            halt=options.halt,
            log=log,
            bar=Bar() if bar else None,
            printed=not options.as_json,
            kept=options.results is not None,
            ordered=options.keep_order,
            tagged=options.tag,
            talks=settings().verbosity > 0,
        )
        try:
            mapping.run()
        except InvalidTaskError as problem:
            raise Problem(f"{problem}.", exit_code=USAGE) from problem
        except TaskError as problem:
            raise Problem(f"The engine has failed: {problem}") from problem
    _tell(mapping, options)
    if options.as_json:
        print_json(summary.as_json())
    if mapping.interrupted:
        code = mapping.interrupted
        return INTERRUPTED if code == signal.SIGINT else 128 + code
    return summary.exit_code


def _tell(mapping: Mapping, options: MapOptions) -> None:
    """Say on standard error what has become of the tasks, if that is not as expected."""
    stopped = mapping.interrupted or mapping.halted
    if stopped:
        how = "to go on, give the same command with --resume"
        if options.joblog is None:
            how = "with --joblog FILE, one could go on later with --resume"
        mapping.say(f"stopped: {mapping.summary}; {how}")
    elif settings().talks:
        mapping.say(str(mapping.summary))
