"""Dataclass and pydantic values as JSON that names their class, where nothing is lost by that.

    {"type":"package.module:Class","value":{…}}

How fields are written and read back, their annotations say, by pydantic. Whether that loses something is found out by
doing it: a value is written so only if what comes back is the same, type by type. Which of a model's fields were set
explicitly is not kept, as it does not count when models are compared.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import importlib
import json
import pathlib
import sys
import uuid
from types import ModuleType
from typing import TYPE_CHECKING, Any

from dataflow_storage.hashing import Buffer

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = ["is_typed", "same", "to_plain", "typed_dumps", "typed_exact", "typed_loads"]

_BETWEEN = b',"value":'
_LARGEST = 1 << 16  # bytes; above it pickle is the faster way to be lossless


def _is_model(kind: type) -> bool:
    pydantic = sys.modules.get("pydantic")  # who has such a value has imported it
    return pydantic is not None and issubclass(kind, pydantic.BaseModel)


def is_typed(value: object) -> bool:
    """Say whether a value is of a dataclass or a pydantic model.

    Examples
    --------
    >>> is_typed(1), is_typed(dataclasses.make_dataclass("Point", ["x"])(1))
    (False, True)
    """
    kind = type(value)
    return dataclasses.is_dataclass(kind) or _is_model(kind)


def to_plain(value: object) -> object:
    """Take a dataclass or pydantic value apart, one level or all: a dict that JSON can be made of.

    Raises
    ------
    TypeError
        It is neither.
    """
    if _is_model(type(value)):
        plain: object = value.model_dump(mode="json")  # type: ignore[attr-defined]
        return plain
    if dataclasses.is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
    raise TypeError(f"{type(value).__qualname__} is neither a dataclass nor a pydantic model")


def typed_exact(value: object) -> bool:
    """Say whether a value comes back the same, in any process that can import its class."""
    kind = type(value)
    if not is_typed(value) or not _is_importable(kind):
        return False
    try:
        parts = typed_dumps(value)
        return sum(map(len, parts)) <= _LARGEST and same(typed_loads(parts), value)
    except Exception:  # a type that pydantic does not know, a validator that refuses, a class that cannot be made
        return False


def _is_importable(kind: type) -> bool:
    module = sys.modules.get(kind.__module__)
    if module is None or kind.__module__ in ("__main__", "__mp_main__") or getattr(module, "__spec__", None) is None:
        return False
    registered = getattr(sys.modules.get("cloudpickle"), "list_registry_pickle_by_value", None)
    by_value: set[str] = registered() if registered else set()
    parents = kind.__module__.split(".")
    if any(".".join(parents[:length]) in by_value for length in range(1, len(parents) + 1)):
        return False
    return _named(module, kind.__qualname__) is kind


def _named(module: ModuleType, qualname: str) -> object:
    found: object = module
    for name in qualname.split("."):
        found = getattr(found, name, None)
    return found


def typed_dumps(value: object) -> list[Buffer]:
    """Write a dataclass or pydantic value with the name of its class."""
    kind = type(value)
    name = json.dumps(f"{kind.__module__}:{kind.__qualname__}").encode()
    # A field that is not what its annotation says is an error: it would come back as something else.
    return [b'{"type":' + name + _BETWEEN, _adapter(kind).dump_json(value, warnings="error"), b"}"]


def typed_loads(data: Buffer | list[Buffer]) -> object:
    """Read what `typed_dumps` wrote; only a dataclass or a pydantic model is ever made.

    Raises
    ------
    TypeError
        The class that it names is neither.
    """
    text = b"".join(data) if isinstance(data, list) else bytes(data)
    head, _, rest = text.partition(_BETWEEN)
    module, _, qualname = str(json.loads(head + b"}")["type"]).partition(":")
    kind = _named(importlib.import_module(module), qualname)
    if not isinstance(kind, type) or not (dataclasses.is_dataclass(kind) or _is_model(kind)):
        raise TypeError(f"{module}:{qualname} is neither a dataclass nor a pydantic model")
    value: object = _adapter(kind).validate_json(rest[:-1])
    return value


def _adapter(kind: type) -> TypeAdapter[Any]:
    found = _made(kind)
    if isinstance(found, Exception):
        raise TypeError(f"pydantic does not know how to write a {kind.__qualname__}: {found}") from found
    return found


@functools.lru_cache(maxsize=256)
def _made(kind: type) -> TypeAdapter[Any] | Exception:
    from pydantic import TypeAdapter

    try:
        return TypeAdapter(kind)
    except Exception as error:  # a field of a type without a schema; remembered, because finding out takes long
        return error


# --- the same -------------------------------------------------------------------------------------------------------

_BY_TEXT = (datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, uuid.UUID, pathlib.PurePath)
_KEYS = (int, str, bytes)
_MODEL = ("__pydantic_extra__", "__pydantic_private__")


def same(one: object, other: object) -> bool:
    """Say whether two values are equal, type by type, to the bottom; of a type that is not known here: no.

    Examples
    --------
    >>> same([1, {"a": 0.5}], [1, {"a": 0.5}]), same(1, 1.0), same(0.0, -0.0), same({"a": 1, "b": 2}, {"b": 2, "a": 1})
    (True, False, False, False)
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, enum.Enum):
        return one is other
    kind = type(one)
    if one is None or kind in (bool, int, str, bytes):
        return one == other
    if kind is float or (kind.__module__ in _PLAIN_MODULES and isinstance(one, _BY_TEXT)):
        return repr(one) == repr(other) and type(_zone(one)) is type(_zone(other))
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return kind in (list, tuple) and len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return kind is dict and same(list(one.items()), list(other.items()))
    if isinstance(one, set | frozenset) and isinstance(other, set | frozenset):
        return kind in (set, frozenset) and one == other and all(type(item) in _KEYS for item in (*one, *other))
    return is_typed(one) and same(_state(one), _state(other))


_PLAIN_MODULES = frozenset({"datetime", "decimal", "uuid", "pathlib", "pathlib._local"})


def _zone(value: object) -> object:
    return getattr(value, "tzinfo", None)


def _state(value: object) -> object:
    state = [getattr(value, name, None) for name in _MODEL] if _is_model(type(value)) else []
    if dataclasses.is_dataclass(value):
        state += [getattr(value, each.name) for each in dataclasses.fields(value)]
    return [*state, dict(sorted(getattr(value, "__dict__", {}).items()))]
