"""The standard library's value types, enums, dataclasses, pydantic models, and classes that build on builtins."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import fractions
import functools
import pathlib
import re
import types
import uuid
import zoneinfo
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from dataflow.canonical.frames import Around, Encoded, Refused, Steps, frame, named, packed, text
from dataflow.canonical.plain import SCALARS, attributes, items, pairs
from dataflow.canonical.reach import class_of

_MICROSECOND = datetime.timedelta(microseconds=1)


def zone_name(zone: object) -> str:
    """What a time zone is called; two of one name are one zone.

    Raises
    ------
    Refused
        It has no name that tells which it is.
    """
    if isinstance(zone, datetime.timezone):
        return str(zone)
    key = getattr(zone, "key", None) or getattr(zone, "zone", None)  # of zoneinfo, of pytz
    if isinstance(key, str):
        return key
    if type(zone).__qualname__ == "tzutc":  # of dateutil
        return "UTC"
    raise Refused(zone, "it is a time zone without a name; use zoneinfo.ZoneInfo")


def _zone(value: datetime.tzinfo, around: Around) -> bytes:
    fixed = value.utcoffset(None) if isinstance(value, datetime.timezone) else None
    return packed(b"zone", (named(type(value)), text(b"name", zone_name(value)), text(b"offset", repr(fixed))))


def _datetime(value: datetime.datetime, around: Around) -> bytes:
    if value.tzinfo is None:
        return text(b"datetime", f"{value.isoformat()} {value.fold}")
    # A wall time, its offset and its zone are the instant and the zone; an instant in UTC may leave the calendar.
    offset = value.utcoffset() or datetime.timedelta()
    wall = value.replace(tzinfo=None).isoformat()
    return text(b"datetime in zone", f"{wall} {offset // _MICROSECOND} {zone_name(value.tzinfo)}")


def _time(value: datetime.time, around: Around) -> bytes:
    zone = "" if value.tzinfo is None else f"{zone_name(value.tzinfo)} {value.utcoffset()}"
    return text(b"time", f"{value.replace(tzinfo=None).isoformat()} {value.fold} {zone}")


def _path(value: pathlib.PurePath, around: Around) -> bytes:
    flavour = b"windows path" if isinstance(value, pathlib.PureWindowsPath) else b"posix path"
    return text(flavour, pathlib.PurePath.as_posix(value))


def _pattern(value: re.Pattern[Any], around: Around) -> Steps:
    return items(b"pattern", (value.pattern, int(value.flags)))


def _deque(value: collections.deque[object], around: Around) -> Steps:
    return items(b"deque", list(value), SCALARS[type(value.maxlen)](value.maxlen))


def _ordered(value: collections.OrderedDict[object, object], around: Around) -> Steps:
    return pairs(b"ordered dict", collections.OrderedDict.items(value), ordered=True)


def _defaultdict(value: collections.defaultdict[object, object], around: Around) -> Steps:
    factory = yield value.default_factory, ".", "default_factory"
    return (yield from pairs(b"defaultdict", dict.items(value), factory, ordered=False))


def _counter(value: collections.Counter[object], around: Around) -> Steps:
    return pairs(b"counter", value.items(), ordered=False)


def _proxy(value: Mapping[object, object], around: Around) -> Steps:
    return pairs(b"mapping proxy", value.items(), ordered=False)


def _namespace(value: types.SimpleNamespace, around: Around) -> Steps:
    return attributes(b"namespace", sorted(vars(value).items()))


def _partial(value: functools.partial[object], around: Around) -> Steps:
    named_arguments = sorted(value.keywords.items())
    return attributes(
        b"partial", [("func", value.func), ("args", value.args), *((f"keywords[{k!r}]", v) for k, v in named_arguments)]
    )


VALUES: Mapping[type, Callable[[Any, Around], Encoded]] = {
    datetime.date: lambda value, around: text(b"date", value.isoformat()),
    datetime.datetime: _datetime,
    datetime.time: _time,
    datetime.timedelta: lambda value, around: frame(b"timedelta", b"%d" % (value // _MICROSECOND)),
    datetime.timezone: _zone,
    zoneinfo.ZoneInfo: _zone,
    decimal.Decimal: lambda value, around: text(b"decimal", decimal.Decimal.__str__(value)),
    fractions.Fraction: lambda value, around: frame(b"fraction", b"%x/%x" % (value.numerator, value.denominator)),
    uuid.UUID: lambda value, around: frame(b"uuid", value.bytes),
    **dict.fromkeys(
        (
            pathlib.PurePath,
            pathlib.PurePosixPath,
            pathlib.PureWindowsPath,
            pathlib.Path,
            pathlib.PosixPath,
            pathlib.WindowsPath,
        ),
        _path,
    ),
    re.Pattern: _pattern,
    collections.deque: _deque,
    collections.OrderedDict: _ordered,
    collections.defaultdict: _defaultdict,
    collections.Counter: _counter,
    types.MappingProxyType: _proxy,
    types.SimpleNamespace: _namespace,
    functools.partial: _partial,
}


# --- what users define ----------------------------------------------------------------------------------------------


def member(value: enum.Enum, around: Around) -> Steps:
    """An enum's member: its class, its name and its value."""
    return attributes(b"enum", [("name", value._name_), ("value", value._value_)], class_of(value, around))


def dataclass_instance(value: Any, around: Around) -> Steps:
    """A dataclass's instance: its class and its fields."""
    missing = object()
    found = [(field.name, getattr(value, field.name, missing)) for field in dataclasses.fields(value)]
    return attributes(b"dataclass", [pair for pair in found if pair[1] is not missing], class_of(value, around))


def model(value: Any, around: Around) -> Steps:
    """A pydantic model: its class, its fields, what is extra and what is private."""
    fields = [(name, vars(value)[name]) for name in type(value).model_fields if name in vars(value)]
    extra = sorted((value.__pydantic_extra__ or {}).items())
    private = sorted((value.__pydantic_private__ or {}).items())
    head = frame(b"sizes", b"%d %d %d" % (len(fields), len(extra), len(private)))
    return attributes(b"model", [*fields, *extra, *private], class_of(value, around), head)


def tokenized(value: Any, around: Around) -> Steps:
    """An object that says itself what it is, in Dask's way."""
    try:
        told = value.__dask_tokenize__()
    except Exception as error:
        raise Refused(value, f"its __dask_tokenize__ failed: {type(error).__name__}: {error}") from error
    return attributes(b"token", [("__dask_tokenize__()", told)], named(type(value)))


def derived(value: Any, around: Around, content: Callable[[Any, Around], Encoded]) -> Steps:
    """An instance of a class that is built on a type with an encoding: its class, that encoding, and its attributes."""
    made = content(value, around)
    inside = made if isinstance(made, bytes) else (yield from made)
    return (yield from attributes(b"instance", sorted(_state(value)), class_of(value, around), inside))


def _state(value: object) -> Iterator[tuple[str, object]]:
    yield from getattr(value, "__dict__", {}).items()
    for kind in type(value).__mro__:
        slots = vars(kind).get("__slots__", ()) if kind.__module__ not in _BUILT_IN else ()
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__") and hasattr(value, name):
                yield name, getattr(value, name)


_BUILT_IN = frozenset({"builtins", *(kind.__module__ for kind in VALUES)})
