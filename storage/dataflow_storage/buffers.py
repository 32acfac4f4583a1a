"""Several buffers as one stream of bytes, without joining them."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence

from dataflow_storage.hashing import Buffer

__all__ = ["BufferFile", "blocks"]


class BufferFile(io.RawIOBase):
    """A file over some buffers, for clients that upload from a file.

    Parameters
    ----------
    parts : sequence of bytes-like
        What the file holds, in order. It must not change meanwhile.

    Examples
    --------
    >>> file = BufferFile([b"ab", b"", b"cde"])
    >>> file.seek(1), file.read(3), file.read(), len(file)
    (1, b'bcd', b'e', 5)
    """

    def __init__(self, parts: Sequence[Buffer]) -> None:
        self._parts = [memoryview(part).cast("B") for part in parts if len(part)]
        self._size = sum(map(len, self._parts))
        self._at = 0

    def __len__(self) -> int:
        return self._size

    def close(self) -> None:
        """A client that closes what it has sent may have to send it again."""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def readinto(self, target: Buffer) -> int:  # type: ignore[override]
        room, done, before = memoryview(target).cast("B"), 0, 0
        for part in self._parts:
            first = self._at - before
            if first < len(part):
                piece = part[first : first + len(room) - done]
                room[done : done + len(piece)] = piece
                done += len(piece)
                self._at += len(piece)
                if done == len(room):
                    break
            before += len(part)
        return done


def blocks(parts: Sequence[Buffer], size: int) -> Iterator[bytes]:
    """Cut some buffers into blocks; only one block is copied at a time.

    Parameters
    ----------
    parts : sequence of bytes-like
        The buffers, in order.
    size : int
        Bytes of each block but the last.

    Examples
    --------
    >>> list(blocks([b"ab", b"cde"], 2))
    [b'ab', b'cd', b'e']
    """
    file = BufferFile(parts)
    while block := file.read(size):
        yield block
