"""How ``exaworks map`` shows what tasks have printed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from exaworks.cli.mapping.output import InOrder, Output, Screen, Stream

EMPTY = Stream(b"", None, True)


def shown(capfdbinary: pytest.CaptureFixture[bytes], *outputs: Output) -> tuple[bytes, bytes]:
    screen = Screen()
    for output in outputs:
        screen.show(output)
    out, err = capfdbinary.readouterr()
    return out, err


def test_lines_are_labelled(capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    (tmp_path / "long").write_bytes(b"x\ny\r\n\nlast")
    output = Output(
        b"a\t", Stream(b"1\r1\n2", None, True), Stream(b"", str(tmp_path / "long"), True)
    )
    assert shown(capfdbinary, output) == (b"a\t1\r1\na\t2", b"a\tx\na\ty\r\na\t\na\tlast")
    assert list(tmp_path.iterdir()) == []


def test_files_of_others_stay(capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path) -> None:
    (tmp_path / "kept").write_bytes(b"kept\n")
    output = Output(b"", Stream(b"", str(tmp_path / "kept"), False), EMPTY)
    assert shown(capfdbinary, output) == (b"kept\n", b"")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_file_that_is_elsewhere(
    capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    output = Output(b"", Stream(b"begin", str(tmp_path / "missing"), True), EMPTY)
    out, err = shown(capfdbinary, output)
    assert out == b"begin"
    assert b"missing cannot be read (No such file or directory)" in err


@pytest.mark.parametrize("seed", range(10))
def test_output_in_order(
    capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    order = InOrder(Screen())
    numbers = list(range(50))
    chance.shuffle(numbers)
    for number in numbers:
        data = b"%d " % number
        stream = Stream(data, None, True)
        if number % 3 == 0:
            (tmp_path / str(number)).write_bytes(data)
            stream = Stream(data[:1], str(tmp_path / str(number)), True)
        order.add(number, None if number % 7 == 0 else Output(b"", stream, EMPTY))
    order.close()
    expected = b"".join(b"%d " % number for number in range(50) if number % 7)
    assert capfdbinary.readouterr().out == expected
    left = {int(path.name) for path in tmp_path.iterdir()}
    assert left == set(range(0, 50, 21))


def test_what_is_left_when_tasks_before_do_not_end(
    capfdbinary: pytest.CaptureFixture[bytes], tmp_path: Path
) -> None:
    order = InOrder(Screen())
    (tmp_path / "file").write_bytes(b"b")
    order.add(2, Output(b"", Stream(b"c", None, True), Stream(b"e", None, True)))
    order.add(1, Output(b"", Stream(b"", str(tmp_path / "file"), True), EMPTY))
    assert capfdbinary.readouterr() == (b"", b"")
    order.finish()
    assert capfdbinary.readouterr() == (b"bc", b"e")
    (tmp_path / "file").write_bytes(b"d")
    order.add(5, Output(b"", Stream(b"", str(tmp_path / "file"), True), EMPTY))
    order.close()
    assert list(tmp_path.iterdir()) == []
