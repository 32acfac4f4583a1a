"""Opaque bytes that tasks need, held once per process and found by digest.

State: `_held`, one table for the process. Several executors may hold the same blob in one process (two runs on one
cluster, or workers that are threads), so each blob counts its holders and goes with the last one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from threading import Lock

_lock = Lock()
_held: dict[str, tuple[bytes, int]] = {}


class BlobMissing(KeyError):
    """A task asked for a blob that was never shipped to its process, or is held no longer."""

    def __init__(self, digest: str) -> None:
        super().__init__(digest)
        self.digest = digest

    def __str__(self) -> str:
        return (
            f"No blob {self.digest!r} in this process. Call Executor.ship() with it before submitting the tasks that "
            "need it, and close the executor only when they have finished."
        )


def add(blobs: Mapping[str, bytes]) -> None:
    """Hold blobs, once more each.

    Parameters
    ----------
    blobs
        Bytes by digest.

    Examples
    --------
    >>> add({"d1": b"code"})
    >>> get("d1")
    b'code'
    >>> discard(["d1"])
    """
    with _lock:
        for digest, data in blobs.items():
            held, holders = _held.get(digest, (data, 0))
            _held[digest] = held, holders + 1


def get(digest: str) -> bytes:
    """The bytes of a blob.

    Raises
    ------
    BlobMissing
        A `KeyError`: nobody holds it in this process.
    """
    try:
        return _held[digest][0]
    except KeyError:
        raise BlobMissing(digest) from None


def discard(digests: Iterable[str]) -> None:
    """Give up one hold on each of these; the last one frees the bytes. Unknown digests are ignored."""
    with _lock:
        for digest in digests:
            held = _held.get(digest)
            if held is None:
                continue
            data, holders = held
            if holders > 1:
                _held[digest] = data, holders - 1
            else:
                del _held[digest]
