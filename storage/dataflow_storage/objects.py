"""Objects in the format of `layout` are read, and checked to be what was written."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from hashlib import sha256
from typing import BinaryIO
from zlib import crc32

from dataflow_storage import compression
from dataflow_storage.hashing import BLOCK, digest
from dataflow_storage.layout import ITEM, MAGIC, PRELUDE, ROW, VERSION, Entry, Header, Invalid
from dataflow_storage.signing import UNSIGNED, Signer

__all__ = ["Entry", "Header", "Invalid", "check", "check_table", "content", "entries", "find_entries", "read_header"]

_LONGEST_HEADER = 1 << 26  # bytes; a damaged length must not allocate gigabytes


def read_header(file: BinaryIO, signer: Signer | None = None) -> Header:
    """Read the header and leave the file at the start of the payload.

    Parameters
    ----------
    file : binary file
        Open at its start.
    signer : Signer or None
        Who must have signed it; None: anybody, or nobody.

    Raises
    ------
    Invalid
        It is not one, or not signed.
    """
    prelude = file.read(PRELUDE.size)
    if len(prelude) < PRELUDE.size:
        raise Invalid("it is too short")
    magic, version, length, crc = PRELUDE.unpack(prelude)
    if magic != MAGIC:
        raise Invalid("it is not an object of this store")
    if version != VERSION:
        raise Invalid(f"it has version {version} of the format, and this dataflow knows version {VERSION}")
    text = file.read(length) if length <= _LONGEST_HEADER else b""
    if len(text) < length or crc32(text) != crc:
        raise Invalid("its header is damaged")
    if signer is not None and not signer.has_signed(text):
        raise Invalid(UNSIGNED)
    try:
        return _header(json.loads(text), len(prelude) + length)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Invalid(f"its header lacks something: {error}") from error


def _header(fields: Mapping[str, object], start: int) -> Header:
    known = {"digest": fields["sha256"], **{name: fields[name] for name in ("serializer", "key", "token")}}
    numbers = {"size": fields["length"], "items": fields.get("items", 0)}
    numbers["stored"] = fields.get("stored", numbers["size"])
    names, meta, created = fields.get("serializers", []), fields["meta"], fields["created"]
    loader = fields.get("loader", "")
    if not all(isinstance(value, str) for value in (*known.values(), loader)):
        raise TypeError("a text is none")
    if not all(type(value) is int and value >= 0 for value in numbers.values()):
        raise TypeError("a number is none")
    if not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise TypeError("its serializers are no list of names")
    if not isinstance(meta, dict) or not isinstance(created, int | float):
        raise TypeError("its meta or its time is none")
    if fields.get("compression", compression.NAME) != compression.NAME:
        raise TypeError(f"this dataflow does not know the compression {fields['compression']!r}")
    return Header(
        start=start, serializers=tuple(names), loader=loader, meta=meta, created=created, **known, **numbers  # type: ignore[arg-type]
    )  # fmt: skip


def check(
    file: BinaryIO, *, key: str | None = None, batch: bool = False, signer: Signer | None = None
) -> tuple[Header, list[Entry]]:
    """Read a whole object block by block, and make sure that it is what was written.

    Parameters
    ----------
    file : binary file
        Open at its start.
    key : str or None
        Which object it should be; None: any.
    batch : bool
        Which kind it should be.
    signer : Signer or None
        As in `read_header`.

    Returns
    -------
    tuple of Header and list of Entry
        The header, and the entries of a batch.

    Raises
    ------
    Invalid
        It is torn, changed, another one, none of ours, or not signed.
    """
    header = read_header(file, signer)
    if key is not None and header.key != key:
        raise Invalid(f"it belongs to the key {header.key!r}")
    if (header.items > 0) is not batch:
        raise Invalid("it is of another kind")
    found: list[Entry] = []
    if batch:
        table = file.read(header.table) if header.table <= header.stored else b""
        check_table(header, table)
        found = entries(header, table)
    whole: list[Header | Entry] = [*found] if batch else [header]
    for each in whole:
        _check_content(file, each)
    if file.read(1):
        raise Invalid("more follows than its header says")
    return header, found


def check_table(header: Header, table: bytes) -> None:
    """Make sure that a batch's table is the one that its header speaks of.

    Raises
    ------
    Invalid
        It is not.
    """
    if len(table) != header.table or sha256(table).hexdigest() != header.digest:
        raise Invalid("its table is damaged")


def _check_content(file: BinaryIO, what: Header | Entry) -> None:
    state, size = sha256(), 0
    packed = what.stored != what.size
    try:
        for block in compression.decompressed(file, what.stored, what.size) if packed else _blocks(file, what.stored):
            state.update(block)
            size += len(block)
    except compression.Damaged as error:
        raise Invalid(str(error)) from error
    if size != what.size:
        raise Invalid(f"it has {size} bytes of payload, and its header says {what.size}")
    if state.hexdigest() != what.digest:
        raise Invalid("its digest does not match its payload")


def _blocks(file: BinaryIO, size: int) -> Iterator[bytes]:
    while size and (block := file.read(min(size, BLOCK))):
        size -= len(block)
        yield block


def content(what: Header | Entry, stored: memoryview) -> memoryview:
    """Decompress and check the content of an object or an entry.

    Parameters
    ----------
    what : Header or Entry
        Tells how large it is and what its digest is.
    stored : memoryview
        The bytes in the file.

    Returns
    -------
    memoryview
        What the serializer wrote; `stored` itself if it is not compressed.

    Raises
    ------
    Invalid
        It is torn or changed.
    """
    if len(stored) != what.stored:
        raise Invalid(f"it has {len(stored)} bytes of payload, and its header says {what.stored}")
    try:
        data = compression.decompress(stored, what.size) if what.stored != what.size else stored
    except compression.Damaged as error:
        raise Invalid(str(error)) from error
    if digest([data]) != what.digest:
        raise Invalid("its digest does not match its payload")
    return data


def entries(header: Header, table: bytes) -> list[Entry]:
    """List the entries of a batch.

    Raises
    ------
    Invalid
        The table is torn or contradicts the header.
    """
    if len(table) != header.table:
        raise Invalid("its table is torn")
    return [_entry(header, table, number) for number in range(header.items)]


def _entry(header: Header, table: bytes, row: int) -> Entry:
    item, offset, size, number, sha = ROW.unpack_from(table, row * ROW.size)
    end = header.size if row + 1 == header.items else ROW.unpack_from(table, (row + 1) * ROW.size)[1]
    if not header.table <= offset <= end <= header.size or end - offset > size or number >= len(header.serializers):
        raise Invalid(f"the table's row of item {item} is damaged")
    return Entry(
        item=item,
        offset=offset,
        stored=end - offset,
        size=size,
        serializer=header.serializers[number],
        digest=sha.hex(),
    )


def find_entries(header: Header, table: bytes, items: Iterable[int]) -> Iterator[Entry | None]:
    """Find entries of a batch, each by a look behind the one before, and by bisection.

    Raises
    ------
    Invalid
        The table is torn or contradicts the header.
    """
    if len(table) != header.table:
        raise Invalid("its table is torn")
    row = -1
    for item in items:
        if row + 1 < header.items and _item(table, row + 1) == item:
            row += 1
        else:
            row = bisect_left(range(header.items), item, key=partial(_item, table))
        yield _entry(header, table, row) if row < header.items and _item(table, row) == item else None


def _item(table: bytes, row: int) -> int:
    return int(ITEM.unpack_from(table, row * ROW.size)[0])
