"""A value as bytes with their digest, and the way back for serializers that only their user knows."""

from __future__ import annotations

import base64
import pickle
from dataclasses import dataclass

from dataflow_storage.errors import SerializationError
from dataflow_storage.hashing import Buffer, digest
from dataflow_storage.plain import pickle_dumps
from dataflow_storage.serializers import SERIALIZERS, Serializer, by_name, dump, load, resolve

__all__ = ["Encoded", "decode", "encode"]

_KNOWN = {each.name: each for each in SERIALIZERS}


@dataclass(frozen=True, kw_only=True, slots=True)
class Encoded:
    """A value as bytes.

    Parameters
    ----------
    serializer : str
        Name of the serializer.
    parts : list of bytes-like
        The bytes.
    size : int
        How many.
    digest : str
        Their SHA-256, hex.
    loader : str
        The serializer itself, pickled, base64, if its name does not say which it is; else empty.
    """

    serializer: str
    parts: list[Buffer]
    size: int
    digest: str
    loader: str


def encode(value: object, serializer: str | Serializer) -> Encoded:
    """Write a value.

    Raises
    ------
    SerializationError
        The value cannot be written, or the serializer cannot travel.

    Examples
    --------
    >>> encode([1], "auto").serializer, encode([1], "pickle").size > 0
    ('json', True)
    """
    chosen = resolve(serializer, value)
    parts = dump(chosen, value)
    return Encoded(
        serializer=chosen.name,
        parts=parts,
        size=sum(map(len, parts)),
        digest=digest(parts),
        loader="" if _KNOWN.get(chosen.name) == chosen else _pack(chosen),
    )


def decode(data: memoryview, serializer: str, loader: str) -> object:
    """Read a value whose digest was checked.

    Raises
    ------
    SerializationError
        It cannot be loaded in this process.
    """
    return load(_unpack(serializer, loader) if loader else by_name(serializer), data)


def _pack(serializer: Serializer) -> str:
    try:
        return base64.b64encode(pickle_dumps(serializer)).decode()
    except Exception as error:  # whatever its own methods raise
        raise SerializationError(
            "its own serializer",
            serializer.name,
            f"the serializer cannot be pickled: {error}",
            advice="It is stored with the value, so that others can read it: keep connections and locks out of it.",
        ) from error


def _unpack(name: str, loader: str) -> Serializer:
    try:
        serializer: Serializer = pickle.loads(base64.b64decode(loader))
    except Exception as error:  # the same, on the way back
        raise SerializationError(
            "a stored value",
            name,
            f"its serializer cannot be loaded here: {type(error).__name__}: {error}",
            advice="Make the module that defines the serializer importable in this process.",
        ) from error
    return serializer
