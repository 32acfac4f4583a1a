"""Values as bytes become objects: the buffers of a file, in the format of `layout`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from hashlib import sha256
from zlib import crc32

from dataflow_storage import compression
from dataflow_storage.encoding import Encoded
from dataflow_storage.hashing import Buffer
from dataflow_storage.layout import BATCH, MAGIC, PRELUDE, ROW, VERSION
from dataflow_storage.signing import Signer

__all__ = ["pack", "pack_batch"]

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


def pack_batch(
    values: Mapping[int, Encoded], *, key: str, token: str, meta: Mapping[str, object], signer: Signer | None = None
) -> list[Buffer]:
    """Make the buffers of a batch object.

    Parameters
    ----------
    values : mapping of int to Encoded
        The values as bytes, by item.
    key, token, meta, signer
        As in `pack`.

    Returns
    -------
    list of bytes-like
    """
    names: dict[str, int] = {}
    rows: list[bytes] = []
    data: list[Buffer] = []
    offset = len(values) * ROW.size
    packed, loader = False, ""
    for item in sorted(values):
        each = values[item]
        number = names.setdefault(each.serializer, len(names))
        rows.append(ROW.pack(item, offset, each.size, number, bytes.fromhex(each.digest)))
        data += each.parts
        offset += each.stored
        packed |= each.stored != each.size
        loader = loader or each.loader
    table = b"".join(rows)
    fields: dict[str, object] = {
        "serializer": BATCH,
        "length": offset,
        "sha256": sha256(table).hexdigest(),
        "key": key,
        "token": token,
        "created": round(time.time(), 3),
        "meta": dict(meta),
        "items": len(values),
        "serializers": list(names),
    }
    if packed:
        fields["compression"] = compression.NAME
    if loader:
        fields["loader"] = loader
    return [_head(fields, signer), table, *data]


def _head(fields: Mapping[str, object], signer: Signer | None) -> bytes:
    header = _encode(fields).encode()
    if signer is not None:
        header = signer.sign(header)
    return PRELUDE.pack(MAGIC, VERSION, len(header), crc32(header)) + header
