"""Results on a local disk or any fsspec file system: committed once, atomically, and checked when they are read.

A `ResultStore` is a place and nothing else: it can be pickled, it opens its file system when it is first used, and it
keeps no list of what it holds. What was committed is named by a `Reference`, which is plain data.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from types import MappingProxyType

from dataflow_storage import commits, packing, places, targets
from dataflow_storage.encoding import Coding, Encoded
from dataflow_storage.errors import SerializationError
from dataflow_storage.files import Files
from dataflow_storage.local import inside
from dataflow_storage.objects import Entry, Invalid
from dataflow_storage.opened import TIMEOUT, Opened
from dataflow_storage.paths import check_target, is_url, join, place_of
from dataflow_storage.reading import Reading
from dataflow_storage.references import Committed, CommittedMany, Reference, refer
from dataflow_storage.serializers import Serializer, by_suffix

__all__ = ["Committed", "Reference", "ResultStore"]

_NO_META: Mapping[str, object] = MappingProxyType({})


class ResultStore(Reading):
    """Results under one URL.

    Parameters
    ----------
    url : str
        A folder's path, or an fsspec URL such as ``memory://results`` or ``s3://bucket/results``.
    storage_options : mapping or None
        Handed to fsspec for this URL's file system, or such a mapping for each of several protocols, as in
        ``{"s3": {...}, "gs": {...}}``; never shown.
    target_root : str or None
        Where relative targets go, a path or URL; None: ``<url>/targets``.
    fsync : bool
        On a local disk, wait until the disk has each commit. Survives a power cut, and takes milliseconds.
    timeout : float
        Seconds for a small call to a storage elsewhere, with all its attempts; each megabyte gets more.
    compression : str
        ``"auto"``: objects of some KB or more are compressed where they gain by it; ``"none"``: nothing is. Targets
        never are, and everything can be read either way.
    signing_key : str or None
        Sign what is written, and read nothing that was not signed with this key. Never shown and never stored, but
        workers get it with the store.
    pickle : bool
        False: neither write nor read pickles and serializers of one's own.

    Raises
    ------
    TypeError, ValueError
        `compression` or `signing_key` is none.

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
        timeout: float = TIMEOUT,
        compression: str = "auto",
        signing_key: str | None = None,
        pickle: bool = True,
    ) -> None:
        if compression not in ("auto", "none"):
            raise ValueError(f"compression={compression!r} is not known: give 'auto' or 'none'.")
        coding = Coding(compress=compression == "auto", pickle=pickle)
        super().__init__(place_of(os.fspath(url)), coding, signing_key)
        self.storage_options = dict(storage_options or {})
        self.target_root = place_of(os.fspath(target_root)) if target_root is not None else join(self.url, "targets")
        self.fsync = fsync
        self.timeout = timeout
        self._opened = Opened(self.url, self.storage_options, fsync=fsync, timeout=timeout)

    def __reduce__(self) -> tuple[object, ...]:
        compression = "auto" if self._coding.compress else "none"
        more = (compression, self._signing_key, self._coding.pickle)
        return _store, (self.url, self.storage_options, self.target_root, self.fsync, self.timeout, *more)

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
        step: str = "results.commit",
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
        step : str
            What `dataflow_storage.faults` calls this.

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
        encoded, token = self._coding.encode(value, serializer), _token()
        url = places.object_url(self.url, key)
        parts = packing.pack(encoded, key=key, token=token, meta=meta, signer=self._signer)
        found = commits.commit(self._files(url), url, key, parts, token, self._report, signer=self._signer, step=step)
        if found is None:
            return Committed(reference=refer(url, encoded), adopted=False)
        return Committed(reference=refer(url, found[0]), adopted=found[0].token != token)

    def encode(self, value: object, *, serializer: str | Serializer = "auto") -> Encoded:
        """Make the bytes of a value, for `put_many`: what cannot be stored is refused now, not when all are.

        Parameters
        ----------
        value, serializer
            As in `put`.

        Raises
        ------
        SerializationError
            The value cannot be written.
        """
        return self._coding.encode(value, serializer)

    def put_many(
        self,
        key: str,
        values: Mapping[int, object] | packing.Packer,
        *,
        serializer: str | Serializer = "auto",
        meta: Mapping[str, object] = _NO_META,
    ) -> tuple[CommittedMany, dict[int, SerializationError]]:
        """Commit many small values as one object.

        Parameters
        ----------
        key : str
            Name of the batch; apart from the names of single values.
        values : mapping of int to object, or Packer
            Values by item number; or as bytes, that `encode` gave.
        serializer, meta
            As in `put`, for all of them; bytes are what they are.

        Returns
        -------
        tuple of two mappings
            What was committed, and what could not be written, each by item. Together they have every item. An item that
            this key already has is adopted; items that are new to it are added in one further object.

        Raises
        ------
        StoreUnavailable
            The storage failed.
        """
        failed: dict[int, SerializationError] = {}
        if isinstance(values, packing.Packer):
            waiting = values
        else:
            waiting = packing.Packer()
            for item, value in values.items():
                try:
                    waiting.add(item, self._coding.encode(value, serializer))
                except SerializationError as error:
                    failed[item] = error
        done, slot = CommittedMany(), 0
        while waiting:
            url = places.slot_url(self.url, key, slot)
            found = self._commit_batch(url, key, waiting, meta)
            if found is None:
                done.extend(url, waiting)
                break
            mine = set(waiting.items)
            for entry in found:
                if entry.item in mine:
                    done.adopt(url, entry, entry.item)
            waiting, slot = waiting.without(done), slot + 1
        return done, failed

    def _commit_batch(
        self, url: str, key: str, packer: packing.Packer, meta: Mapping[str, object]
    ) -> list[Entry] | None:
        """Commit them as one object; the entries of the one that is there already, or None."""
        token = _token()
        parts = packer.pack(key=key, token=token, meta=meta, signer=self._signer)
        files, signer = self._files(url), self._signer
        found = commits.commit(files, url, key, parts, token, self._report, batch=True, signer=signer)
        return None if found is None or found[0].token == token else found[1]

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
        chosen = by_suffix(url, value) if serializer is None else serializer
        encoded = self._coding.encode(value, chosen, plain=True)
        record = targets.Record(
            serializer=encoded.serializer,
            size=encoded.size,
            digest=encoded.digest,
            token=_token(),
            created=round(time.time(), 3),
            loader=encoded.loader,
            meta=dict(meta),
        )
        standing = targets.commit(self._files(url), url, encoded.parts, record, self._record_signer)
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
            record = targets.valid(self._files(url), url, self._record_signer)
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
            record = targets.read_record(self._files(url), url, self._record_signer)
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

    def is_exclusive(self) -> bool:
        """Whether only one of two attempts can commit a key here; a server that ignores conditions cannot promise it.

        Finding out takes a few requests, once per process.

        Raises
        ------
        StoreUnavailable
            The storage failed.
        """
        files = self._files(self.url)
        return files.is_exclusive(join(self.url, "x"))

    def delete(self, key: str, *, step: str = "results.delete") -> None:
        """Remove what a key has: its value, its batch, or nothing.

        Parameters
        ----------
        key : str
            One key; this is not a prefix.
        step : str
            As in `put`.
        """
        files = self._files(self.url)
        for url in (places.object_url(self.url, key), *reversed(list(places.slots(files, self.url, key)))):
            files.delete(url, step=step)  # from the end of a batch, so that a broken-off delete leaves no gap

    # --- within ---

    def _files(self, url: str) -> Files:
        return self._opened.at(url)


def _store(
    url: str,
    options: Mapping[str, object],
    target_root: str,
    fsync: bool,
    timeout: float,
    compression: str,
    signing_key: str | None,
    pickle: bool,
) -> ResultStore:
    return ResultStore(
        url,
        options,
        target_root=target_root,
        fsync=fsync,
        timeout=timeout,
        compression=compression,
        signing_key=signing_key,
        pickle=pickle,
    )


def _token() -> str:
    return os.urandom(8).hex()
