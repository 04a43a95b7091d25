"""``python -m psij plugins`` prints the known executors and launchers."""

import sys

from psij import _plugins

if sys.argv[1:] == ["plugins"]:
    _plugins.print_status()
else:
    sys.exit("usage: python -m psij plugins")
