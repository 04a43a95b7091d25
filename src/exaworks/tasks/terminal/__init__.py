"""A command on a node whose standard streams, or whose terminal, are here.

:class:`Terminal` is this side of it. On the node runs :mod:`.relay`, a task, which starts the
command and connects back.
"""

from exaworks.tasks.terminal.terminal import Terminal

__all__ = ["Terminal"]
