"""``exaworks completion``."""

from __future__ import annotations

import click

from exaworks.cli.settings import command as make_command

__all__ = ["command"]


@make_command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def command(shell: str) -> None:
    """Print the script that completes commands in your shell.

    It completes commands, options, numbers of jobs and names of executors when you press tab.

    \b
    Examples:
      eval "$(exaworks completion bash)"            in ~/.bashrc
      eval "$(exaworks completion zsh)"             in ~/.zshrc
      exaworks completion fish > ~/.config/fish/completions/exaworks.fish
    """
    from click.shell_completion import get_completion_class

    root = click.get_current_context().find_root().command
    maker = get_completion_class(shell)
    assert maker is not None  # click has these three
    script = maker(root, {}, "exaworks", "_EXAWORKS_COMPLETE")
    click.echo(script.source())
