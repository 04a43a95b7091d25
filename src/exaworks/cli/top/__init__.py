"""The live view of engines."""
