"""What makes two calls the same: the code of the function, and the content of the arguments.

A function is told by its byte code, its constants, defaults and closure, and by all that it refers
to: other functions and classes of the program in the same way, values by their content, what is
installed by name and version. Names of files stand for their content.
"""

from __future__ import annotations

import contextlib
import dataclasses
import dis
import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import site
import stat
import sys
import sysconfig
import threading
import types
import typing
import weakref
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
        self,
        kind: str,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        also: Any = None,
    ) -> bytes:
        """The key of a call: the same for the same code with the same arguments.

        Args:
            kind: what is done with the function.
            fn: the function.
            args: its arguments.
            kwargs: likewise.
            also: what else makes a difference.

        Raises:
            InvalidTaskError: an argument, or a value that the function refers to, has no content
                that could be compared.
            OSError: a file that is named cannot be read.
        """
        with self._lock:
            state = _State(self._files)
            try:
                state.add(b"call", kind.encode(), _PYTHON, self._of_function(fn))
                state.value((args, kwargs, also))
            except RecursionError:
                raise InvalidTaskError(
                    "the arguments of a call with cache=True are nested too deeply"
                ) from None
            return state.digest()

    def of_function(self, fn: Callable[..., Any]) -> bytes:
        """What tells a function from others; exceptions are those of :meth:`of_call`."""
        with self._lock:
            return self._of_function(fn)

    def _of_function(self, fn: Any) -> bytes:
        known = self._functions.get(id(fn))
        if known is not None and known.holds(fn):
            return known.digest
        state = _State(self._files)
        state.value(fn)
        if state.fixed and type(fn) is types.FunctionType:
            if len(self._functions) >= _MOST_FUNCTIONS:
                self._functions.clear()
            self._functions[id(fn)] = _Known(fn, state.digest(), state.witnesses)
        return state.digest()


class _Known:
    """The digest of a function, which holds as long as names in modules mean the same objects."""

    __slots__ = ("_fn", "_own", "_witnesses", "digest")

    def __init__(
        self, fn: types.FunctionType, digest: bytes, witnesses: list[tuple[Any, str, Any]]
    ) -> None:
        self._fn: weakref.ref[Any] = weakref.ref(fn)
        self._own = fn.__code__, fn.__defaults__, fn.__kwdefaults__
        self.digest = digest
        self._witnesses = witnesses

    def holds(self, fn: Any) -> bool:
        """Whether it is that of this function, still."""
        same = self._fn() is fn
        code, defaults, more = self._own
        if not same or fn.__code__ is not code or fn.__defaults__ is not defaults:
            return False
        if fn.__kwdefaults__ is not more:
            return False
        return all(
            variables.get(name, _ABSENT) is value for variables, name, value in self._witnesses
        )


