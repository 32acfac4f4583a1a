"""The walk over a value: with a stack of its own, so that depth costs no recursion and errors know where."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TypeAlias

from dataflow.canonical.frames import Around, Encoded, Refused, Special, Steps, name_of
from dataflow.canonical.kinds import encoder
from dataflow.canonical.plain import SCALARS
from dataflow.errors import NotCanonical

# An encoder that is under way, its object, and the way to that.
_Open: TypeAlias = tuple[Steps, object, str, object]
# A change of any encoding changes this, so that digests of old and new never meet.
_FORMAT = b"dataflow canonical 1\n"


def digest(value: object, *, special: Special | None = None, name: str = "argument") -> str:
    """The SHA-256 of a value, the same for equal values of the same types, in every process and on every machine.

    The order of dicts and sets, the memory layout of arrays and the chunks of Arrow data do not matter; all NaN are
    one. Values that compare equal and act differently have different digests: ``1``, ``1.0`` and ``True``; ``0.0`` and
    ``-0.0``; ``Decimal("1.0")`` and ``Decimal("1.00")``. An instance counts by its class's name and its fields,
    a function or class by its code.

    Parameters
    ----------
    value : object
        Plain data, the standard library's value types, enums, dataclasses, pydantic models, NumPy, pandas and Arrow
        data, functions and classes, and objects whose class has a `__dask_tokenize__`; nested.
    special : callable(object) -> bytes or None, optional
        Is asked first for every object that is not a plain scalar or container: bytes stand for the object.
    name : str
        What errors call the value.

    Returns
    -------
    str
        64 hex digits.

    Raises
    ------
    NotCanonical
        Something in the value has no digest, or contains itself; it says where.

    Examples
    --------
    >>> digest({"a": 1, "b": {2, 3}}) == digest({"b": {3, 2}, "a": 1})
    True
    >>> digest([1]) == digest([1.0]), digest([1]) == digest((1,))
    (False, False)
    >>> digest({"config": [object()]})
    Traceback (most recent call last):
        ...
    dataflow.errors.NotCanonical: argument['config'][0] (a object) has no digest. Leave the argument out ...
    """
    return hashlib.sha256(_FORMAT + encode(value, special, name)).hexdigest()


def encode(value: object, special: Special | None, name: str = "argument") -> bytes:
    """The encoding of a value: short, whatever is in it.

    State: `steps`, encoders that wait for something inside, each with its object and the way to it; `done`, encodings
    by identity (None: it is on the way); `kept`, what must live as long as its identity is used.
    """
    steps: list[_Open] = []
    done: dict[int, bytes | None] = {}
    kept: list[object] = []
    kind: str = ""
    key: object = None
    around = Around(special, encode)
    while True:
        made = _known(value, done, special)
        if made is None:
            try:
                begun: Encoded = encoder(value)(value, around)
            except Exception as error:
                raise _error(name, steps, kind, key, _refused(value, error)) from _cause(error)
            if isinstance(begun, bytes):
                made = begun
            else:
                identity = id(value)
                if identity in done:
                    raise _error(name, steps, kind, key, Refused(value, "it contains itself"))
                done[identity] = None
                kept.append(value)
                steps.append((begun, value, kind, key))
        while steps:
            try:
                value, kind, key = steps[-1][0].send(made) if made is not None else next(steps[-1][0])
                break
            except StopIteration as stop:
                made = stop.value
                done[id(steps.pop()[1])] = made
            except Exception as error:
                *outer, (_, value, kind, key) = steps
                raise _error(name, outer, kind, key, _refused(value, error)) from _cause(error)
        else:
            assert made is not None
            return made


def _known(value: object, done: dict[int, bytes | None], special: Special | None) -> bytes | None:
    """An encoding that takes no walk."""
    kind = type(value)
    plain = SCALARS.get(kind)
    if plain is not None:
        return plain(value)
    made = done.get(id(value))
    if made is None and special is not None and kind not in _CONTAINERS:
        told = special(value)
        return None if told is None else b"special:%d:%b" % (len(told), told)
    return made


_CONTAINERS = frozenset({list, tuple, dict, set, frozenset})


def _refused(value: object, error: Exception) -> Refused:
    """Why a value has no digest; an object may also fail when it is read."""
    return (
        error if isinstance(error, Refused) else Refused(value, f"reading it failed: {type(error).__name__}: {error}")
    )


def _cause(error: Exception) -> Exception | None:
    return None if isinstance(error, Refused) else error


def _error(name: str, steps: Iterable[_Open], kind: str, key: object, refused: Refused) -> NotCanonical:
    ways = [*((kind, key) for _, _, kind, key in steps), (kind, key)]
    where = name + "".join(_told(kind, key) for kind, key in ways)
    if len(where) > 300:
        where = f"{where[:140]} … {where[-140:]}"
    return NotCanonical(where, name_of(type(refused.value)), refused.why)


def _told(kind: str, key: object) -> str:
    if kind != "[]":
        return f"{kind}{key}" if kind else ""
    shown = repr(key) if type(key) in SCALARS else f"a {type(key).__qualname__}"
    return f"[{shown if len(shown) <= 60 else shown[:57] + '...'}]"
