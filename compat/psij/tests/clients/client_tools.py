"""What the tests with real clients share."""

import importlib.util
import os

import pytest


def need_client(module: str) -> None:
    """Skip the tests of a module if a client is not installed; fail if it is required."""
    if importlib.util.find_spec(module) is not None:
        return
    reason = f"{module} is not installed (make clients installs it)"
    if "clients" in os.environ.get("EXAWORKS_TEST_REQUIRE", "").split(","):
        raise RuntimeError(reason)
    pytest.skip(reason, allow_module_level=True)