class _State:
    """A digest that grows."""

    def __init__(self, files: FileDigests, whole: _State | None = None) -> None:
        self._state = hashlib.blake2b(digest_size=_SIZE)
        self._files = files
        self._whole = whole = whole or self
        if whole is self:
            self.seen: dict[int, int] = {}
            """What we are within, by identity."""
            self.done: dict[int, tuple[Any, bytes]] = {}
            """What we have been in, with its digest; it is kept, so that it stays what it is."""
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
        seen, done = self._whole.seen, self._whole.done
        if id(value) in seen:  # it is a part of itself
            self.add(b"again", str(len(seen) - seen[id(value)]).encode())
            return
        if id(value) not in done:
            seen[id(value)] = len(seen)
            try:
                other = _State(self._files, self._whole)
                other._complex(value, kind)
            finally:
                del seen[id(value)]
            done[id(value)] = value, other.digest()
        self.add(b"whole", done[id(value)][1])

    def _complex(self, value: Any, kind: type) -> None:
        own = getattr(kind, "__exaworks_key__", None)
        if own is not None and not isinstance(value, type):
            self.add(b"own", _title(kind))
            self.value(own(value))
        elif kind in (list, tuple):
            self.add(kind.__name__.encode(), str(len(value)).encode())
            for each in value:
                self.value(each)
        elif isinstance(value, (set, frozenset)):
            self.add(b"set", _title(kind), *sorted(map(self._part, value)))
        elif kind is dict:
            self.add(b"dict")
            for key, item in sorted(
                (self._part(key), self._part(each)) for key, each in value.items()
            ):
                self.add(key, item)
        elif isinstance(value, types.FunctionType):
            self._function(value)
        elif isinstance(value, type):
            self._class(value)
        elif isinstance(value, types.CodeType):
            self._code(value)
        elif isinstance(value, types.MethodType):
            self.add(b"method")
            self.value(value.__func__)
            self.value(value.__self__)
        elif isinstance(value, types.ModuleType):
            self._module(value)
        elif isinstance(value, types.BuiltinFunctionType):
            self._installed(value)
            if not isinstance(value.__self__, (types.ModuleType, type(None))):
                self.value(value.__self__)
        elif isinstance(value, functools.partial):
            self.add(b"partial")
            self.value((value.func, value.args, value.keywords))
        elif isinstance(value, PurePath):
            self._path(value)
        elif (kind.__module__, kind.__name__) == ("numpy", "ndarray") and not value.dtype.hasobject:
            self.add(b"array", str(value.dtype).encode(), str(value.shape).encode())
            self.add(value.tobytes())
        elif isinstance(value, functools._lru_cache_wrapper):
            self.add(b"lru_cache")
            self.value(value.__wrapped__)
        elif isinstance(value, re.Pattern):
            self.add(b"pattern")
            self.value((value.pattern, value.flags))
        elif isinstance(value, (property, functools.cached_property)):
            self.add(_title(kind))
            self.value([getattr(value, name, None) for name in ("fget", "fset", "fdel", "func")])
        elif isinstance(value, (staticmethod, classmethod)):
            self.add(_title(kind))
            self.value(value.__func__)
        elif isinstance(value, _TYPES_OF_TYPES):
            self.add(b"type", repr(value).encode())
        elif dataclasses.is_dataclass(value):
            self.add(b"dataclass")
            self.value(kind)
            self.value(
                {each.name: getattr(value, each.name, None) for each in dataclasses.fields(value)}
            )
            self.value(getattr(value, "__dict__", None))
        else:
            self._object(value, kind)

    def _part(self, value: Any) -> bytes:
        other = _State(self._files, self._whole)
        other.value(value)
        return other.digest()

    def _object(self, value: Any, kind: type) -> None:
        """Anything else: by what pickle would store."""
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
        if not _is_installed(kind.__module__):
            self.value(kind)
        for index, part in enumerate(reduced[:5]):
            self.value(list(part) if index > 2 and part is not None else part)

    def _path(self, path: PurePath) -> None:
        text = os.path.abspath(path)
        mode = os.stat(text).st_mode if os.path.exists(text) else 0
        if stat.S_ISREG(mode) and os.path.getsize(text):
            self.add(b"file", self._files.of(text))
            return
        # One that is empty, a folder, a pipe: it may be there to be written to.
        self.add(b"path", os.fsencode(text))
        if stat.S_ISDIR(mode):
            self.add(self._files.of(text))

    def _function(self, function: types.FunctionType) -> None:
        if _is_installed(function.__module__) and _is_there(function):
            self._installed(function)
            return
        self.add(b"function")
        self.value(function.__code__)
        for default in function.__defaults__ or ():
            self._reference(default)
        for key, default in sorted((function.__kwdefaults__ or {}).items()):
            self.add(key.encode())
            self._reference(default)
        for cell in function.__closure__ or ():
            self._whole.fixed = False  # it may hold something else at any time
            try:
                self.value(cell.cell_contents)
            except ValueError:  # it is empty
                self.add(b"empty")
        names = _global_names(function.__code__)
        self._look_up(function.__globals__, names)
        for name in sorted(_imports(function.__code__)):
            self._import(name)

    def _look_up(self, variables: dict[str, Any], names: list[str]) -> None:
        """Add what names mean in a module, and in modules of the program that they mean."""
        for name in names:
            value = variables.get(name, _ABSENT)
            self._whole.witnesses.append((variables, name, value))
            if value is _ABSENT:
                continue
            self.add(name.encode())
            if isinstance(value, types.ModuleType) and not _is_installed(value.__name__):
                if id(value) not in self._whole.seen:
                    self._whole.seen[id(value)] = len(self._whole.seen)
                    self._look_up(vars(value), names)
                    del self._whole.seen[id(value)]
            else:
                self._reference(value)

    def _reference(self, value: Any) -> None:
        """Add what a function refers to."""
        if type(value) is bytearray or not (type(value) in _SIMPLE or isinstance(value, _FIXED)):
            self._whole.fixed = False  # its content may change
        self.value(value)

    def _import(self, name: str) -> None:
        """Add a module that a function imports: one of the program by its source."""
        self.add(b"import", name.encode())
        if _is_installed(name):
            return
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, AttributeError, ValueError):
            return
        origin = None if spec is None or spec.origin is None else os.path.abspath(spec.origin)
        if origin is not None and os.path.isfile(origin) and not origin.startswith(_INSTALLED):
            self.add(self._files.of(origin))

    def _module(self, module: types.ModuleType) -> None:
        """A module as a value: one of the program by its source."""
        self._installed(module)
        file = getattr(module, "__file__", None)
        if not _is_installed(module.__name__) and file is not None and os.path.isfile(file):
            self.add(self._files.of(os.path.abspath(file)))

    def _code(self, code: types.CodeType) -> None:
        self.add(
            b"code", code.co_code, getattr(code, "co_exceptiontable", b""),
            str((code.co_flags, code.co_argcount, code.co_posonlyargcount)).encode(),
            str(code.co_kwonlyargcount).encode(), " ".join(code.co_names).encode(),
            " ".join(code.co_varnames).encode(), " ".join(code.co_freevars).encode(),
            " ".join(code.co_cellvars).encode(),
        )  # fmt: skip
        for each in code.co_consts:
            self.value(each)

    def _class(self, kind: type) -> None:
        if _is_installed(kind.__module__):
            self._installed(kind)
            return
        self._whole.fixed = False  # its attributes may change
        self.add(b"class", _title(kind))
        for base in kind.__bases__:
            if base is not object:
                self.value(base)
        for name, each in sorted(kind.__dict__.items()):
            if name in _NOT_OF_CLASSES or isinstance(each, _DESCRIPTORS):
                continue
            self.add(name.encode())
            with contextlib.suppress(InvalidTaskError):  # such as a lock: no content
                self.value(each)

    def _installed(self, value: Any) -> None:
        """What is told by its name and version."""
        if isinstance(value, types.ModuleType):
            name, module = "", value.__name__
        else:
            name, module = getattr(value, "__qualname__", ""), getattr(value, "__module__", "")
        version = _version_of((module or "").partition(".")[0])
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


