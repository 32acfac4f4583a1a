"""The formats of Python's own types: pickle, JSON, text, bytes. As in `formats`, `*_exact` means "comes back equal"."""

from __future__ import annotations

import enum
import json
import math
import pickle
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from dataflow_storage import formats, typed
from dataflow_storage.hashing import Buffer

__all__ = [
    "anything",
    "bytes_dumps",
    "bytes_exact",
    "is_bytes",
    "is_text",
    "json_dumps",
    "json_exact",
    "json_loads",
    "jsonl_dumps",
    "jsonl_loads",
    "pickle_dumps",
    "text_dumps",
    "text_exact",
    "text_loads",
]


def anything(value: object) -> bool:
    """Take every value and leave it to the writer to refuse."""
    return True


# --- pickle ---------------------------------------------------------------------------------------------------------


def pickle_dumps(value: object) -> bytes:
    """Pickle a value so that a process without our ``__main__`` can load it.

    Examples
    --------
    >>> pickle.loads(pickle_dumps(lambda: 1))()
    1
    """
    if isinstance(value, BaseException):
        return _pickle_exception(value)
    if isinstance(value, set | frozenset) and type(value) in (set, frozenset):
        return _pickle(_Ordered(value))
    return _pickle(value)


def _pickle(value: object) -> bytes:
    # Plain pickle takes a microsecond, cloudpickle ten or more. It is right unless it would refer by name to what
    # another process cannot import: things of __main__, and of modules that are registered to travel by value.
    registered = getattr(sys.modules.get("cloudpickle"), "list_registry_pickle_by_value", None)
    if not (registered and registered()):
        try:
            data = pickle.dumps(value, protocol=5)
            if b"__main__" not in data:
                return data
        except Exception:  # a lambda, a local class: cloudpickle can, or says why not
            pass
    import cloudpickle

    copy: bytes = cloudpickle.dumps(value, protocol=5)
    return copy


def _pickle_exception(error: BaseException) -> bytes:
    # Many exceptions pickle but cannot be rebuilt, because their __init__ takes other arguments than .args.
    try:
        data = _pickle(error)
        if type(pickle.loads(data)).__qualname__ == type(error).__qualname__:
            return data
    except Exception:  # it cannot be pickled, or not be rebuilt, as it is: another way follows
        pass
    return _pickle(_Rebuilt(error))


class _Ordered:
    """Pickles as the set that it holds, in order if there is one: its own order differs from process to process."""

    def __init__(self, items: set[object] | frozenset[object]) -> None:
        self._items = items

    def __reduce__(self) -> tuple[object, ...]:
        kinds = set(map(type, self._items))
        ordered = sorted(self._items) if len(kinds) == 1 and kinds <= {str, int, bytes} else list(self._items)  # type: ignore[type-var]
        return type(self._items), (ordered,)


class _Rebuilt:
    """Pickles as the exception it holds, past that one's __init__ and __reduce__."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __reduce__(self) -> tuple[object, ...]:
        error = self._error
        return _rebuild, (type(error), error.args, dict(error.__dict__))


def _rebuild(kind: type[BaseException], args: tuple[object, ...], state: dict[str, object]) -> BaseException:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


# --- JSON -----------------------------------------------------------------------------------------------------------

_NODES = 1000  # above it pickle is the faster way to be lossless
_DEPTH = 50
_BITS = 1024  # Python refuses to parse integers of more than 4300 digits


def json_exact(value: object) -> bool:
    """Say whether a value comes back from JSON equal, type by type, and is small enough for that to be worthwhile.

    Examples
    --------
    >>> json_exact({"a": [1, None, 0.5]}), json_exact((1, 2)), json_exact({1: "a"}), json_exact(float("nan"))
    (True, False, False, False)
    """
    if type(value) in _SCALARS:
        return _leaf(value)
    level: list[object] = [value]
    seen: set[int] = set()
    nodes = 1
    for _ in range(_DEPTH):
        if not all(map(_leaf, level)):
            return False
        containers = [item for item in level if isinstance(item, list | dict) and item]
        if not containers:
            return True
        # The same list twice would come back as two lists; a list in itself never would.
        ids = set(map(id, containers))
        nodes += sum(map(len, containers))
        if nodes > _NODES or len(ids) < len(containers) or ids & seen:
            return False
        seen |= ids
        level = [child for item in containers for child in (item.values() if isinstance(item, dict) else item)]
    return False


def _leaf(item: object) -> bool:
    """Say whether an item is fine as far as it can be seen without looking into a list, or at the values of a dict."""
    kind = type(item)
    if kind is str and isinstance(item, str):
        return _is_utf8(item)
    if kind is int and isinstance(item, int):
        return item.bit_length() <= _BITS
    if kind is float and isinstance(item, float):
        return math.isfinite(item)
    if kind is dict and isinstance(item, dict):
        return len(item) <= _NODES and all(type(key) is str and _is_utf8(key) for key in item)
    return item is None or kind is bool or kind is list


def _is_utf8(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


def _default(value: object) -> object:
    # What people have in results and mean as plain JSON. Only for those who asked for JSON: "auto" never comes here.
    if isinstance(value, enum.Enum):
        return value.value
    if typed.is_typed(value):
        return typed.to_plain(value)
    if formats.comes_from(value, "numpy") and hasattr(value, "tolist"):
        plain: object = value.tolist()
        return plain
    if hasattr(value, "isoformat"):
        text: object = value.isoformat()
        return text
    raise TypeError(f"JSON has no {type(value).__qualname__}")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_default).encode
# What the encoder, which is made anew for each value, writes for these.
_SCALARS: Mapping[type, Callable[[Any], str]] = {
    int: int.__repr__,
    bool: lambda value: "true" if value else "false",
    float: lambda value: float.__repr__(value) if math.isfinite(value) else _encode(value),
    type(None): lambda value: "null",
}


def json_dumps(value: object) -> bytes:
    """Write compact JSON; dates become ISO text, arrays lists, enums their values, and dataclass values dicts."""
    scalar = _SCALARS.get(type(value))
    if scalar is not None:
        return scalar(value).encode()
    return _encode(value).encode()


def json_loads(data: Buffer) -> object:
    """Read JSON."""
    value: object = json.loads(str(data, "utf-8"))
    return value


def jsonl_dumps(value: object) -> bytes:
    """Write one line of JSON for each row."""
    return "".join(f"{_encode(row)}\n" for row in formats.rows(value)).encode()


def jsonl_loads(data: Buffer) -> object:
    """Read lines of JSON as a list."""
    return [json.loads(line) for line in bytes(data).splitlines() if line.strip()]


# --- text and bytes -------------------------------------------------------------------------------------------------


def is_text(value: object) -> bool:
    """Say whether a value is text."""
    return isinstance(value, str)


def text_exact(value: object) -> bool:
    """Say whether text is plain `str` that UTF-8 can hold."""
    return type(value) is str and isinstance(value, str) and _is_utf8(value)


def text_dumps(value: object) -> bytes:
    """Write text as UTF-8."""
    return str(value).encode()


def text_loads(data: Buffer) -> object:
    """Read UTF-8."""
    return str(data, "utf-8")


def is_bytes(value: object) -> bool:
    """Say whether a value is bytes of any class."""
    return isinstance(value, bytes | bytearray | memoryview)


def bytes_exact(value: object) -> bool:
    """Say whether a value is plain `bytes`."""
    return type(value) is bytes


def bytes_dumps(value: object) -> bytes | Sequence[Buffer]:
    """Write bytes as they are, without a copy."""
    return value if isinstance(value, bytes) else [memoryview(value)]  # type: ignore[arg-type]
