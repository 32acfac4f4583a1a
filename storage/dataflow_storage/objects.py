"""The format of a stored object, as bytes; no I/O but reading from an open file.

    magic "DFLW" | version | header length | CRC of header | header (JSON) | payload

The header says how the payload is written, its length and SHA-256, whose it is (key, token, and the caller's `meta`).
The payload of a *batch* starts with a table of fixed-size rows, sorted by item, so that one entry is found without
parsing:

    item | offset | length | number of its serializer | SHA-256        offset: from the start of the payload
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import BinaryIO
from zlib import crc32

from dataflow_storage.hashing import BLOCK, Buffer

__all__ = ["BATCH", "Entry", "Header", "Invalid", "check", "entries", "find_entry", "pack", "pack_batch", "read_header"]

_MAGIC = b"DFLW"
_VERSION = 1
_PRELUDE = struct.Struct("<4sBII")
_ROW = struct.Struct("<qQQH32s")
_LONGEST_HEADER = 1 << 26  # bytes; a damaged length must not allocate gigabytes
BATCH = "batch"
"""The `serializer` of a batch object, for people who look into one; its entries have their own."""

_encode = json.JSONEncoder(separators=(",", ":"), default=str).encode


class Invalid(ValueError):
    """These bytes are no object of ours, or not a whole one. Never leaves this package."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What the header of an object says.

    Parameters
    ----------
    serializer : str
        Name of the payload's serializer, or ``"batch"``.
    size : int
        Payload bytes; `length` in the file.
    digest : str
        SHA-256 of the payload, hex; `sha256` in the file.
    key, token : str
        What it was stored as, and by whom: each attempt to store has its own token.
    start : int
        Where the payload starts in the file.
    items : int
        Entries of a batch, else 0.
    serializers : tuple of str
        Names of a batch's serializers, by number.
    loader : str
        A serializer that has no name everybody knows, pickled, base64; else empty.
    """

    serializer: str
    size: int
    digest: str
    key: str
    token: str
    start: int
    items: int = 0
    serializers: tuple[str, ...] = ()
    loader: str = ""

    @property
    def table(self) -> int:
        """Bytes of the table that a batch's payload starts with."""
        return self.items * _ROW.size


@dataclass(frozen=True, kw_only=True, slots=True)
class Entry:
    """One row of a batch's table; the fields are those of the format above."""

    item: int
    offset: int
    size: int
    serializer: str
    digest: str


def pack(
    payload: Sequence[Buffer],
    *,
    serializer: str,
    size: int,
    digest: str,
    key: str,
    token: str,
    meta: Mapping[str, object],
    loader: str = "",
    more: Mapping[str, object] | None = None,
) -> list[Buffer]:
    """Make the buffers of an object.

    Parameters
    ----------
    payload : sequence of bytes-like
        The value as bytes.
    serializer, size, digest, key, token, loader
        As in `Header`.
    meta : mapping
        What the caller wants to be able to read in the object one day.
    more : mapping or None
        Further fields of the header.

    Returns
    -------
    list of bytes-like

    Examples
    --------
    >>> import io
    >>> parts = pack([b"1"], serializer="json", size=1, digest=sha256(b"1").hexdigest(), key="k", token="t", meta={})
    >>> check(io.BytesIO(b"".join(parts)), key="k")[0].serializer
    'json'
    """
    fields: dict[str, object] = {
        "serializer": serializer,
        "length": size,
        "sha256": digest,
        "key": key,
        "token": token,
        "meta": dict(meta),
    }
    if loader:
        fields["loader"] = loader
    if more:
        fields.update(more)
    header = _encode(fields).encode()
    return [_PRELUDE.pack(_MAGIC, _VERSION, len(header), crc32(header)) + header, *payload]


def pack_batch(
    values: Mapping[int, tuple[str, Sequence[Buffer], int, str]],
    *,
    key: str,
    token: str,
    meta: Mapping[str, object],
    loader: str = "",
) -> list[Buffer]:
    """Make the buffers of a batch object.

    Parameters
    ----------
    values : mapping of int to tuple
        For each item its serializer's name, its buffers, their length in bytes, and their SHA-256 in hex.
    key, token, meta, loader
        As in `pack`.

    Returns
    -------
    list of bytes-like
    """
    names: dict[str, int] = {}
    table = bytearray()
    data: list[Buffer] = []
    offset = len(values) * _ROW.size
    for item in sorted(values):
        name, parts, size, digest = values[item]
        table += _ROW.pack(item, offset, size, names.setdefault(name, len(names)), bytes.fromhex(digest))
        data += parts
        offset += size
    payload = b"".join([table, *data])
    return pack(
        [payload],
        serializer=BATCH,
        size=len(payload),
        digest=sha256(payload).hexdigest(),
        key=key,
        token=token,
        meta=meta,
        loader=loader,
        more={"items": len(values), "serializers": list(names)},
    )


