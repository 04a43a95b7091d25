"""``python -m exaworks.cli`` is the same as ``exaworks``."""

from exaworks.cli import main

main()
