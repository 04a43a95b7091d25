"""The engine for one node."""
