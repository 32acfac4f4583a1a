"""What a function does, with all that it reaches of its user's code: functions, classes, constants, each a part.

The user's code is the function's own package, and every module that is neither Python's nor installed.

Parts refer to each other by name, so that cycles cost nothing and a change is seen where it is.
"""

from __future__ import annotations

import enum
import functools
import hashlib
import importlib
import importlib.util
import sys
import threading
import types
from collections.abc import Callable, Iterable, Mapping
from weakref import WeakKeyDictionary

from dataflow.canonical.bytecode import Scan, scan
from dataflow.canonical.frames import Around, frame, named, packed, text
from dataflow.canonical.members import members
from dataflow.errors import NotCanonical

_OURS = frozenset({"dataflow", "dataflow_executors", "dataflow_storage"})


def module_of(function: types.FunctionType) -> str:
    """Where a function was written; its `__module__` is that of what it wraps."""
    name = function.__globals__.get("__name__")
    return name if isinstance(name, str) else function.__module__ or ""


def is_installed(module: str | None) -> bool:
    """Whether a module is Python's own or an installed package, not the user's code."""
    top = (module or "builtins").partition(".")[0]
    if top in sys.stdlib_module_names or top in _OURS:
        return True
    found = sys.modules.get(top)
    places = [getattr(found, "__file__", None) or "", *getattr(found, "__path__", ())]
    return any("site-packages" in place or "dist-packages" in place for place in places)


def is_task(value: object) -> bool:
    """Whether `@task` or `@flow` made it."""
    return any(
        (base.__module__, base.__qualname__) in (("dataflow.task", "Task"), ("dataflow.flow", "Flow"))
        for base in type(value).__mro__
    )


_classes: WeakKeyDictionary[type, bytes] = WeakKeyDictionary()
_reading = threading.local()


def class_of(value: object, around: Around) -> bytes:
    """What stands for the class of an instance: its name, and its code where it is the user's.

    What was read once is not read again until `forget`.
    """
    kind = type(value)
    if is_installed(kind.__module__):
        return named(kind)
    known = _classes.get(kind)
    if known is None:
        open_: set[type] = vars(_reading).setdefault("classes", set())
        if kind in open_:  # it holds an instance of itself
            return named(kind)
        open_.add(kind)
        try:
            known = _classes[kind] = text(b"class", Reach(kind, around).hash()) + named(kind)
        finally:
            open_.discard(kind)
    return known


def forget() -> None:
    """Read classes anew: what their methods reach may have changed since."""
    _classes.clear()


