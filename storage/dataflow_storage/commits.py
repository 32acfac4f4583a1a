"""Objects in files: commit one unless there is a sound one, read one and make sure that it is sound."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

from dataflow_storage.errors import StoreUnavailable
from dataflow_storage.files import Files
from dataflow_storage.hashing import Buffer
from dataflow_storage.objects import Entry, Header, Invalid, check, entries, find_entry, read_header

__all__ = ["commit", "read", "read_item", "read_value"]

_HEAD = 1 << 16  # bytes; one read of a batch's start brings its header and the table of 1,000 entries
_TRIES = 10

Report = Callable[[str, Invalid], None]


def commit(
    files: Files, url: str, key: str, parts: Sequence[Buffer], token: str, report: Report, *, batch: bool = False
) -> tuple[Header, list[Entry]] | None:
    """Create an object, unless a sound one is there; a damaged one is replaced.

    Parameters
    ----------
    files : Files
        Where.
    url, key : str
        The object's place, and the key that its header must have.
    parts : sequence of bytes-like
        The whole object.
    token : str
        The one in its header.
    report : callable
        Called with a damaged object's place, and what is wrong with it.
    batch : bool
        Which kind it is.

    Returns
    -------
    tuple or None
        What is there instead; None: ours. Its token tells whether it is ours after all, because a file system may
        report a success that got lost on the way as "exists".

    Raises
    ------
    StoreUnavailable
        The storage failed.
    """
    for _ in range(_TRIES):
        if files.create(url, parts, token):
            return None
        try:
            found = read(files, url, key, batch=batch)
        except Invalid as error:
            report(url, error)
            _repair(files, url, key, parts, token, batch=batch)
            continue  # and see who won
        if found is not None:  # else it was deleted in between
            return found
    raise StoreUnavailable(url, "somebody keeps changing it while it is written")


def _repair(files: Files, url: str, key: str, parts: Sequence[Buffer], token: str, *, batch: bool) -> None:
    with files.locked(url):
        try:
            read(files, url, key, batch=batch)
        except Invalid:
            files.replace(url, parts, token)


def read(files: Files, url: str, key: str, *, batch: bool = False) -> tuple[Header, list[Entry]] | None:
    """Read and check a whole object.

    Returns
    -------
    tuple or None
        Its header and, of a batch, its entries; None: there is none.

    Raises
    ------
    Invalid
        It is damaged, or another one.
    StoreUnavailable
        The storage failed.
    """
    try:
        with files.open(url) as file:
            header, table = check(file, key=key, batch=batch)
    except FileNotFoundError:
        return None
    except OSError as error:
        if isinstance(error, StoreUnavailable):
            raise
        raise StoreUnavailable(url, error.strerror or str(error)) from error
    return header, entries(header, table)


def read_value(files: Files, url: str) -> tuple[memoryview, str]:
    """Read an object's payload and its loader; the payload is not checked.

    Raises
    ------
    Invalid
        The header is damaged.
    FileNotFoundError
        There is nothing.
    """
    raw = files.read(url)
    header = read_header(io.BytesIO(raw))
    return memoryview(raw)[header.start :], header.loader


def read_item(files: Files, url: str, item: int) -> tuple[memoryview, str]:
    """Read one entry of a batch and its loader, and little else; the entry is not checked.

    Raises
    ------
    Invalid
        The header or the table is damaged, or has no such entry.
    FileNotFoundError
        There is nothing.
    """
    head = files.read(url, 0, _HEAD)
    header = read_header(io.BytesIO(head)) if len(head) < _HEAD else _long_header(files, url, head)
    end = header.start + header.table
    if end > len(head):
        head = files.read(url, 0, end)
    entry = find_entry(header, head[header.start : end], item)
    if entry is None:
        raise Invalid(f"it has no entry {item}")
    first, last = header.start + entry.offset, header.start + entry.offset + entry.size
    if last <= len(head):
        return memoryview(head)[first:last], header.loader
    return memoryview(files.read(url, first, last)), header.loader


def _long_header(files: Files, url: str, head: bytes) -> Header:
    try:
        return read_header(io.BytesIO(head))
    except Invalid:  # or the header is longer than what was read
        return read_header(io.BytesIO(files.read(url)))
