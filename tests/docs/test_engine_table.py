"""The table of engines in the documentation is what the command prints."""

import subprocess
import sys
from pathlib import Path

from exaworks.tasks import engine_descriptors

PAGE = Path(__file__).parents[2] / "docs" / "engines.md"
BEGIN, END = "<!-- engines -->\n", "<!-- /engines -->\n"


def test_the_table_is_what_the_command_prints() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "exaworks.cli", "engines", "--markdown"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    text = PAGE.read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    table = text[text.index(BEGIN) + len(BEGIN) : text.index(END)]
    assert table == printed, f"put the output of `exaworks engines --markdown` into {PAGE.name}"


def test_each_engine_has_a_section() -> None:
    lines = PAGE.read_text().splitlines()
    names = {each.name for each in engine_descriptors() if each.cls.startswith("exaworks.")}
    assert names <= {line[3:].strip() for line in lines if line.startswith("## ")}
