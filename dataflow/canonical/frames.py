"""The pieces of a canonical encoding: a tag, a length, a payload, so that no two values read alike.

Whoever knows a type encodes it with these: at once, as bytes, or in steps that ask for the encodings of what is inside.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Generator, Iterable
from typing import NamedTuple, Protocol, TypeAlias

Buffer: TypeAlias = bytes | bytearray | memoryview
# What a step asks for: an object inside, and how people would write the way to it: "[]" and a key, or "." and a name.
Child: TypeAlias = tuple[object, str, object]
Steps: TypeAlias = Generator[Child, bytes, bytes]
Encoded: TypeAlias = bytes | Steps
Special: TypeAlias = Callable[[object], bytes | None]

_LONG = 1024  # longer payloads stand as their hash
# One pattern for every NaN: which one a machine makes differs.
NAN = struct.pack("<d", float("nan"))


class Around(NamedTuple):
    """What surrounds the encoding of one object: who is asked first, and how another value is encoded apart."""

    special: Special | None
    encode: Callable[[object, Special | None], bytes]


class Hash(Protocol):
    """What is asked of a `hashlib` hash."""

    def update(self, data: Buffer, /) -> None: ...
    def digest(self) -> bytes: ...


class Refused(Exception):
    """A value that has no canonical encoding. The walk knows where it is, and raises NotCanonical.

    Parameters
    ----------
    value : object
        The value.
    why : str
        More than its type tells, or empty.
    """

    def __init__(self, value: object, why: str = "") -> None:
        super().__init__(name_of(type(value)), why)
        self.value, self.why = value, why


def frame(tag: bytes, payload: bytes = b"") -> bytes:
    """A tag, the payload's length, and the payload.

    >>> frame(b"text", b"abc")
    b'text:3:abc'
    """
    return b"%b:%d:%b" % (tag, len(payload), payload)


def packed(tag: bytes, parts: Iterable[bytes]) -> bytes:
    """A frame of frames: a hash of them in this order, so that its length does not grow."""
    return b"%b#32:%b" % (tag, hashlib.sha256(b"".join(parts)).digest())


def buffer(tag: bytes, data: Buffer) -> bytes:
    """A frame of bytes, without copying many."""
    if len(data) <= _LONG:
        return frame(tag, bytes(data))
    return b"%b#%d:%b" % (tag, len(data), hashlib.sha256(data).digest())


def closed(tag: bytes, made: Hash, *parts: bytes) -> bytes:
    """A frame of what a hash was fed, and of parts beside it."""
    return packed(tag, (*parts, made.digest()))


def text(tag: bytes, value: str) -> bytes:
    """A frame of a text."""
    return buffer(tag, str.encode(value, "utf-8", "surrogatepass"))


def number(value: float) -> bytes:
    """The bytes of a float; -0.0 is not 0.0, and all NaN are one."""
    return struct.pack("<d", value) if value == value else NAN


def texts(values: list[str]) -> bytes:
    """Many texts: their lengths, and all of them joined."""
    encoded = [value.encode("utf-8", "surrogatepass") for value in values]
    lengths = struct.pack(f"<{len(encoded)}q", *map(len, encoded))
    return packed(b"texts", (buffer(b"lengths", lengths), buffer(b"joined", b"".join(encoded))))


def name_of(thing: object) -> str:
    """Module and qualified name of a class or function.

    >>> name_of(dict), name_of(frame)
    ('dict', 'dataflow.canonical.frames.frame')
    """
    name = getattr(thing, "__qualname__", None) or getattr(thing, "__name__", None) or type(thing).__qualname__
    module = getattr(thing, "__module__", None)
    return f"{module}.{name}" if isinstance(module, str) and module != "builtins" else str(name)


def named(thing: object) -> bytes:
    """A frame of a class's or function's name."""
    return text(b"name", name_of(thing))
