"""Executors for batch schedulers, and the base class for those of third parties."""
