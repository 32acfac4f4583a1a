"""Builtins: scalars at once, containers in steps."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dataflow.canonical.frames import Around, Encoded, Steps, buffer, frame, number, packed, text

_FEW = 16  # so many scalars are encoded at once


def _bool(value: bool) -> bytes:
    return b"bool:1:1" if value else b"bool:1:0"


def _int(value: int) -> bytes:
    digits = b"%x" % value  # hexadecimal: decimal digits are limited in number
    return b"int:%d:%b" % (len(digits), digits)


def _float(value: float) -> bytes:
    return b"float:8:" + number(value)


def _complex(value: complex) -> bytes:
    return b"complex:16:" + number(value.real) + number(value.imag)


def _str(value: str) -> bytes:
    return text(b"str", value)


def _range(value: range) -> bytes:
    # Equal ranges give the same numbers, however their stops were written.
    start, stop, step = value.start, value.stop, value.step
    count = max(0, (stop - start + step - (1 if step > 0 else -1)) // step)
    return frame(b"range", b"%x %x %x" % (count, start if count else 0, step if count > 1 else 0))


SCALARS: Mapping[type, Callable[[Any], bytes]] = {
    type(None): lambda value: b"none:0:",
    bool: _bool,
    int: _int,
    float: _float,
    complex: _complex,
    str: _str,
    bytes: lambda value: buffer(b"bytes", value),
    bytearray: lambda value: buffer(b"bytearray", value),
    range: _range,
    type(...): lambda value: b"ellipsis:0:",
    type(NotImplemented): lambda value: b"notimplemented:0:",
}
_scalar = SCALARS.get


def _sequence(tag: bytes, iterate: Callable[[Any], Iterable[object]]) -> Callable[[Any, Around], Encoded]:
    def encode(value: Any, around: Around) -> Encoded:
        return few(tag, value) or items(tag, iterate(value))

    return encode


def few(tag: bytes, values: Any) -> bytes | None:
    """A short sequence of scalars, at once; None for any other."""
    if len(values) > _FEW:
        return None
    parts = []
    for item in values:
        plain = _scalar(type(item))
        if plain is None:
            return None
        parts.append(plain(item))
    return packed(tag, parts)


def items(tag: bytes, values: Iterable[object], *first: bytes) -> Steps:
    """A sequence, after some parts."""
    parts = list(first)
    for place, item in enumerate(values):
        plain = _scalar(type(item))
        parts.append(plain(item) if plain is not None else (yield item, "[]", place))
    return packed(tag, parts)


def _dict(value: dict[object, object], around: Around) -> Steps:
    return pairs(b"dict", dict.items(value), ordered=False)


def pairs(tag: bytes, values: Iterable[tuple[object, object]], *first: bytes, ordered: bool) -> Steps:
    """Keys and values, after some parts."""
    parts = []
    for key, item in values:
        plain = _scalar(type(key))
        made = plain(key) if plain is not None else (yield key, " key ", f"{type(key).__qualname__}")
        plain = _scalar(type(item))
        parts.append(made + (plain(item) if plain is not None else (yield item, "[]", key)))
    return packed(tag, (*first, *(parts if ordered else sorted(parts))))


def attributes(tag: bytes, values: Iterable[tuple[str, object]], *first: bytes) -> Steps:
    """Names and values of an object's parts, in this order."""
    parts = list(first)
    for name, item in values:
        parts.append(_str(name))
        parts.append((yield item, ".", name))
    return packed(tag, parts)


def _set(tag: bytes) -> Callable[[Any, Around], Steps]:
    def encode(value: Any, around: Around) -> Steps:
        parts = []
        for item in value:
            plain = _scalar(type(item))
            parts.append(plain(item) if plain is not None else (yield item, "", "item"))
        return packed(tag, sorted(parts))

    return encode


def _memoryview(value: memoryview, around: Around) -> bytes:
    head = f"{value.format} {value.shape}".encode()
    return packed(b"memoryview", (frame(b"head", head), buffer(b"data", value.tobytes())))


def _slice(value: slice, around: Around) -> Steps:
    return items(b"slice", (value.start, value.stop, value.step))


CONTAINERS: Mapping[type, Callable[[Any, Around], Encoded]] = {
    list: _sequence(b"list", list.__iter__),
    tuple: _sequence(b"tuple", tuple.__iter__),
    dict: _dict,
    set: _set(b"set"),
    frozenset: _set(b"frozenset"),
    memoryview: _memoryview,
    slice: _slice,
}
