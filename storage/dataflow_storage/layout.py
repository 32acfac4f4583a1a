"""The format of a stored object: its layout, and what its header and the rows of a batch say.

    magic "DFLW" | version | header length | CRC of header | header (JSON) | payload

The header says how the payload is written, its length and SHA-256, whose it is (key, token, and the caller's `meta`),
when it was written, and how it is compressed, if it is: then ``stored`` is the payload's length in the file, while the
length and the SHA-256 are those of what comes out. With a signing key the header ends with its signature.

The payload of a *batch* starts with a table of fixed-size rows, sorted by item, so that one entry is found without
parsing; the entries follow in the same order without gaps, and the header's SHA-256 is that of the table, which has
those of the entries:

    item | offset | length | number of its serializer | SHA-256        offset: from the start of the payload

An entry that takes less room than its length is compressed.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["BATCH", "ITEM", "MAGIC", "PRELUDE", "ROW", "VERSION", "Entry", "Header", "Invalid"]

MAGIC = b"DFLW"
VERSION = 1
PRELUDE = struct.Struct("<4sBII")
ROW = struct.Struct("<qQQH32s")
ITEM = struct.Struct("<q")
"""How a row starts."""
BATCH = "batch"
"""The `serializer` of a batch object, for people who look into one; its entries have their own."""


class Invalid(ValueError):
    """These bytes are no object of ours, or not a whole one. Never leaves this package."""


class Entry(NamedTuple):
    """One row of a batch's table; the fields are those of the format above.

    Parameters
    ----------
    item : int
        Its number.
    offset, stored : int
        Where it lies in the payload, and the bytes it takes there.
    size : int
        Bytes of what comes out.
    serializer, digest : str
        As in `Header`.
    """

    item: int
    offset: int
    stored: int
    size: int
    serializer: str
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Header:
    """What the header of an object says.

    Parameters
    ----------
    serializer : str
        Name of the payload's serializer, or ``"batch"``.
    size : int
        Payload bytes, decompressed; `length` in the file.
    digest : str
        SHA-256 of the payload, decompressed, or of a batch's table, hex; `sha256` in the file.
    key, token : str
        What it was stored as, and by whom: each attempt to store has its own token.
    start : int
        Where the payload starts in the file.
    stored : int
        Payload bytes in the file; less than `size` if it is compressed.
    created : float
        When it was written, seconds since the epoch.
    meta : mapping
        What the caller gave.
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
    stored: int
    created: float
    meta: Mapping[str, object]
    items: int = 0
    serializers: tuple[str, ...] = ()
    loader: str = ""

    @property
    def table(self) -> int:
        """Bytes of the table that a batch's payload starts with."""
        return self.items * ROW.size

    @property
    def end(self) -> int:
        """Bytes of the whole object."""
        return self.start + self.stored
