"""The version of psij-python that this stands in for."""

VERSION = "0.9.12"
