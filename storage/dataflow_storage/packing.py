"""Values as bytes become objects: the buffers of a file, in the format of `layout`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from hashlib import sha256
from itertools import accumulate
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
    """Gathers the entries of a batch object, in the order of their items.

    State: the columns of its table, and the data. There is no object for each entry, so that a large batch costs the
    garbage collector nothing.
    """

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._items: list[int] = []
        self._sizes: list[int] = []
        self._stored: list[int] = []
        self._numbers: list[int] = []
        self._digests: list[str] = []
        self._data: list[Buffer] = []
        self._loader = ""

    def add(self, item: int, value: Encoded) -> None:
        """Add an entry, whose item is greater than all before."""
        self._items.append(item)
        self._sizes.append(value.size)
        self._stored.append(value.stored)
        self._numbers.append(self._names.setdefault(value.serializer, len(self._names)))
        self._digests.append(value.digest)
        self._data += value.parts
        self._loader = self._loader or value.loader

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
        start = len(self._items) * ROW.size
        offsets = accumulate(self._stored, initial=start)
        digests = map(bytes.fromhex, self._digests)
        table = b"".join(map(ROW.pack, self._items, offsets, self._sizes, self._numbers, digests))
        fields: dict[str, object] = {
            "serializer": BATCH,
            "length": start + sum(self._stored),
            "sha256": sha256(table).hexdigest(),
            "key": key,
            "token": token,
            "created": round(time.time(), 3),
            "meta": dict(meta),
            "items": len(self._items),
            "serializers": list(self._names),
        }
        if self._stored != self._sizes:
            fields["compression"] = compression.NAME
        if self._loader:
            fields["loader"] = self._loader
        return [_head(fields, signer), table, *self._data]


def _head(fields: Mapping[str, object], signer: Signer | None) -> bytes:
    header = _encode(fields).encode()
    if signer is not None:
        header = signer.sign(header)
    return PRELUDE.pack(MAGIC, VERSION, len(header), crc32(header)) + header
