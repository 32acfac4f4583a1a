"""Compression of payloads with zstd (RFC 8878), where it pays: not of small ones, and not of what has no slack.

The stored form is a CRC-32 of the frame and the frame, so that any changed byte is found before it is decompressed: a
frame has bits that a decoder passes over. The frame's content size is known to the reader, so nothing can swell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import BinaryIO, Protocol, cast
from zlib import crc32

from dataflow_storage.hashing import BLOCK, Buffer

__all__ = ["NAME", "Damaged", "compress", "decompress", "decompressed"]

NAME = "zstd"
SMALLEST = 4096  # bytes; below it a file takes a block of the disk either way
_LEVEL = 1  # the fastest; higher ones gain a tenth and take several times as long
_GAIN = 0.85  # of the size; else reading would pay and nobody gain
_WHOLE = 1 << 17  # bytes; above it three pieces tell first whether it is worth trying
_PIECE = 1 << 14
_PACKED = frozenset({"parquet", "png", "pdf"})  # compressed by themselves
_CRC = 4  # bytes


class Damaged(ValueError):
    """These bytes are not what `compress` gave, or not of that size."""


class Readable(Protocol):
    """What can be read in pieces."""

    def read(self, size: int, /) -> bytes:
        """Read up to so many bytes; fewer only at the end."""


def compress(parts: Sequence[Buffer], size: int, serializer: str) -> list[Buffer] | None:
    """Compress a payload.

    Parameters
    ----------
    parts : sequence of bytes-like
        The payload.
    size : int
        Its bytes.
    serializer : str
        Name of its format.

    Returns
    -------
    list of bytes-like or None
        None: it is better stored as it is.

    Examples
    --------
    >>> sum(map(len, compress([bytes(100_000)], 100_000, "npy"))) < 100, compress([b"short"], 5, "text")
    (True, None)
    """
    if size < SMALLEST or serializer in _PACKED:
        return None
    import zstandard

    if size > _WHOLE:
        sample = b"".join(_cut(parts, start, _PIECE) for start in (0, (size - _PIECE) // 2, size - _PIECE))
        if len(zstandard.ZstdCompressor(_LEVEL).compress(sample)) > len(sample) * _GAIN:
            return None
    frame = zstandard.ZstdCompressor(_LEVEL).compressobj(size=size)
    made: list[Buffer] = []
    total, crc = _CRC, 0
    for piece in (*(memoryview(part)[at : at + BLOCK] for part in parts for at in range(0, len(part), BLOCK)), None):
        data = frame.flush() if piece is None else frame.compress(piece)
        if data:
            made.append(data)
            crc = crc32(data, crc)
            total += len(data)
        if total > size * _GAIN:  # the pieces promised too much
            return None
    return [crc.to_bytes(_CRC, "little"), *made]


def _cut(parts: Sequence[Buffer], start: int, size: int) -> bytes:
    found = b""
    for part in parts:
        found += memoryview(part)[max(0, start) : max(0, start + size)]
        start -= len(part)
        if start + size <= 0:
            break
    return found


def decompress(stored: memoryview, size: int) -> memoryview:
    """Give back what was compressed.

    Parameters
    ----------
    stored : memoryview
        What `compress` gave.
    size : int
        Bytes to come out; never more memory than that is taken.

    Raises
    ------
    Damaged
        It is something else.
    """
    import zstandard

    crc, frame = stored[:_CRC], stored[_CRC:]
    if crc32(frame) != int.from_bytes(crc, "little"):
        raise Damaged("its compressed content is damaged")
    try:
        if zstandard.frame_content_size(frame) != size:
            raise Damaged("its compressed content is of another size")
        return memoryview(zstandard.ZstdDecompressor().decompress(frame, max_output_size=size))
    except zstandard.ZstdError as error:
        raise Damaged(f"its compressed content is damaged: {error}") from error


def decompressed(file: Readable, stored: int, size: int) -> Iterator[bytes]:
    """Give back what was compressed, block by block, without holding it.

    Parameters
    ----------
    file : readable
        Where what `compress` gave starts.
    stored, size : int
        Bytes to read, and to come out.

    Raises
    ------
    Damaged
        It is something else.
    """
    import zstandard

    source = _Source(file, stored)
    expected = int.from_bytes(source.head(_CRC), "little")
    left = size
    try:
        file_like, block_size = cast(BinaryIO, source), min(BLOCK, stored) or 1
        with zstandard.ZstdDecompressor().stream_reader(file_like, block_size, closefd=False) as reader:
            while left >= 0 and (block := reader.read(BLOCK)):
                left -= len(block)
                yield block
        while source.read(BLOCK):  # whatever follows the frame
            pass
    except zstandard.ZstdError as error:
        raise Damaged(f"its compressed content is damaged: {error}") from error
    if left or source.left or source.crc != expected:
        raise Damaged("its compressed content is damaged")


class _Source:
    """So many bytes of a file, and the CRC of those that were read."""

    def __init__(self, file: Readable, size: int) -> None:
        self._file = file
        self.left = size
        self.crc = 0

    def head(self, size: int) -> bytes:
        data = self._file.read(min(size, self.left))
        self.left -= len(data)
        return data

    def read(self, size: int = -1) -> bytes:
        data = self.head(self.left if size < 0 else size)
        self.crc = crc32(data, self.crc)
        return data
