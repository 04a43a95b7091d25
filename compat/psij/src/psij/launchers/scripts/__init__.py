"""Scripts of launchers."""
