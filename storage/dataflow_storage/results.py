"""Results on a local disk or any fsspec file system: committed once, atomically, and checked when they are read.

A `ResultStore` is a place and nothing else: it can be pickled, it opens its file system when it is first used, and it
keeps no list of what it holds. What was committed is named by a `Reference`, which is plain data.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from types import MappingProxyType

from dataflow_storage import commits, objects, places, targets
from dataflow_storage.encoding import Encoded, decode, encode
from dataflow_storage.errors import ResultCorrupt, ResultMissing, SerializationError
from dataflow_storage.files import Files, LocalFiles, inside, open_fsspec
from dataflow_storage.hashing import digest
from dataflow_storage.objects import Entry, Header, Invalid
from dataflow_storage.paths import check_target, is_url, join, place_of
from dataflow_storage.references import Committed, Reference, refer
from dataflow_storage.serializers import Serializer, by_suffix

__all__ = ["Committed", "Reference", "ResultStore"]

_log = logging.getLogger("dataflow.storage")
_NO_META: Mapping[str, object] = MappingProxyType({})


class ResultStore:
    """Results under one URL.

    Parameters
    ----------
    url : str
        A folder's path, or an fsspec URL such as ``memory://results`` or ``s3://bucket/results``.
    storage_options : mapping or None
        Handed to fsspec for this URL's file system; never shown.
    target_root : str or None
        Where relative targets go, a path or URL; None: ``<url>/targets``.
    fsync : bool
        On a local disk, wait until the disk has each commit. Survives a power cut, and takes milliseconds.

    Examples
    --------
    >>> store = ResultStore("memory://doctest")
    >>> first = store.put("run/task/0", {"a": 1})
    >>> store.get(first.reference), store.put("run/task/0", "late").adopted
    ({'a': 1}, True)
    """

    def __init__(
        self,
        url: str | os.PathLike[str],
        storage_options: Mapping[str, object] | None = None,
        *,
        target_root: str | os.PathLike[str] | None = None,
        fsync: bool = False,
    ) -> None:
        self.url = place_of(os.fspath(url))
        self.storage_options = dict(storage_options or {})
        self.target_root = place_of(os.fspath(target_root)) if target_root is not None else join(self.url, "targets")
        self.fsync = fsync
        self._local = LocalFiles(fsync=fsync)
        self._opened: dict[tuple[int, str], Files] = {}
        self._reported: set[str] = set()

    def __reduce__(self) -> tuple[object, ...]:
        return _store, (self.url, self.storage_options, self.target_root, self.fsync)

    def __repr__(self) -> str:
        return f"ResultStore({self.url!r})"

    # --- values ---

    def put(
        self,
        key: str,
        value: object,
        *,
        serializer: str | Serializer = "auto",
        meta: Mapping[str, object] = _NO_META,
    ) -> Committed:
        """Commit a value, unless this key has one.

        Parameters
        ----------
        key : str
            Slash-separated name; any text.
        value : object
            Anything that the serializer takes; None is a value.
        serializer : str or Serializer
            ``"auto"``, a name, or an object.
        meta : mapping
            Stored in the object's header, as JSON.

        Returns
        -------
        Committed
            The first commit wins; a later one gets the winner's reference. What is there but damaged does not win.

        Raises
        ------
        SerializationError
            The value cannot be written.
        StoreUnavailable
            The storage failed.
        """
        encoded, token = encode(value, serializer), _token()
        url = places.object_url(self.url, key)
        parts = objects.pack(
            encoded.parts,
            serializer=encoded.serializer,
            size=encoded.size,
            digest=encoded.digest,
            key=key,
            token=token,
            meta=meta,
            loader=encoded.loader,
        )
        found = commits.commit(self._files(url), url, key, parts, token, self._report)
        if found is None:
            return Committed(reference=refer(url, encoded), adopted=False)
        return Committed(reference=refer(url, found[0]), adopted=found[0].token != token)

    def put_many(
        self,
        key: str,
        values: Mapping[int, object],
        *,
        serializer: str | Serializer = "auto",
        meta: Mapping[str, object] = _NO_META,
    ) -> tuple[dict[int, Committed], dict[int, SerializationError]]:
        """Commit many small values as one object.

        Parameters
        ----------
        key : str
            Name of the batch; apart from the names of single values.
        values : mapping of int to object
            Values by item number.
        serializer, meta
            As in `put`, for all of them.

        Returns
        -------
        tuple of two dicts
            What was committed, and what could not be written, each by item. Together they have every item. An item that
            this key already has is adopted; items that are new to it are added in one further object.

        Raises
        ------
        StoreUnavailable
            The storage failed.
        """
        waiting: dict[int, Encoded] = {}
        failed: dict[int, SerializationError] = {}
        for item, value in values.items():
            try:
                waiting[item] = encode(value, serializer)
            except SerializationError as error:
                failed[item] = error
        done: dict[int, Committed] = {}
        slot = 0
        while waiting:
            url = places.slot_url(self.url, key, slot)
            found = self._commit_batch(url, key, waiting, meta)
            if found is None:
                done |= {
                    item: Committed(reference=refer(url, each, item), adopted=False) for item, each in waiting.items()
                }
                break
            for entry in found:
                if waiting.pop(entry.item, None) is not None:
                    done[entry.item] = Committed(reference=refer(url, entry, entry.item), adopted=True)
            slot += 1
        return done, failed

    def _commit_batch(
        self, url: str, key: str, values: Mapping[int, Encoded], meta: Mapping[str, object]
    ) -> list[Entry] | None:
        """Commit them as one object; the entries of the one that is there already, or None."""
        token = _token()
        parts = objects.pack_batch(
            {item: (each.serializer, each.parts, each.size, each.digest) for item, each in values.items()},
            key=key,
            token=token,
            meta=meta,
            loader=next((each.loader for each in values.values() if each.loader), ""),
        )
        found = commits.commit(self._files(url), url, key, parts, token, self._report, batch=True)
        return None if found is None or found[0].token == token else found[1]

    def find(self, key: str) -> Reference | None:
        """Look whether a key has a value; all its bytes are checked.

        Parameters
        ----------
        key : str
            As in `put`.

        Returns
        -------
        Reference or None
            None: there is none, or it is damaged; the latter is logged once.
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
            What is there is not what was committed.
        SerializationError
            It is, but it cannot be loaded in this process.
        """
        files, url = self._files(reference.url), reference.url
        try:
            if reference.target:
                data, loader = targets.read(files, url)
            elif reference.item is not None:
                data, loader = commits.read_item(files, url, reference.item)
            else:
                data, loader = commits.read_value(files, url)
            if len(data) != reference.size or digest([data]) != reference.digest:
                raise Invalid("its content does not match the digest of what was committed")
        except FileNotFoundError:
            raise ResultMissing(url) from None
        except Invalid as error:
            raise ResultCorrupt(url, str(error)) from error
        return decode(data, reference.serializer, loader)

    # --- targets ---

    def put_target(
        self,
        path: str,
        value: object,
        *,
        serializer: str | Serializer | None = None,
        meta: Mapping[str, object] = _NO_META,
    ) -> Committed:
        """Write a value as a plain file, with a record beside it.

        Parameters
        ----------
        path : str
            Relative to the target root, or a full URL.
        value : object
            What the format takes.
        serializer : str, Serializer or None
            None: what the suffix of the path says.
        meta : mapping
            Stored in the record. `run`, `path`, `index` and `generation` in it tell which task run this is: the same
            one adopts what is there; another one writes the file anew.

        Returns
        -------
        Committed

        Raises
        ------
        UnsafePath
            The path could leave its root.
        SerializationError
            The value cannot be written in this format, or the suffix names none.
        StoreUnavailable
            The storage failed.
        """
        url = self._target_url(path)
        encoded = encode(value, by_suffix(url, value) if serializer is None else serializer)
        record = targets.Record(
            serializer=encoded.serializer,
            size=encoded.size,
            digest=encoded.digest,
            token=_token(),
            loader=encoded.loader,
            meta=dict(meta),
        )
        standing = targets.commit(self._files(url), url, encoded.parts, record)
        return Committed(reference=refer(url, standing, target=True), adopted=standing.token != record.token)

    def find_target(self, path: str) -> Reference | None:
        """Look whether a target was written by a commit and is unchanged since; all its bytes are checked.

        Returns
        -------
        Reference or None
            None: there is none, or it is not the file that was committed; the latter is logged once.

        Raises
        ------
        UnsafePath
            The path could leave its root.
        """
        url = self._target_url(path)
        try:
            record = targets.valid(self._files(url), url)
        except Invalid as error:
            self._report(url, error)
            return None
        return None if record is None else refer(url, record, target=True)

    def target_meta(self, path: str) -> Mapping[str, object]:
        """What was given as `meta` when a target was committed; empty where it has no whole record.

        Parameters
        ----------
        path : str
            As in `put_target`.
        """
        url = self._target_url(path)
        try:
            record = targets.read_record(self._files(url), url)
        except Invalid as error:
            self._report(url, error)
            return {}
        return {} if record is None else record.meta

    def _target_url(self, path: str) -> str:
        tidy = check_target(path)
        if is_url(tidy):
            return place_of(tidy)
        url = join(self.target_root, tidy)
        if not is_url(url):
            inside(self.target_root, url)
        return url

    # --- upkeep ---

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
        return places.keys(self._files(self.url), self.url, prefix)

    def delete(self, key: str) -> None:
        """Remove what a key has: its value, its batch, or nothing.

        Parameters
        ----------
        key : str
            One key; this is not a prefix.
        """
        files = self._files(self.url)
        for url in (places.object_url(self.url, key), *reversed(list(places.slots(files, self.url, key)))):
            files.delete(url)  # from the end of a batch, so that a broken-off delete leaves no gap

    # --- within ---

    def _files(self, url: str) -> Files:
        protocol, separator, _ = url.partition("://")
        if not separator:
            return self._local
        at = (os.getpid(), protocol)  # a file system that talks to a server does not survive a fork
        files = self._opened.get(at)
        if files is None:
            ours = self.url.startswith(f"{protocol}://")
            files = self._opened[at] = open_fsspec(url, self.storage_options if ours else {})
        return files

    def _examine(self, url: str, key: str, *, batch: bool) -> tuple[Header, list[Entry]] | None:
        try:
            return commits.read(self._files(url), url, key, batch=batch)
        except Invalid as error:
            self._report(url, error)
            return None

    def _report(self, url: str, error: Invalid) -> None:
        if url not in self._reported:
            self._reported.add(url)
            _log.warning("The object at %r is treated as absent: %s.", url, error)


def _store(url: str, options: Mapping[str, object], target_root: str, fsync: bool) -> ResultStore:
    return ResultStore(url, options, target_root=target_root, fsync=fsync)


def _token() -> str:
    return os.urandom(8).hex()
