"""A value as bytes with their digest, and the way back for serializers that only their user knows."""

from __future__ import annotations

import base64
import pickle
from dataclasses import dataclass
from typing import NamedTuple

from dataflow_storage import compression
from dataflow_storage.blame import name_of_type
from dataflow_storage.errors import SerializationError
from dataflow_storage.hashing import Buffer, digest
from dataflow_storage.plain import pickle_dumps
from dataflow_storage.serializers import PICKLE, SERIALIZERS, Serializer, by_name, dump, load, resolve

__all__ = ["Coding", "Encoded"]

_KNOWN = {each.name: each for each in SERIALIZERS}


class Encoded(NamedTuple):
    """A value as bytes.

    Parameters
    ----------
    serializer : str
        Name of the serializer.
    parts : list of bytes-like
        The bytes as they are stored.
    size : int
        Bytes of the payload, before compression.
    digest : str
        SHA-256 of the payload, hex, before compression too: it is the value's identity.
    stored : int
        Bytes of `parts`; less than `size` if they are compressed.
    loader : str
        The serializer itself, pickled, base64, if its name does not say which it is; else empty.
    """

    serializer: str
    parts: list[Buffer]
    size: int
    digest: str
    stored: int
    loader: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Coding:
    """How values become bytes, and bytes values.

    Parameters
    ----------
    compress : bool
        Compress what gains by it.
    pickle : bool
        Whether pickles, and serializers of one's own, which travel pickled, are written and read.

    Examples
    --------
    >>> coding = Coding()
    >>> coding.encode([1], "auto").serializer, coding.encode((1,), "auto").serializer
    ('json', 'pickle')
    """

    compress: bool = True
    pickle: bool = True

    def encode(self, value: object, serializer: str | Serializer, *, plain: bool = False) -> Encoded:
        """Write a value.

        Parameters
        ----------
        value : object
            What.
        serializer : str or Serializer
            How.
        plain : bool
            As a file for others: never compressed.

        Raises
        ------
        SerializationError
            The value cannot be written, or the serializer cannot travel, or is not allowed.
        """
        chosen = resolve(serializer, value)
        ours = _KNOWN.get(chosen.name)
        known = ours is chosen or ours == chosen
        if not self.pickle and (chosen.name == PICKLE.name or not known):
            raise _refused(name_of_type(value), chosen.name, written=True)
        parts = dump(chosen, value)
        size = len(parts[0]) if len(parts) == 1 else sum(map(len, parts))
        sha = digest(parts)
        loader = "" if known else _pack(chosen)
        packed = compression.compress(parts, size, chosen.name) if self.compress and not plain else None
        if packed is None:
            return Encoded(chosen.name, parts, size, sha, size, loader)
        return Encoded(chosen.name, packed, size, sha, sum(map(len, packed)), loader)

    def decode(self, data: memoryview, serializer: str, loader: str) -> object:
        """Read a value whose digest, and signature where there must be one, was checked.

        Raises
        ------
        SerializationError
            It cannot be loaded in this process, or is not allowed.
        """
        if not self.pickle and (loader or serializer == PICKLE.name):
            raise _refused("a stored value", serializer, written=False)
        return load(_unpack(serializer, loader) if loader else by_name(serializer), data)


def _refused(type_name: str, serializer: str, *, written: bool) -> SerializationError:
    advice = (
        "Return plain data (JSON data, text, bytes, arrays, tables, dataclasses), name a serializer that takes it, "
        "do not persist this task's result, or allow pickles."
        if written
        else "Allow pickles if you trust everybody who can write to this store, or run the task again."
    )
    return SerializationError(
        type_name,
        serializer,
        "pickles, and serializers of one's own, are switched off here (dataflow.results.pickle is false)",
        advice=advice,
    )


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
