"""What makes two calls the same: the code of the function, and the content of the arguments.

A function is told by its byte code, its constants, defaults and closure, and by all that it refers
to: other functions and classes of the program in the same way, values by their content, what is
installed by name and version. Names of files stand for their content.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
import site
import sys
import sysconfig
import threading
import types
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from exaworks.tasks.errors import InvalidTaskError

__all__ = ["Digests", "FileDigests"]

_SIZE = 20
_CHUNK = 1 << 20
_MOST_FILES = 100_000
_MOST_FUNCTIONS = 10_000
_PYTHON = str(sys.version_info[:2]).encode()
_FIXED = (types.FunctionType, types.BuiltinFunctionType, types.ModuleType, type)


class FileDigests:
    """Digests of the content of files. One that has not changed is read once."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, int, int], bytes]] = {}

    def of(self, path: str) -> bytes:
        """The digest of a file, or of all the files below a folder.

        Raises:
            OSError: it cannot be read.
        """
        found = os.stat(path)
        if os.path.isdir(path):
            return self._of_folder(path)
        mark = (found.st_size, found.st_mtime_ns, found.st_ino)
        known = self._known.get(path)
        if known is not None and known[0] == mark:
            return known[1]
        state = hashlib.blake2b(digest_size=_SIZE)
        with open(path, "rb") as file:
            while data := file.read(_CHUNK):
                state.update(data)
        if len(self._known) >= _MOST_FILES:
            self._known.clear()
        self._known[path] = mark, state.digest()
        return state.digest()

    def _of_folder(self, path: str) -> bytes:
        state = hashlib.blake2b(digest_size=_SIZE)
        for folder, folders, files in os.walk(path):
            folders.sort()
            for name in sorted(files):
                whole = os.path.join(folder, name)
                if os.path.isfile(whole):
                    state.update(os.fsencode(os.path.relpath(whole, path)) + b"\0" + self.of(whole))
        return state.digest()


