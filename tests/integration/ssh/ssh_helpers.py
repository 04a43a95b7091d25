"""What the tests of jobs on another machine share."""

from __future__ import annotations

import subprocess


def elsewhere(text: str) -> str:
    """Run a command as the other user, who has another home and tcsh as the login shell."""
    words = ["runuser", "-u", "exacsh", "--", "/bin/sh", "-c", text]
    return subprocess.run(words, check=True, capture_output=True, text=True, cwd="/").stdout