def read_header(file: BinaryIO) -> Header:
    """Read the header and leave the file at the start of the payload.

    Raises
    ------
    Invalid
        It is not one.
    """
    prelude = file.read(_PRELUDE.size)
    if len(prelude) < _PRELUDE.size:
        raise Invalid("it is too short")
    magic, version, length, crc = _PRELUDE.unpack(prelude)
    if magic != _MAGIC:
        raise Invalid("it is not an object of this store")
    if version != _VERSION:
        raise Invalid(f"it has version {version} of the format, and this dataflow knows version {_VERSION}")
    text = file.read(length) if length <= _LONGEST_HEADER else b""
    if len(text) < length or crc32(text) != crc:
        raise Invalid("its header is damaged")
    try:
        return _header(json.loads(text), len(prelude) + length)
    except (ValueError, KeyError, TypeError) as error:
        raise Invalid(f"its header lacks something: {error}") from error


def _header(fields: Mapping[str, object], start: int) -> Header:
    known = {"digest": fields["sha256"], **{name: fields[name] for name in ("serializer", "key", "token")}}
    numbers = {"size": fields["length"], "items": fields.get("items", 0)}
    names = fields.get("serializers", [])
    loader = fields.get("loader", "")
    if not all(isinstance(value, str) for value in (*known.values(), loader)):
        raise TypeError("a text is none")
    if not all(type(value) is int and value >= 0 for value in numbers.values()):
        raise TypeError("a number is none")
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise TypeError("its serializers are no list of names")
    return Header(start=start, serializers=tuple(names), loader=loader, **known, **numbers)  # type: ignore[arg-type]


def check(file: BinaryIO, *, key: str | None = None, batch: bool = False) -> tuple[Header, bytes]:
    """Read a whole object block by block, and make sure that it is what was written.

    Parameters
    ----------
    file : binary file
        Open at its start.
    key : str or None
        Which object it should be; None: any.
    batch : bool
        Which kind it should be.

    Returns
    -------
    tuple of Header and bytes
        The header, and the table of a batch.

    Raises
    ------
    Invalid
        It is torn, changed, another one, or none of ours.
    """
    header = read_header(file)
    if key is not None and header.key != key:
        raise Invalid(f"it belongs to the key {header.key!r}")
    if (header.items > 0) is not batch or header.table > header.size:
        raise Invalid("it is of another kind")
    table = file.read(header.table)
    state, size = sha256(table), len(table)
    while block := file.read(BLOCK):
        state.update(block)
        size += len(block)
    if size != header.size:
        raise Invalid(f"it has {size} bytes of payload, and its header says {header.size}")
    if state.hexdigest() != header.digest:
        raise Invalid("its digest does not match its payload")
    return header, table


def entries(header: Header, table: bytes) -> list[Entry]:
    """List the entries of a batch.

    Raises
    ------
    Invalid
        The table is torn or contradicts the header.
    """
    if len(table) != header.table:
        raise Invalid("its table is torn")
    return [_entry(header, row) for row in _ROW.iter_unpack(table)]


def _entry(header: Header, row: tuple[int, int, int, int, bytes]) -> Entry:
    item, offset, size, number, sha = row
    if offset + size > header.size or number >= len(header.serializers):
        raise Invalid(f"the table's row of item {item} is damaged")
    return Entry(item=item, offset=offset, size=size, serializer=header.serializers[number], digest=sha.hex())


def find_entry(header: Header, table: bytes, item: int) -> Entry | None:
    """Find one entry of a batch by bisection.

    Raises
    ------
    Invalid
        The table is torn or contradicts the header.
    """
    if len(table) != header.table:
        raise Invalid("its table is torn")
    low, high = 0, header.items
    while low < high:
        middle = (low + high) // 2
        row = _ROW.unpack_from(table, middle * _ROW.size)
        if row[0] == item:
            return _entry(header, row)
        low, high = (middle + 1, high) if row[0] < item else (low, middle)
    return None