class Digests:
    """Keys of calls."""

    def __init__(self) -> None:
        self._files = FileDigests()
        self._lock = threading.Lock()
        self._functions: dict[int, _Known] = {}

    def of_call(
        self, kind: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> bytes:
        """The key of a call: the same for the same code with the same arguments.

        Raises:
            InvalidTaskError: an argument, or a value that the function refers to, has no content
                that could be compared.
            OSError: a file that is named cannot be read.
        """
        with self._lock:
            state = _State(self._files)
            state.add(b"call", kind.encode(), _PYTHON, self._of_function(fn))
            state.value(args)
            state.value(kwargs)
            return state.digest()

    def _of_function(self, fn: Any) -> bytes:
        known = self._functions.get(id(fn))
        if known is not None and known.fn is fn and known.holds():
            return known.digest
        state = _State(self._files)
        state.value(fn)
        if state.fixed:
            if len(self._functions) >= _MOST_FUNCTIONS:
                self._functions.clear()
            self._functions[id(fn)] = _Known(fn, state.digest(), state.witnesses)
        return state.digest()


class _Known:
    """The digest of a function, which holds as long as names in modules mean the same objects."""

    __slots__ = ("_witnesses", "digest", "fn")

    def __init__(self, fn: Any, digest: bytes, witnesses: list[tuple[Any, str, Any]]) -> None:
        self.fn = fn
        self.digest = digest
        self._witnesses = witnesses

    def holds(self) -> bool:
        return all(variables.get(name) is value for variables, name, value in self._witnesses)


class _State:
    """A digest that grows."""

    def __init__(self, files: FileDigests, whole: _State | None = None) -> None:
        self._state = hashlib.blake2b(digest_size=_SIZE)
        self._files = files
        self._whole = whole = whole or self
        if whole is self:
            self.seen: dict[int, int] = {}
            """What we are within, by identity."""
            self.done: dict[int, bytes] = {}
            """The digests of functions and classes that we have been in."""
            self.witnesses: list[tuple[Any, str, Any]] = []
            """Names in modules that were looked up, with what they meant."""
            self.fixed = True
            """Whether only other meanings of these names can change the digest."""

    def digest(self) -> bytes:
        return self._state.digest()

    def add(self, *parts: bytes) -> None:
        for part in parts:
            self._state.update(len(part).to_bytes(8, "little"))
            self._state.update(part)

    def _part(self, value: Any) -> bytes:
        other = _State(self._files, self._whole)
        other.value(value)
        return other.digest()

    def value(self, value: Any) -> None:
        """Add a value by its content.

        Raises:
            InvalidTaskError: it has none.
        """
        kind = type(value)
        simple = _SIMPLE.get(kind)
        if simple is not None:
            self.add(kind.__name__.encode(), simple(value))
            return
        seen = self._whole.seen
        if id(value) in seen:  # it is a part of itself
            self.add(b"again", str(len(seen) - seen[id(value)]).encode())
            return
        seen[id(value)] = len(seen)
        try:
            if isinstance(value, (types.FunctionType, type)):
                self._once(value)
            else:
                self._complex(value, kind)
        finally:
            del seen[id(value)]

    def _once(self, value: Any) -> None:
        """Add a function or class; what is referred to from many places is looked into once."""
        done = self._whole.done
        if id(value) not in done:
            other = _State(self._files, self._whole)
            if isinstance(value, type):
                other._class(value)
            else:
                other._function(value)
            done[id(value)] = other.digest()
        self.add(b"code of", done[id(value)])

    def _complex(self, value: Any, kind: type) -> None:
        own = getattr(kind, "__exaworks_key__", None)
        if own is not None:
            self.add(b"own", _title(kind))
            self.value(own(value))
        elif kind in (list, tuple):
            self.add(kind.__name__.encode(), str(len(value)).encode())
            for each in value:
                self.value(each)
        elif kind in (set, frozenset):
            self.add(kind.__name__.encode(), *sorted(map(self._part, value)))
        elif kind is dict:
            self.add(b"dict")
            for key, item in sorted(
                (self._part(key), self._part(item)) for key, item in value.items()
            ):
                self.add(key, item)
        elif isinstance(value, types.CodeType):
            self._code(value)
        elif isinstance(value, types.MethodType):
            self.add(b"method")
            self.value(value.__func__)
            self.value(value.__self__)
        elif isinstance(value, (types.BuiltinFunctionType, types.ModuleType)):
            self._installed(value)
        elif isinstance(value, functools.partial):
            self.add(b"partial")
            self.value((value.func, value.args, value.keywords))
        elif isinstance(value, PurePath):
            self._path(value)
        elif hasattr(value, "__array_interface__") and hasattr(value, "tobytes"):
            self.add(b"array", str(value.dtype).encode(), str(value.shape).encode())
            if value.dtype.hasobject:
                self.value(value.tolist())
            else:
                self.add(value.tobytes())
        elif dataclasses.is_dataclass(value):
            self.add(b"dataclass")
            self.value(kind)
            for field in dataclasses.fields(value):
                self.value(getattr(value, field.name, None))
        else:
            self._object(value, kind)

    def _object(self, value: Any, kind: type) -> None:
        """Anything else: an app by its function, the rest by what pickle would store."""
        wrapped = getattr(value, "__wrapped__", None)
        if isinstance(wrapped, types.FunctionType):
            self.add(b"wrapped", _title(kind))
            self.value(wrapped)
            return
        self.add(b"object", _title(kind))
        try:
            reduced = value.__reduce_ex__(4)
        except Exception as problem:
            raise InvalidTaskError(
                f"a call with cache=True is told from others by what it is given, and {value!r} "
                f"cannot be pickled ({type(problem).__name__}: {problem}); give its class a method "
                "__exaworks_key__ that returns what makes it what it is, or do not cache the call"
            ) from problem
        if isinstance(reduced, str):
            self.add(reduced.encode())
            return
        for index, part in enumerate(reduced[:5]):
            self.value(list(part) if index > 2 and part is not None else part)

    def _path(self, path: PurePath) -> None:
        text = os.path.abspath(path)
        if os.path.exists(text):
            self.add(b"file", self._files.of(text))
        else:
            self.add(b"path", os.fsencode(text))

    def _function(self, function: types.FunctionType) -> None:
        if _is_installed(function.__module__):
            self._installed(function)
            return
        self.add(b"function")
        self._code(function.__code__)
        for default in function.__defaults__ or ():
            self._reference(default)
        for key, default in sorted((function.__kwdefaults__ or {}).items()):
            self.add(key.encode())
            self._reference(default)
        for cell in function.__closure__ or ():
            try:
                self._reference(cell.cell_contents)
            except ValueError:  # it is empty
                self.add(b"empty")
        names = _global_names(function.__code__)
        self._look_up(function.__globals__, names)

    def _look_up(self, variables: dict[str, Any], names: list[str]) -> None:
        """Add what names mean in a module, and in modules of the program that they mean."""
        for name in names:
            if name not in variables:
                continue
            value = variables[name]
            self.add(name.encode())
            self._whole.witnesses.append((variables, name, value))
            if isinstance(value, types.ModuleType) and not _is_installed(value.__name__):
                if id(value) not in self._whole.seen:
                    self._whole.seen[id(value)] = len(self._whole.seen)
                    self._look_up(vars(value), names)
                    del self._whole.seen[id(value)]
            else:
                self._reference(value)

    def _reference(self, value: Any) -> None:
        """Add what a function refers to."""
        wrapped = getattr(value, "__wrapped__", None)
        if type(value) not in _SIMPLE and not isinstance(value, _FIXED) and wrapped is None:
            self._whole.fixed = False  # its content may change
        self.value(value)

    def _code(self, code: types.CodeType) -> None:
        self.add(
            b"code", code.co_code, str(code.co_flags).encode(), str(code.co_argcount).encode(),
            str(code.co_kwonlyargcount).encode(), " ".join(code.co_names).encode(),
            " ".join(code.co_varnames).encode(), " ".join(code.co_freevars).encode(),
        )  # fmt: skip
        for each in code.co_consts:
            self.value(each)

    def _class(self, kind: type) -> None:
        if _is_installed(kind.__module__):
            self._installed(kind)
            return
        self.add(b"class", _title(kind))
        for base in kind.__bases__:
            if base is not object:
                self.value(base)
        for name, each in sorted(kind.__dict__.items()):
            inner = getattr(each, "__func__", getattr(each, "fget", each))
            if isinstance(inner, types.FunctionType):
                self.add(name.encode())
                self.value(inner)
            elif not name.startswith("__") and type(each) in _SIMPLE:
                self.add(name.encode())
                self.value(each)

    def _installed(self, value: Any) -> None:
        """What is told by its name and version."""
        if isinstance(value, types.ModuleType):
            name, module = "", value.__name__
        else:
            name, module = getattr(value, "__qualname__", ""), getattr(value, "__module__", "")
        top = sys.modules.get((module or "").partition(".")[0])
        version = getattr(top, "__version__", "")
        self.add(b"installed", (module or "").encode(), name.encode(), str(version).encode())


_SIMPLE: dict[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"",
    type(...): lambda value: b"",
    bool: lambda value: b"1" if value else b"0",
    int: lambda value: str(value).encode() if abs(value) < 1 << 1000 else hex(value).encode(),
    float: lambda value: value.hex().encode(),
    complex: lambda value: f"{value.real.hex()} {value.imag.hex()}".encode(),
    str: lambda value: value.encode("utf-8", "surrogatepass"),
    bytes: lambda value: value,
    bytearray: bytes,
}


def _title(kind: type) -> bytes:
    return f"{kind.__module__}.{kind.__qualname__}".encode()


def _global_names(code: types.CodeType) -> list[str]:
    """The names of globals that some code may refer to, those of inner functions included."""
    names = set(code.co_names)
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            names.update(_global_names(each))
    return sorted(names)


@functools.lru_cache(maxsize=10_000)
def _is_installed(module: str | None) -> bool:
    """Whether a module comes with Python or from a distribution: it does not change by itself."""
    if module is None or module == "__main__":
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module in sys.builtin_module_names or module in sys.stdlib_module_names
    return bool(os.path.abspath(file).startswith(_INSTALLED))


_INSTALLED = tuple(
    os.path.abspath(folder) + os.sep
    for folder in {
        *(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    }
)
