"""Values as bytes become objects: the buffers of a file, in the format of `layout`."""

from __future__ import annotations

import json
import time
from bisect import bisect
from collections.abc import Container, Mapping, Sequence
from hashlib import sha256
from itertools import accumulate, chain
from zlib import crc32

from dataflow_storage import compression
from dataflow_storage.encoding import Encoded
from dataflow_storage.hashing import Buffer
from dataflow_storage.layout import BATCH, MAGIC, PRELUDE, ROW, VERSION
from dataflow_storage.signing import Signer

__all__ = ["Packer", "pack"]

_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


def pack(
    value: Encoded, *, key: str, token: str, meta: Mapping[str, object], signer: Signer | None = None
) -> list[Buffer]:
    """Make the buffers of an object.

    Parameters
    ----------
    value : Encoded
        The value as bytes.
    key, token : str
        As in `Header`.
    meta : mapping
        What the caller wants to be able to read in the object one day.
    signer : Signer or None
        Signs it.

    Returns
    -------
    list of bytes-like

    Examples
    --------
    >>> import io
    >>> from dataflow_storage.encoding import Coding
    >>> from dataflow_storage.objects import check
    >>> parts = pack(Coding().encode(1, "auto"), key="k", token="t", meta={})
    >>> check(io.BytesIO(b"".join(parts)), key="k")[0].serializer
    'json'
    """
    fields: dict[str, object] = {
        "serializer": value.serializer,
        "length": value.size,
        "sha256": value.digest,
        "key": key,
        "token": token,
        "created": round(time.time(), 3),
        "meta": dict(meta),
    }
    if value.stored != value.size:
        fields |= {"compression": compression.NAME, "stored": value.stored}
    if value.loader:
        fields["loader"] = value.loader
    return [_head(fields, signer), *value.parts]


class Packer:
    """Gathers values, as bytes, for one batch object.

    State: columns, in the order of `items`, and the data. There is no object for each entry, so that a large batch
    costs the garbage collector nothing.

    Parameters
    ----------
    values : mapping of int to Encoded, optional
        What it begins with, by item.

    Examples
    --------
    >>> from dataflow_storage.encoding import Coding
    >>> packer = Packer({item: Coding().encode(item, "json") for item in (3, 1, 2)})
    >>> packer.items, packer.without({1}).items, packer.stored
    ([1, 2, 3], [2, 3], 3)
    """

    def __init__(self, values: Mapping[int, Encoded] | None = None) -> None:
        self.items: list[int] = []
        self.sizes: list[int] = []
        self.digests: list[str] = []
        self.stored = 0
        self._lengths: list[int] = []  # of each in the object: less than its size where it is compressed
        self._names: dict[str, int] = {}
        self._numbers: list[int] = []  # of their serializers' names
        self._data: list[list[Buffer]] = []
        self._loader = ""
        for item, value in (values or {}).items():
            self.add(item, value)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def serializers(self) -> Sequence[str]:
        """The name of the serializer of each."""
        names = list(self._names)
        return names * len(self.items) if len(names) == 1 else [names[number] for number in self._numbers]

    def add(self, item: int, value: Encoded) -> None:
        """Add an entry, whose item is not there yet."""
        place = bisect(self.items, item)
        self.items.insert(place, item)
        self.sizes.insert(place, value.size)
        self.digests.insert(place, value.digest)
        self._lengths.insert(place, value.stored)
        self._numbers.insert(place, self._names.setdefault(value.serializer, len(self._names)))
        self._data.insert(place, value.parts)
        self._loader = self._loader or value.loader
        self.stored += value.stored

    def without(self, items: Container[int]) -> Packer:
        """The same, but for the entries of these items."""
        kept = Packer()
        columns = zip(self.serializers, self._data, self.sizes, self.digests, self._lengths, strict=True)
        for item, value in zip(self.items, columns, strict=True):
            if item not in items:
                kept.add(item, Encoded(*value, self._loader))
        return kept

    def pack(self, *, key: str, token: str, meta: Mapping[str, object], signer: Signer | None = None) -> list[Buffer]:
        """Make the buffers of the batch object.

        Parameters
        ----------
        key, token, meta, signer
            As in `pack`.

        Returns
        -------
        list of bytes-like
        """
        start = len(self.items) * ROW.size
        offsets = accumulate(self._lengths, initial=start)
        digests = map(bytes.fromhex, self.digests)
        table = b"".join(map(ROW.pack, self.items, offsets, self.sizes, self._numbers, digests))
        fields: dict[str, object] = {
            "serializer": BATCH,
            "length": start + self.stored,
            "sha256": sha256(table).hexdigest(),
            "key": key,
            "token": token,
            "created": round(time.time(), 3),
            "meta": dict(meta),
            "items": len(self.items),
            "serializers": list(self._names),
        }
        if self._lengths != self.sizes:
            fields["compression"] = compression.NAME
        if self._loader:
            fields["loader"] = self._loader
        return [_head(fields, signer), table, *chain.from_iterable(self._data)]


def _head(fields: Mapping[str, object], signer: Signer | None) -> bytes:
    header = _encode(fields).encode()
    if signer is not None:
        header = signer.sign(header)
    return PRELUDE.pack(MAGIC, VERSION, len(header), crc32(header)) + header
