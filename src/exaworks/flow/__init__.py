"""Dataflow programs: functions and commands that run as soon as what they need is there.

::

    from exaworks.flow import Flow, python_app

    @python_app
    def square(x):
        return x * x

    @python_app
    def total(parts):
        return sum(parts)

    with Flow():
        print(total([square(n) for n in range(10)]).result())
"""

from exaworks.flow.apps import App, bash_app, join_app, mpi_app, python_app
from exaworks.flow.arguments import Part
from exaworks.flow.errors import DependencyError, FlowClosedError, FlowError, JoinError, Step
from exaworks.flow.flow import Flow, current_flow
from exaworks.flow.future import FlowFuture
from exaworks.flow.retry import Retry

__all__ = [
    "App",
    "DependencyError",
    "Flow",
    "FlowClosedError",
    "FlowError",
    "FlowFuture",
    "JoinError",
    "Part",
    "Retry",
    "Step",
    "bash_app",
    "current_flow",
    "join_app",
    "mpi_app",
    "python_app",
]
