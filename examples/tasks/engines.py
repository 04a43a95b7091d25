"""The options that all examples have: which engine runs the tasks.

--engine NAME               as `exaworks engines` lists them; this machine if nothing is said
--engine-option KEY=VALUE   an argument of it; repeatable

    python parameter_sweep.py --engine-option workers=4
    python parameter_sweep.py --engine allocation --engine-option executor=slurm \\
        --engine-option nodes=2 --engine-option walltime=600
    python parameter_sweep.py --engine slurm                # within a job of Slurm
    python parameter_sweep.py --engine dask --engine-option cluster=tcp://scheduler:8786
"""

from __future__ import annotations

import argparse

from exaworks.tasks import Engine, TaskError, engine_class, engine_settings, get_engine


def make_parser(about: str) -> argparse.ArgumentParser:
    """A parser with these options."""
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", default="local", metavar="NAME", help="see `exaworks engines`")
    parser.add_argument(
        "--engine-option",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="an argument of the engine, such as workers=4; repeatable",
    )
    return parser


def start_engine(options: argparse.Namespace, gpus: int = 0) -> Engine:
    """Start what the options say.

    Args:
        options: what the parser has found.
        gpus: how many GPUs each node has; 0: those that are there.

    Raises:
        SystemExit: it cannot be started.
    """
    try:
        settings = engine_settings(options.engine_option)
        if gpus:
            here = options.engine in ("local", "inline")
            settings.setdefault("gpus" if here else "gpus_per_node", gpus)
        reason = engine_class(options.engine).unusable()
        if reason is not None:
            raise SystemExit(f"The engine {options.engine!r} cannot be used here: {reason}")
        return get_engine(options.engine, **settings)
    except TaskError as problem:
        raise SystemExit(str(problem)) from problem
