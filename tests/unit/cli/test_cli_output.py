"""Printing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from exaworks.cli.output import clean, moment, print_table, short_duration, signal_name
from exaworks.cli.verdict import describe, exit_code
from exaworks.psij import JobState, JobStatus, Reason


def test_durations() -> None:
    times = [None, 0, 59.9, 60, 3599, 3600, 7260, 86399, 86400, 200000]
    assert [short_duration(t) for t in times] == [
        "", "0s", "59s", "1m00s", "59m59s", "1h00m", "2h01m", "23h59m", "1d00h", "2d07h",
    ]  # fmt: skip


@given(st.text())
def test_clean_text_moves_no_cursor(text: str) -> None:
    cleaned = clean(text)
    assert cleaned.isprintable()
    if text.isprintable():
        assert cleaned == text


def test_moments() -> None:
    assert moment(None) is None
    assert moment(0.9) == "1970-01-01T00:00:00Z"


def test_signals() -> None:
    assert [signal_name(9), signal_name(99)] == ["SIGKILL", "signal 99"]


def test_plain_tables_cut_nothing_off(capsys) -> None:  # type: ignore[no-untyped-def]
    print_table(("ID", "NAME", "REASON"), [("1", "x" * 200, ""), ("22", "y", "z z")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["ID", "NAME", "REASON"]
    assert lines[1] == f" 1  {'x' * 200}"
    assert lines[2] == f"22  y{' ' * 199}  z z"


def test_ends_in_words() -> None:
    assert describe("COMPLETED", 0) == "COMPLETED"
    assert describe("FAILED", 3, None, "exit code 3") == "FAILED with exit code 3"
    assert describe("FAILED", 137, 9) == "FAILED by SIGKILL"
    assert describe("FAILED", None, None, "node lost") == "FAILED: node lost"
    assert describe("CANCELED") == "CANCELED"


def test_exit_codes_that_are_passed_on() -> None:
    def code(state: JobState, code: int | None = None, reason: str | None = None) -> int:
        return exit_code(JobStatus(state, exit_code=code, metadata={"reason": reason}))

    assert code(JobState.COMPLETED, 0) == 0
    assert code(JobState.FAILED, 3) == 3
    assert code(JobState.FAILED, 139, Reason.SIGNAL) == 139
    assert code(JobState.FAILED, 512) == 1
    assert code(JobState.FAILED) == 1
    assert code(JobState.FAILED, None, Reason.TIMEOUT) == 124
    assert code(JobState.FAILED, 143, Reason.TIMEOUT) == 124
    assert code(JobState.CANCELED) == 1
