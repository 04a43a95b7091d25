"""``exaworks info``."""

from __future__ import annotations

from typing import Any

import click

from exaworks.cli.settings import command as make_command

__all__ = ["command"]


@make_command("info")
@click.option("--json", "as_json", is_flag=True, help="Print an object.")
def command(as_json: bool) -> None:
    """Show versions, paths, switches and what can be used here.

    Prints the versions of exaworks, of Python and of the packages used, the operating system, the
    folders in use, the environment variables that change what exaworks does, the executors (and
    why some cannot be used), and the versions of schedulers and MPI. Useful in bug reports.

    \b
    Examples:
      exaworks info
      exaworks info --json | jq .executors
    """
    from exaworks.cli.output import print_json
    from exaworks.cli.store import Store
    from exaworks.cli.usable import executors
    from exaworks.core.system import system_info
    from exaworks.psij import JobExecutorConfig

    data = system_info()
    data["paths"]["jobs"] = str(Store().path)
    data["paths"]["work"] = str(JobExecutorConfig().work_directory)
    data["executors"] = {
        one.name: {"version": one.version, "usable": one.usable, "reason": one.reason}
        for one in executors()
    }
    if as_json:
        print_json(data)
    else:
        _print(data)


def _print(data: dict[str, Any]) -> None:
    python, system = data["python"], data["platform"]
    memory = system["memory"] / 1024**3
    sections: dict[str, dict[str, str]] = {
        "Versions": {
            "exaworks": data["exaworks"],
            "Python": f"{python['version']} ({python['implementation']}, {python['executable']})",
            **{name: version or "not installed" for name, version in data["packages"].items()},
        },
        "System": {
            "host": system["hostname"],
            "system": f"{system['distribution'] or system['system']}, {system['system']} "
            f"{system['release']} {system['machine']}",
            "CPUs": f"{system['usable_cpus']} usable of {system['cpus']}",
            "memory": f"{memory:.1f} GiB",
        },
        "Paths": data["paths"],
        "Environment": data["environment"],
        "Executors": {
            name: "usable" if one["usable"] else f"not usable: {one['reason']}"
            for name, one in data["executors"].items()
        },
        "Tools": {
            name: f"{one['version'] or 'version unknown'} ({one['path']})"
            for name, one in data["tools"].items()
        },
    }
    for title, facts in sections.items():
        click.secho(title, bold=True)
        width = max(map(len, facts), default=0)
        for name, value in facts.items():
            click.echo(f"  {name:<{max(width, 10)}}  {value}")
        if not facts:
            click.echo("  (none)")
