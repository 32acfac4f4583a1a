"""Objects in files: commit one unless there is a sound one, read one and make sure that it is sound."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from dataflow_storage.errors import StoreUnavailable
from dataflow_storage.files import Files
from dataflow_storage.hashing import Buffer
from dataflow_storage.objects import Entry, Header, Invalid, check, check_table, find_entries, read_header
from dataflow_storage.signing import Signer

__all__ = ["Found", "commit", "ends_at", "look", "read", "read_items", "read_value"]

_HEAD = 1 << 16  # bytes; one read of a batch's start brings its header and the table of 1,000 entries
_WINDOW = 1 << 23  # bytes of a batch that are read at once: one request to a bucket
_TRIES = 10

Report = Callable[[str, Invalid], None]


def commit(
    files: Files,
    url: str,
    key: str,
    parts: Sequence[Buffer],
    token: str,
    report: Report,
    *,
    batch: bool = False,
    signer: Signer | None = None,
    step: str = "results.commit",
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
    signer : Signer or None
        Who must have signed what is there.
    step : str
        What `faults` calls it.

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
        if files.create(url, parts, token, step=step):
            return None
        try:
            found = read(files, url, key, batch=batch, signer=signer)
        except Invalid as error:
            report(url, error)
            _repair(files, url, key, parts, token, batch=batch, signer=signer)
            continue  # and see who won
        if found is not None:  # else it was deleted in between
            return found
    raise StoreUnavailable(url, "somebody keeps changing it while it is written")


def _repair(
    files: Files, url: str, key: str, parts: Sequence[Buffer], token: str, *, batch: bool, signer: Signer | None
) -> None:
    with files.locked(url):
        stamp = files.stamp(url)
        try:
            read(files, url, key, batch=batch, signer=signer)
        except Invalid:
            files.replace(url, parts, token, stamp, step="results.repair")


def read(
    files: Files, url: str, key: str, *, batch: bool = False, signer: Signer | None = None
) -> tuple[Header, list[Entry]] | None:
    """Read and check a whole object.

    Returns
    -------
    tuple or None
        Its header and, of a batch, its entries; None: there is none.

    Raises
    ------
    Invalid
        It is damaged, or another one, or not signed.
    StoreUnavailable
        The storage failed.
    """
    try:
        with files.open(url) as file:
            return check(file, key=key, batch=batch, signer=signer)
    except FileNotFoundError:
        return None
    except OSError as error:
        if isinstance(error, StoreUnavailable):
            raise
        raise StoreUnavailable(url, error.strerror or str(error)) from error


class Found(NamedTuple):
    """A value as it lies in a file; the value itself is not checked.

    Parameters
    ----------
    what : Header or Entry
        What is said of it.
    stored : memoryview
        Its bytes.
    loader : str
        As in an object's header.
    """

    what: Header | Entry
    stored: memoryview
    loader: str


def read_value(files: Files, url: str, signer: Signer | None = None) -> Found:
    """Read an object.

    Raises
    ------
    Invalid
        The header is damaged, or not signed.
    FileNotFoundError
        There is nothing.
    """
    raw = files.read(url)
    header = read_header(io.BytesIO(raw), signer)
    return Found(what=header, stored=memoryview(raw)[header.start :], loader=header.loader)


def read_items(files: Files, url: str, items: Sequence[int], signer: Signer | None = None) -> Iterator[Found]:
    """Read entries of a batch, in the order asked for; those that lie together are read together, and little else is.

    Raises
    ------
    Invalid
        The header or the table is damaged, or not signed, or has no such entry.
    FileNotFoundError
        There is nothing.
    """
    head, header, table = _start(files, url, signer)
    wanted = []
    for item, entry in zip(items, find_entries(header, table, items), strict=True):
        if entry is None:
            raise Invalid(f"it has no entry {item}")
        wanted.append(entry)
    window, begin = memoryview(head), 0
    for number, entry in enumerate(wanted):
        first = header.start + entry.offset
        if not begin <= first <= first + entry.stored <= begin + len(window):
            last = first + entry.stored
            for after in itertools.islice(wanted, number + 1, None):
                end = header.start + after.offset + after.stored
                if header.start + after.offset != last or end - first > _WINDOW:
                    break
                last = end
            window, begin = memoryview(files.read(url, first, last)), first
        yield Found(what=entry, stored=window[first - begin : first - begin + entry.stored], loader=header.loader)


def look(files: Files, url: str, signer: Signer | None = None) -> tuple[Header, bytes]:
    """Read an object's header and its table, if it is a batch, and make sure that it is as long as it should be.

    Raises
    ------
    Invalid
        The header is damaged, or not signed, or the object is of another length.
    FileNotFoundError
        There is nothing.
    """
    head, header, table = _start(files, url, signer)
    whole = len(head) == header.end if len(head) < _HEAD else ends_at(files, url, header.end)
    if not whole:
        raise Invalid(f"it is not {header.end} bytes long, as its header says")
    return header, table


def ends_at(files: Files, path: str, size: int) -> bool:
    """Say whether a file has just so many bytes, without reading it.

    Raises
    ------
    FileNotFoundError
        There is nothing.
    """
    if not size:  # of an empty file, some servers refuse every range
        return not files.read(path)
    return len(files.read(path, size - 1, size + 1)) == 1


def _start(files: Files, url: str, signer: Signer | None) -> tuple[bytes, Header, bytes]:
    """Read what an object starts with; and its header; and its table, if it is a batch."""
    head = files.read(url, 0, _HEAD)
    header = read_header(io.BytesIO(head), signer) if len(head) < _HEAD else _long_header(files, url, head, signer)
    end = header.start + header.table
    if end > len(head):
        head = files.read(url, 0, end)
    table = head[header.start : end]
    if signer is not None and header.items:
        check_table(header, table)  # so that the signature holds for what its rows say
    return head, header, table


def _long_header(files: Files, url: str, head: bytes, signer: Signer | None) -> Header:
    try:
        return read_header(io.BytesIO(head), signer)
    except Invalid:  # or the header is longer than what was read
        return read_header(io.BytesIO(files.read(url)), signer)