class Reach:
    """The parts of a function.

    Parameters
    ----------
    root : callable
        A function, a class, or anything that is called like one.
    around : Around
        Encodes constants.

    State: `parts`, digests by name relative to the top package, the root first, under no name; `unhashable`, names of
    what counts and has no digest; `home`, the top package whose code counts; `_names`, what was reached, by identity,
    and its name; `_queue`, what is still to be read.
    """

    def __init__(self, root: Callable[..., object], around: Around) -> None:
        self._around = around
        self.parts: dict[str, str] = {"": ""}
        self.unhashable: list[str] = []
        core = _core(root)
        self.home = _where(core).partition(".")[0]
        self._walks = self.home not in sys.stdlib_module_names and self.home not in _OURS
        self._names: dict[int, tuple[str, object]] = {}
        self._queue: list[tuple[str, types.FunctionType | type]] = []
        self.root = _where(core)
        if isinstance(root, types.FunctionType | type):
            self._names[id(root)] = "", root
            self._queue.append(("", root))
        else:
            self.root += f" ({type(root).__qualname__})"
            self.parts[""] = _hex(self._object(root))
        while self._queue:
            name, found = self._queue.pop(0)
            made = self._function(name, found) if isinstance(found, types.FunctionType) else self._class(name, found)
            self.parts[name] = _hex(made)

    def hash(self) -> str:
        """The SHA-256 of all parts (hex)."""
        return hash_parts(self.parts)

    def named(self) -> dict[str, str]:
        """The parts by their full names, the root first."""
        return {self._full(name) if name else self.root: digest for name, digest in self.parts.items()}

    def _full(self, name: str) -> str:
        return name[1:] if name.startswith("/") else f"{self.home}.{name}"

    # What is found ----------------------------------------------------------------------------------------------------

    def _is_own(self, module: str | None) -> bool:
        if not self._walks or module is None:
            return False
        return module == self.home or module.startswith(f"{self.home}.") or not is_installed(module)

    def _note(self, value: object) -> bytes | None:
        """What stands for a function or class that is met; of our own package, it is read later."""
        told = self._around.special(value) if self._around.special is not None else None
        if told is not None:
            return b"special:%d:%b" % (len(told), told)
        if isinstance(value, types.FunctionType):
            module = module_of(value)
            if self._is_own(module) or value.__closure__ or hasattr(value, "__wrapped__"):
                return self._refer(value)
            return text(b"function", _where(value))
        if isinstance(value, type):
            return self._refer(value) if self._is_own(value.__module__) else named(value)
        if isinstance(value, enum.Enum) and self._is_own(type(value).__module__):
            return packed(b"member", (self._refer(type(value)), text(b"name", str(value._name_))))
        return None

    def _refer(self, value: types.FunctionType | type) -> bytes:
        known = self._names.get(id(value))
        if known is None:
            name = self._free(self._short(_where(value)))
            self._names[id(value)] = known = name, value
            self.parts[name] = ""
            self._queue.append((name, value))
        return text(b"part", known[0])

    def _short(self, name: str) -> str:
        """Relative to the own package, so that a script has the same parts when it is imported; else after a slash."""
        return name.removeprefix(f"{self.home}.") if name.startswith(f"{self.home}.") else f"/{name}"

    def _free(self, name: str) -> str:
        """A name that no other part has: functions of one name are numbered as they are met."""
        number, free = 1, name
        while free in self.parts or free == self._short(self.root):
            number += 1
            free = f"{name}#{number}"
        return free

    def _encode(self, value: object) -> bytes:
        return self._around.encode(value, self._note)

    def _held(self, value: object, label: str) -> bytes:
        """What a function holds: a default, a variable around it. It counts, so it must have a digest."""
        try:
            return self._encode(value)
        except NotCanonical:
            self.unhashable.append(label)
            return self._by_class(value)

    def _by_class(self, value: object) -> bytes:
        kind = type(value)
        return packed(b"instance", [self._refer(kind) if self._is_own(kind.__module__) else named(kind)])

    def _object(self, root: object) -> bytes:
        """A callable that is neither function nor class: a partial, a method, a Task, an object with `__call__`."""
        try:
            made = self._encode(root)
        except NotCanonical:
            if isinstance(root, types.MethodType):
                return packed(b"method", (self._encode(root.__func__), self._object(root.__self__)))
            kind = type(root)
            plain = self._is_own(kind.__module__) and not any("__slots__" in vars(base) for base in kind.__mro__)
            made = self._held(vars(root) if plain else root, kind.__qualname__)
        return packed(b"object", (made, self._by_class(root)))

    # What is read -----------------------------------------------------------------------------------------------------

    def _function(self, name: str, function: types.FunctionType) -> bytes:
        label = f"{self._full(name)}: " if name else ""
        code = function.__code__
        own = self._is_own(module_of(function)) or not name
        read = scan(code) if own else Scan(body=text(b"function", _where(function)))
        made = [read.body]
        for variable, value in _defaults(function):
            made += text(b"default", variable), self._held(value, label + variable)
        for variable, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
            try:
                held = cell.cell_contents
            except ValueError:  # a variable that has no value yet
                continue
            # What another package's wrapper holds is its own affair, but for functions.
            made += text(b"variable", variable), self._held(held, label + variable) if own else self._met(held)
        if hasattr(function, "__wrapped__"):
            made += frame(b"wraps"), self._met(function.__wrapped__)
        if own and self._walks:
            made += self._looked_up(read, function.__globals__)
        return packed(b"function", made)

    def _met(self, value: object) -> bytes:
        try:
            return self._encode(value)
        except NotCanonical:
            return self._by_class(value)

    def _looked_up(self, read: Scan, names: Mapping[str, object]) -> Iterable[bytes]:
        module = str(names.get("__name__", self.home))
        seen: set[str] = set()
        for variable in read.globals:
            if variable in names and not variable.startswith("__"):
                yield text(b"global", variable)
                yield self._global(names[variable], module, variable, read, seen)
        for name, level, taken in read.imports:
            for found in self._imported(name, level, taken, names):
                yield from self._module(found, read, seen)

    def _global(self, value: object, module: str, variable: str, read: Scan, seen: set[str]) -> bytes:
        if isinstance(value, types.ModuleType):
            return packed(b"module", (text(b"name", self._short(value.__name__)), *self._module(value, read, seen)))
        noted = self._note(value)
        if noted is not None:
            return noted
        # Its class's code counts too, where it is ours.
        kind = self._by_class(value)
        try:
            made = self._state(value)
        except NotCanonical:
            # A thing of an installed package is a tool, such as a logger or a client; what is the user's is data.
            if self._is_own(type(value).__module__) or isinstance(value, dict | list | tuple | set | frozenset):
                self.unhashable.append(self._short(f"{module}.{variable}").lstrip("/"))
            return kind
        if callable(value):  # what it wraps is a part
            return packed(b"callable", (made, kind))
        name, digest = self._short(f"{module}.{variable}"), _hex(made)
        if self.parts.get(name) != digest:
            name = self._free(name)
            self.parts[name] = digest
        return packed(b"constant", (text(b"part", name), kind))

    def _state(self, value: object) -> bytes:
        """A value; of an instance of a plain class of the user's, what it holds."""
        try:
            return self._encode(value)
        except NotCanonical:
            kind = type(value)
            if not self._is_own(kind.__module__) or any("__slots__" in vars(base) for base in kind.__mro__):
                raise
            return self._encode(vars(value))

    def _module(self, module: types.ModuleType, read: Scan, seen: set[str]) -> Iterable[bytes]:
        """What may be looked up in a module of ours: whatever has a name that the function uses."""
        if not self._is_own(module.__name__) or module.__name__ in seen:
            return
        seen.add(module.__name__)
        held = vars(module)
        for variable in sorted(read.names):
            if variable in held and not variable.startswith("__"):
                yield text(b"global", variable)
                yield self._global(held[variable], module.__name__, variable, read, seen)

    def _imported(
        self, name: str, level: int, taken: tuple[str, ...], names: Mapping[str, object]
    ) -> Iterable[types.ModuleType]:
        """The modules of ours that an import in a function's body brings; it would import them as well."""
        package = str(names.get("__package__") or str(names.get("__name__", "")).rpartition(".")[0])
        try:
            full = importlib.util.resolve_name("." * level + name, package) if level else name
        except ImportError:
            return
        if not self._is_own(full) or full == "__main__":
            return
        for one in (full, *(f"{full}.{part}" for part in taken if part != "*")):
            parent = sys.modules.get(full)
            if one != full and (parent is None or hasattr(parent, one.rpartition(".")[2])):
                continue
            try:
                yield importlib.import_module(one)
            except Exception:  # it may be installed on workers only: then its name counts
                return

    def _class(self, name: str, found: type) -> bytes:
        made: list[bytes] = []
        for base in (*found.__bases__, type(found)):
            made += frame(b"base"), self._note(base) or named(base)
        for member, value in members(found):
            made += text(b"member", member), self._met(value)
        return packed(b"class", made)


