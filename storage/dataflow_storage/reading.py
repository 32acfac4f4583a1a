"""What a store has: found by key, and read, looked at or copied by reference."""

from __future__ import annotations

import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from dataflow_storage import commits, objects, places, targets
from dataflow_storage.encoding import Coding
from dataflow_storage.errors import ResultCorrupt, ResultMissing
from dataflow_storage.files import Files
from dataflow_storage.hashing import digest
from dataflow_storage.local import LocalFiles
from dataflow_storage.objects import Entry, Header, Invalid
from dataflow_storage.paths import is_url
from dataflow_storage.references import Reference, Stored, refer
from dataflow_storage.signing import Signer

__all__ = ["Reading"]

_log = logging.getLogger("dataflow.storage")
_CHANGED = "its content does not match the digest of what was committed"
_THREADS = 8  # for many small requests to a storage elsewhere
_MUCH = 8_000_000  # bytes: to read and hash these needs no lock of Python

T = TypeVar("T")
S = TypeVar("S")


class Reading(ABC):
    """The reading half of a `ResultStore`. State: what of it was reported already.

    Parameters
    ----------
    url : str
        The store's.
    coding : Coding
        How values become bytes, and back.
    signing_key : str or None
        As in `ResultStore`.
    """

    def __init__(self, url: str, coding: Coding, signing_key: str | None) -> None:
        self.url = url
        self._coding = coding
        self._signing_key = signing_key
        self._signer = None if signing_key is None else Signer(signing_key, b"dataflow object")
        self._record_signer = None if signing_key is None else Signer(signing_key, b"dataflow record")
        self._reported: set[str] = set()

    def find(self, key: str) -> Reference | None:
        """Look whether a key has a value; all its bytes are checked.

        Parameters
        ----------
        key : str
            As in `put`.

        Returns
        -------
        Reference or None
            None: there is none, or it is damaged, or not signed as it must be; the latter two are logged once.
        """
        url = places.object_url(self.url, key)
        found = self._examine(url, key, batch=False)
        return None if found is None else refer(url, found[0])

    def find_many(self, key: str) -> dict[int, Reference] | None:
        """Look what a batch has, by item; None: there is none that is whole."""
        references: dict[int, Reference] = {}
        for url in places.slots(self._files(self.url), self.url, key):
            found = self._examine(url, key, batch=True)
            for entry in found[1] if found else ():
                references.setdefault(entry.item, refer(url, entry, entry.item))
        return references or None

    def get(self, reference: Reference) -> object:
        """Read a value, after checking its digest.

        Parameters
        ----------
        reference : Reference
            What a commit or a find gave, in this process or another.

        Returns
        -------
        object

        Raises
        ------
        ResultMissing
            There is nothing.
        ResultCorrupt
            What is there is not what was committed, or is not signed with this store's key.
        SerializationError
            It is, but it cannot be loaded in this process.
        """
        data, loader = self._payload(reference)
        return self._coding.decode(data, reference.serializer, loader)

    def get_many(self, references: Sequence[Reference]) -> list[object]:
        """As `get`, of many at once, in their order; what lies together is read together, and several where it is far.

        Examples
        --------
        >>> from dataflow_storage import ResultStore
        >>> store = ResultStore("memory://doctest-get")
        >>> store.get_many([store.put("k", 1).reference, store.put("l", 2).reference])
        [1, 2]
        """
        values: list[object] = [None] * len(references)

        def load(numbers: list[int]) -> None:
            together = [references[number] for number in numbers]
            for number, reference, (data, loader) in zip(numbers, together, self._payloads(together), strict=True):
                values[number] = self._coding.decode(data, reference.serializer, loader)

        by_url = _by_url(references)
        much = sum(reference.size for reference in references) > _MUCH
        for _ in _each(load, list(by_url.values()), several=much or any(map(is_url, by_url))):
            pass
        return values

    def save(self, reference: Reference, path: str | os.PathLike[str]) -> None:
        """Copy a value into a local file as its serializer wrote it, after checking its digest; nothing is loaded.

        Parameters
        ----------
        reference : Reference
            As in `get`; its `serializer` says what the file will hold.
        path : str
            The file; it is replaced if there is one, and its folder is made.

        Raises
        ------
        ResultMissing, ResultCorrupt
            As in `get`.
        StoreUnavailable
            The file cannot be written.
        """
        data, _ = self._payload(reference)
        LocalFiles().replace(os.path.abspath(path), [data], os.urandom(8).hex())

    def _payload(self, reference: Reference) -> tuple[memoryview, str]:
        return next(self._payloads([reference]))

    def _payloads(self, references: Sequence[Reference]) -> Iterator[tuple[memoryview, str]]:
        """What the serializers wrote, and the loader; of references to one place, in their order."""
        files, url = self._files(references[0].url), references[0].url
        try:
            if references[0].target:
                data, loader = targets.read(files, url, references[0].digest, self._record_signer)
                for reference in references:
                    if len(data) != reference.size or digest([data]) != reference.digest:
                        raise Invalid(_CHANGED)
                    yield data, loader
                return
            items = [reference.item for reference in references if reference.item is not None]
            found: Iterable[commits.Found]
            if items:
                found = commits.read_items(files, url, items, self._signer)
            else:
                found = [commits.read_value(files, url, self._signer)] * len(references)
            for one, reference in zip(found, references, strict=True):
                if not _same(one.what, reference):
                    raise Invalid(_CHANGED)
                yield objects.content(one.what, one.stored), one.loader
        except FileNotFoundError:
            raise ResultMissing(url) from None
        except Invalid as error:
            raise ResultCorrupt(url, str(error)) from error

    # --- looking ---

    def holds(self, reference: Reference) -> bool:
        """Say whether a value is still there, by its header and length: its content is not read.

        Parameters
        ----------
        reference : Reference
            As in `get`.

        Raises
        ------
        StoreUnavailable
            The storage failed.
        """
        return self.holds_many([reference])[0]

    def holds_many(self, references: Sequence[Reference]) -> list[bool]:
        """As `holds`, of many at once, in their order; one look at each object, several at a time where it is far.

        Examples
        --------
        >>> from dataflow_storage import ResultStore
        >>> store = ResultStore("memory://doctest-holds")
        >>> reference = store.put("k", 1).reference
        >>> store.holds_many([reference, reference._replace(url="memory://doctest-holds/b.dflw")])
        [True, False]
        """
        by_url = _by_url(references)
        held = [False] * len(references)

        def look(numbers: list[int]) -> None:
            for number, answer in zip(numbers, self._look([references[each] for each in numbers]), strict=True):
                held[number] = answer

        for _ in _each(look, list(by_url.values()), several=any(map(is_url, by_url))):
            pass
        return held

    def _look(self, references: list[Reference]) -> list[bool]:
        """`holds` for some references to one place."""
        url = references[0].url
        files = self._files(url)
        try:
            if references[0].target:
                size, sha = references[0].size, references[0].digest
                held = targets.holds(files, url, size, sha, self._record_signer)
                return [held and (each.size, each.digest) == (size, sha) for each in references]
            header, table = commits.look(files, url, self._signer)
            items = [each.item for each in references if each.item is not None]
            entries = objects.find_entries(header, table, items)
            found = [header if each.item is None else next(entries) for each in references]
        except FileNotFoundError:
            return [False] * len(references)
        except Invalid as error:
            self._report(url, error)
            return [False] * len(references)
        return [what is not None and _same(what, each) for what, each in zip(found, references, strict=True)]

    def meta(self, reference: Reference) -> Mapping[str, object]:
        """What was given as `meta` when a value was committed; of a batch, what its values share.

        Raises
        ------
        ResultMissing
            There is nothing.
        ResultCorrupt
            What is there does not count.
        """
        files, url = self._files(reference.url), reference.url
        try:
            if not reference.target:
                return commits.look(files, url, self._signer)[0].meta
            record = targets.read_record(files, url, self._record_signer)
        except FileNotFoundError:
            record = None
        except Invalid as error:
            raise ResultCorrupt(url, str(error)) from error
        if record is None:
            raise ResultMissing(url)
        return record.meta

    def keys(self, prefix: str = "") -> list[str]:
        """List the keys that have something and start with a text, sorted.

        Parameters
        ----------
        prefix : str
            Any text; one with a ``/`` in it makes listing cheaper.

        Returns
        -------
        list of str
        """
        return sorted({key for key, _ in places.listing(self._files(self.url), self.url, prefix)})

    def objects(self, prefix: str = "") -> Iterator[Stored]:
        """List the objects whose key starts with a text, with their size and time; targets are not among them.

        Parameters
        ----------
        prefix : str
            As in `keys`.

        Yields
        ------
        Stored
            What each header says; one that is damaged is reported and passed over.
        """
        files = self._files(self.url)

        def look(found: tuple[str, str]) -> Stored | None:
            key, url = found
            try:
                header, table = commits.look(files, url, self._signer)
                rows = objects.entries(header, table) if header.items else []
            except FileNotFoundError:  # deleted meanwhile
                return None
            except Invalid as error:
                self._report(url, error)
                return None
            return Stored(
                key=key,
                url=url,
                size=header.end,
                created=header.created,
                items=header.items,
                meta=header.meta,
                references=tuple(refer(url, row, row.item) for row in rows) or (refer(url, header),),
            )

        listing = list(places.listing(files, self.url, prefix))
        yield from (each for each in _each(look, listing, several=is_url(self.url)) if each is not None)

    # --- within ---

    @abstractmethod
    def _files(self, url: str) -> Files:
        """The open file system of a URL."""

    def _examine(self, url: str, key: str, *, batch: bool) -> tuple[Header, list[Entry]] | None:
        try:
            return commits.read(self._files(url), url, key, batch=batch, signer=self._signer)
        except Invalid as error:
            self._report(url, error)
            return None

    def _report(self, url: str, error: Invalid) -> None:
        if url not in self._reported:
            self._reported.add(url)
            _log.warning("The object at %r is treated as absent: %s.", url, error)


def _by_url(references: Iterable[Reference]) -> dict[str, list[int]]:
    """Where references lie; and the numbers of those that lie there."""
    numbers: dict[str, list[int]] = {}
    for number, reference in enumerate(references):
        numbers.setdefault(reference.url, []).append(number)
    return numbers


def _same(what: Header | Entry, reference: Reference) -> bool:
    return (what.size, what.digest, what.serializer) == (reference.size, reference.digest, reference.serializer)


def _each(call: Callable[[S], T], items: Iterable[S], *, several: bool) -> Iterator[T]:
    """Map, several at a time where each waits for an answer, or reads much."""
    if not several:
        yield from map(call, items)
        return
    with ThreadPoolExecutor(_THREADS, "dataflow-storage") as threads:
        yield from threads.map(call, items)