_ABSENT = object()
_FIXED = (types.FunctionType, types.ModuleType, type)
_TYPES_OF_TYPES = (types.GenericAlias, types.UnionType, typing.TypeVar, type(typing.List[int]))  # noqa: UP006
_DESCRIPTORS = (
    types.MemberDescriptorType, types.GetSetDescriptorType, types.WrapperDescriptorType,
)  # fmt: skip
_NOT_OF_CLASSES = frozenset((
    "__annotations__", "__dict__", "__doc__", "__firstlineno__", "__module__", "__qualname__",
    "__static_attributes__", "__weakref__", "_abc_impl",
))  # fmt: skip


def _title(kind: type) -> bytes:
    return f"{kind.__module__}.{kind.__qualname__}".encode()


def _global_names(code: types.CodeType) -> list[str]:
    """The names of globals that some code may refer to, those of inner functions included."""
    names = set(code.co_names)
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            names.update(_global_names(each))
    return sorted(names)


def _imports(code: types.CodeType) -> set[str]:
    """The modules that some code imports, those of inner functions included."""
    names = {each.argval for each in dis.get_instructions(code) if each.opname == "IMPORT_NAME"}
    for each in code.co_consts:
        if isinstance(each, types.CodeType):
            names |= _imports(each)
    return {name for name in names if name}


def _is_there(function: types.FunctionType) -> bool:
    """Whether its module has this function under its name: it is none that was made by another."""
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is function


@functools.lru_cache(maxsize=10_000)
def _is_installed(module: str | None) -> bool:
    """Whether a module comes with Python or from a distribution: it does not change by itself."""
    if module is None or module == "__main__":
        return False
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return module in sys.builtin_module_names or module in sys.stdlib_module_names
    return bool(os.path.abspath(file).startswith(_INSTALLED))


@functools.lru_cache(maxsize=1000)
def _version_of(package: str) -> str:
    """The version of what is installed under that name."""
    version = getattr(sys.modules.get(package), "__version__", None)
    if version is None and package not in sys.stdlib_module_names:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError, ValueError):
            version = importlib.metadata.version(package)
    return str(version or "")


_INSTALLED = tuple(
    os.path.abspath(folder) + os.sep
    for folder in {
        *(sysconfig.get_paths()[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
        site.getusersitepackages(),
        os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    }
)