def hash_parts(parts: Mapping[str, str]) -> str:
    """The SHA-256 of parts (hex): the first is the function itself, whatever it is called."""
    (_, root), *others = parts.items()
    return _hex(packed(b"parts", (text(b"root", root), *(text(b"part", f"{k} {v}") for k, v in sorted(others)))))


def _hex(made: bytes) -> str:
    return hashlib.sha256(made).hexdigest()


def _where(found: object) -> str:
    if isinstance(found, types.FunctionType):
        return f"{module_of(found)}.{found.__code__.co_qualname}"
    return f"{getattr(found, '__module__', None) or 'builtins'}.{getattr(found, '__qualname__', '')}"


def _core(value: object) -> object:
    """The innermost function of something callable."""
    for _ in range(1000):
        inner = getattr(value, "__wrapped__", None)
        if isinstance(value, functools.partial):
            inner = value.func
        elif isinstance(value, types.MethodType):
            inner = value.__self__ if is_task(value.__self__) else value.__func__
        elif is_task(value):
            inner = value.fn  # type: ignore[attr-defined]
        if inner is None:
            break
        value = inner
    return value if isinstance(value, types.FunctionType | type | types.BuiltinFunctionType) else type(value)


def _defaults(function: types.FunctionType) -> Iterable[tuple[str, object]]:
    code, values = function.__code__, function.__defaults__ or ()
    names = code.co_varnames[: code.co_argcount]
    yield from zip(names[len(names) - len(values) :], values, strict=True)
    yield from sorted((function.__kwdefaults__ or {}).items())
