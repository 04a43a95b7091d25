"""What makes two calls the same."""

from __future__ import annotations

import functools
import math
import os
import re
import types
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exaworks.flow import python_app
from exaworks.flow.digest import Digests, FileDigests
from exaworks.tasks import InvalidTaskError

SOURCE = """
import math
FACTOR = 3
def helper(x):
    return x * FACTOR
class Model:
    scale = 2
    def __init__(self, a): self.a = a
    def __call__(self, x): return helper(x) * self.scale + self.a
def work(x, y=1):
    def inner(z):
        return helper(z)
    return inner(x) + math.sin(y)
def ping(n): return pong(n - 1) if n else 0
def pong(n): return ping(n - 1) if n else 1
"""


def program(*changes: tuple[str, str]) -> dict[str, Any]:
    """The names of a program, with some of its text changed."""
    text = SOURCE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(text, names)
    return names


def key(fn: Any, *args: Any, **kwargs: Any) -> bytes:
    return Digests().of_call("function", fn, args, kwargs)


def test_the_same_text_is_the_same_call() -> None:
    assert key(program()["work"], 1) == key(program()["work"], 1)
    assert key(program()["work"], 1) == key(
        program(("\nimport math", "\n\n\nimport math"))["work"], 1
    )
    assert key(program()["ping"], 1) == key(program()["ping"], 1)
    assert key(program()["Model"](4), 1) == key(program()["Model"](4), 1)


@pytest.mark.parametrize(
    "change",
    [
        ("FACTOR = 3", "FACTOR = 4"),
        ("return x * FACTOR", "return x + FACTOR"),
        ("y=1", "y=2"),
        ("math.sin", "math.cos"),
        ("return helper(z)", "return -helper(z)"),
    ],
)
def test_another_text_is_another_call(change: tuple[str, str]) -> None:
    assert key(program()["work"], 1) != key(program(change)["work"], 1)


@pytest.mark.parametrize(
    "change", [("scale = 2", "scale = 3"), ("+ self.a", "- self.a"), ("FACTOR = 3", "FACTOR = 4")]
)
def test_objects_of_another_class(change: tuple[str, str]) -> None:
    assert key(program()["Model"](4), 1) != key(program(change)["Model"](4), 1)
    assert key(len, program()["Model"]) != key(len, program(change)["Model"])


def test_a_function_that_is_made_anew_is_noticed() -> None:
    names = program()
    digests = Digests()

    def now() -> bytes:
        return digests.of_call("function", names["work"], (1,), {})

    first = now()
    assert now() == first
    names["FACTOR"] = 5
    second = now()
    assert second != first
    names["FACTOR"] = 3
    assert now() == first
    exec("def helper(x): return x", names)
    assert now() not in (first, second)


def test_data_that_a_function_refers_to() -> None:
    data = [1]

    def uses(x: int) -> int:
        return x + data[0]

    digests = Digests()
    first = digests.of_call("function", uses, (1,), {})
    data[0] = 2
    assert digests.of_call("function", uses, (1,), {}) != first
    data[0] = 1
    assert digests.of_call("function", uses, (1,), {}) == first


def test_modules_of_the_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("exaworks_test_module")
    (tmp_path / "exaworks_test_module.py").touch()
    module.__file__ = str(tmp_path / "exaworks_test_module.py")
    monkeypatch.setitem(__import__("sys").modules, module.__name__, module)
    exec("def helper(x): return x", vars(module))
    names: dict[str, Any] = {"__name__": "__main__", "module": module}
    exec("def work(x): return module.helper(x)", names)
    first = key(names["work"], 1)
    exec("def helper(x): return x", vars(module))
    assert key(names["work"], 1) == first
    exec("def helper(x): return x + 1", vars(module))
    assert key(names["work"], 1) != first


@dataclass
class Point:
    x: int
    y: Any = None


VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 1.0, 0.0, -0.0, 1j, "", "a", "1", b"", b"a", "\udc80", (), [], {},
    set(), frozenset(), (1,), [1], {1}, {1: 2}, {2: 1}, [[1], 2], [1, [2]], Point(1), Point(2),
    Point(1, [Point(2)]), math.sin, math.cos, len, int, Point, functools.partial(pow, 2),
    functools.partial(pow, 3), Path("/nonexistent/a"), Path("/nonexistent/b"), range(3), range(4),
    ..., 10**400, float("inf"), [None], [[]], [()], ("ab", "c"), ("a", "bc"),
]  # fmt: skip


class Scaled:
    """A decorator that is a class."""

    def __init__(self, fn: Any, factor: int) -> None:
        functools.update_wrapper(self, fn)
        self.factor = factor


def wrapped(fn: Any) -> Any:
    """As decorators of libraries do that forget functools.wraps."""

    def inner(*args: Any) -> Any:
        return fn(*args)

    inner.__module__ = "json.decoder"
    return inner


def test_functions_that_look_alike() -> None:
    assert key("abc".upper) != key("xyz".upper)
    assert key(re.compile("a").match, "x") != key(re.compile("b").match, "x")
    work = program()["work"]
    assert key(len, Scaled(work, 2)) != key(len, Scaled(work, 3))
    assert key(wrapped(program()["work"])) != key(wrapped(program(("y=1", "y=2"))["work"]))
    assert key(functools.lru_cache(program()["work"])) != key(functools.lru_cache(len))
    names: dict[str, Any] = {"__name__": "__main__"}
    exec(
        "def one():\n  try:\n    a(); b()\n  except E:\n    pass\n"
        "def two():\n  a()\n  try:\n    b()\n  except E:\n    pass\n"
        "def three(a, **k): return a\ndef four(a, /, **k): return a\n",
        names,
    )
    assert key(names["one"]) != key(names["two"])
    assert key(names["three"]) != key(names["four"])


CLASS = """
import enum, functools
class Base:
    table = {"a": [1, 2]}
    lock = __import__("threading").Lock()
    @property
    def half(self): return 1
    @functools.cached_property
    def whole(self): return 2
    @staticmethod
    def fixed(): return 3
    class Inner:
        depth = 4
class Color(enum.Enum):
    RED = 5
def work(x): return Base, Color
"""


@pytest.mark.parametrize("number", range(1, 6))
def test_all_of_a_class_counts(number: int) -> None:
    def now(text: str) -> bytes:
        names: dict[str, Any] = {"__name__": "__main__"}
        exec(text, names)
        return key(names["work"], 1)

    assert now(CLASS) == now(CLASS)
    assert now(CLASS) != now(CLASS.replace(str(number), str(number + 10)))


def test_a_class_that_is_changed() -> None:
    names = program()
    digests = Digests()
    exec("def made(x): return Model(1)(x)", names)
    first = digests.of_call("function", names["made"], (1,), {})
    names["Model"].scale = 7
    assert digests.of_call("function", names["made"], (1,), {}) != first


def test_a_name_that_comes_later() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    exec("def work(x): return helper(x)", names)
    digests = Digests()
    seen = set()
    for text in ("", "def helper(x): return 1", "def helper(x): return 2"):
        exec(text, names)
        seen.add(digests.of_call("function", names["work"], (1,), {}))
    assert len(seen) == 3


def test_callable_objects_as_they_are_now() -> None:
    model = program()["Model"](4)
    digests = Digests()
    first = digests.of_call("function", model, (1,), {})
    assert digests.of_call("function", model, (1,), {}) == first
    model.a = 5
    assert digests.of_call("function", model, (1,), {}) != first


