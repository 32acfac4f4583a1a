"""SHA-256, the one digest of this package: over buffers that are in memory, and over a file that is not."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import BinaryIO

__all__ = ["Buffer", "digest", "digest_file"]

Buffer = bytes | bytearray | memoryview
"""What can be hashed and written without a copy."""

BLOCK = 1 << 20  # bytes; large enough that hashing, not the loop, is what takes time


def digest(parts: Sequence[Buffer]) -> str:
    """Hash the concatenation of some buffers.

    Parameters
    ----------
    parts : sequence of bytes-like
        The buffers, in order.

    Returns
    -------
    str
        SHA-256 as 64 hex digits.

    Examples
    --------
    >>> digest([b"a", b"b"]) == digest([b"ab"])
    True
    >>> digest([])[:8]
    'e3b0c442'
    """
    if len(parts) == 1:
        return sha256(parts[0]).hexdigest()
    state = sha256()
    for part in parts:
        state.update(part)
    return state.hexdigest()


def digest_file(file: BinaryIO, first: Buffer = b"") -> tuple[int, str]:
    """Hash a file from where it stands to its end, in blocks, so that its size does not matter.

    Parameters
    ----------
    file : binary file
        Open for reading.
    first : bytes-like
        What was already read of the part to be hashed.

    Returns
    -------
    tuple of int and str
        The bytes hashed, `first` included, and the SHA-256 as 64 hex digits.

    Examples
    --------
    >>> import io
    >>> digest_file(io.BytesIO(b"cd"), b"ab") == (4, digest([b"abcd"]))
    True
    """
    state = sha256(first)
    size = len(first)
    while block := file.read(BLOCK):
        state.update(block)
        size += len(block)
    return size, state.hexdigest()
