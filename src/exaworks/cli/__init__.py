"""The command line ``exaworks``: a thin layer over :mod:`exaworks.psij`.

Nothing else imports it. Importing it imports nothing either, so that ``exaworks --help`` is
quick.
"""

__all__ = ["main"]


def main() -> None:
    """Run the command line with the arguments of this process, and exit."""
    from exaworks.cli.app import application

    application.main(prog_name="exaworks")
