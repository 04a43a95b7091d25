"""Executors."""

from psij.executors.local import LocalJobExecutor

__all__ = ["LocalJobExecutor"]