def test_imports_within_a_function(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    file = tmp_path / "exaworks_test_helpers.py"
    file.write_text("def helper(x): return x")

    def work(x: int) -> int:
        from exaworks_test_helpers import helper  # type: ignore[import-not-found]

        return int(helper(x))

    first = key(work, 1)
    assert key(work, 1) == first
    file.write_text("def helper(x): return x + 1")
    assert key(work, 1) != first


def test_arrays_of_other_kinds() -> None:
    numpy = pytest.importorskip("numpy")

    class Unit(numpy.ndarray):  # type: ignore[misc,name-defined]
        unit = ""

        def __reduce__(self) -> Any:
            return type(self), (self.unit,), self.tolist()

    meters, miles = numpy.zeros(3).view(Unit), numpy.zeros(3).view(Unit)
    miles.unit = "mi"
    masked = numpy.ma.masked_array([0.0, 0, 0], [True, False, False])
    keys = {key(len, each) for each in (numpy.zeros(3), meters, miles, masked)}
    assert len(keys) == 4


def test_many_references_to_the_same() -> None:
    value: Any = (1,)
    for _ in range(200):
        value = (value, value)
    assert key(len, value) == key(len, value)
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(InvalidTaskError, match="nested too deeply"):
        key(len, deep)


def test_values_are_told_apart() -> None:
    keys = [key(len, value) for value in VALUES]
    assert len(set(keys)) == len(VALUES)
    assert keys == [key(len, value) for value in VALUES]
    assert key(len, float("nan")) == key(len, float("nan"))


@settings(deadline=None)
@given(st.dictionaries(st.integers() | st.text(), st.lists(st.floats(allow_nan=False))))
def test_the_order_of_a_dictionary_is_nothing(value: dict[Any, Any]) -> None:
    assert key(len, value) == key(len, dict(reversed(value.items())))
    backwards: set[Any] = set()
    for each in reversed(list(value)):
        backwards.add(each)
    assert key(len, set(value)) == key(len, backwards)


def test_arguments_are_told_by_how_they_are_given() -> None:
    assert key(pow, 2, 3) != key(pow, 3, 2)
    assert key(dict, a=1, b=2) == key(dict, b=2, a=1)
    assert key(dict, a=1) != key(dict, b=1)


def test_what_holds_itself() -> None:
    one: list[Any] = [1]
    one.append(one)
    other: list[Any] = [1]
    other.append(other)
    assert key(len, one) == key(len, other) != key(len, [1, [1]])


def test_an_app_is_its_function() -> None:
    first, second = program()["work"], program(("y=1", "y=2"))["work"]

    def uses(fn: Any) -> bytes:
        return key(len, python_app(fn))

    assert uses(first) == uses(program()["work"]) != uses(second)


def test_arrays() -> None:
    numpy = pytest.importorskip("numpy")
    zeros = numpy.zeros((2, 3))
    assert key(len, zeros) == key(len, numpy.zeros((2, 3)))
    others = [zeros + 1, zeros.T, zeros.astype("f4"), zeros.reshape(6), numpy.array([None, 1])]
    assert len({key(len, each) for each in (zeros, *others)}) == 6
    assert key(len, zeros.T) == key(len, numpy.zeros((3, 2)))


def test_what_may_be_written_to_is_told_by_its_name(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / f"{name}.out").touch()
        os.mkfifo(tmp_path / f"{name}.pipe")
    for ending in ("", ".out", ".pipe"):
        assert key(len, tmp_path / f"a{ending}") != key(len, tmp_path / f"b{ending}")


def test_files_are_told_by_their_content(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("content")
    two.write_text("content")
    assert key(len, one) == key(len, two)
    two.write_text("other")
    assert key(len, one) != key(len, two)
    first = key(len, tmp_path)
    assert key(len, tmp_path) == first
    one.write_text("changed")
    assert key(len, tmp_path) != first


def test_a_file_that_has_not_changed_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"x" * 100)
    files = FileDigests()
    first = files.of(str(path))
    stat = os.stat(path)
    path.chmod(0)  # whoever is not root could not even open it
    monkeypatch.setattr("builtins.open", None)
    assert files.of(str(path)) == first
    monkeypatch.undo()
    path.chmod(0o600)
    path.write_bytes(b"y" * 100)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert files.of(str(path)) != first


def test_what_has_no_content() -> None:
    import threading

    with pytest.raises(InvalidTaskError, match=r"cannot be pickled .* give its class a method"):
        key(len, threading.Lock())

    class Known:
        def __init__(self) -> None:
            self.lock = threading.Lock()
            self.number = 5

        def __exaworks_key__(self) -> int:
            return self.number

    one, other = Known(), Known()
    assert key(len, one) == key(len, other)
    other.number = 6
    assert key(len, one) != key(len, other)
