"""The ExaWorks SDK: components for scientific workflows on clusters and supercomputers.

Import the component you need, for instance :mod:`exaworks.psij`; this package itself imports
nothing.
"""

__version__ = "0.1.0"
