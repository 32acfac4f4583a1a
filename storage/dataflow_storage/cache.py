"""The index of a cache: which key has which result. It lies beside the results, so whoever shares them shares it.

Each task's code has a folder, ``cache.<task>.<code>``, of *segments*: objects that hold some entries each, written once
and never changed. A look loads the folder once and after that only what is new in it. Which folders there are,
``caches/`` tells. A *claim* is an object that says that somebody computes a key now; it lasts some seconds, so that one
who died holds up nobody for long.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from dataflow_storage.errors import ResultCorrupt, ResultMissing
from dataflow_storage.references import Reference
from dataflow_storage.results import ResultStore

__all__ = ["CacheIndex", "Entry"]

_LOOK_SECONDS = 0.5  # a folder is listed again for a key that it does not have, but not more often than this
_MANY = 16  # segments; more are merged at the end of a run


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What is known of a cached result.

    Parameters
    ----------
    key : str
        The cache key, hex.
    inputs : mapping
        The digest of each input, by its name: the key was made of them and of the folder's identity.
    reference : Reference or None
        The result; None: there was nothing to do, and `skipped` says why.
    created : float
        Seconds since the epoch.
    run, path : str
        The run's id and the task run that made it.
    why : str
        Why it had to be made.
    skipped : str
        Why there was nothing to do.
    expires : float or None
        Seconds after which its task did not want it any more, when it was made.
    """

    key: str
    inputs: Mapping[str, str]
    reference: Reference | None
    created: float
    run: str = ""
    path: str = ""
    why: str = ""
    skipped: str = ""
    expires: float | None = None

    def to_dict(self) -> dict[str, object]:
        """Give the entry as JSON data."""
        reference = None if self.reference is None else self.reference.to_dict()
        return {**vars(self), "inputs": dict(self.inputs), "reference": reference}

    @staticmethod
    def from_dict(data: object) -> Entry | None:
        """Make an entry of what `to_dict` gave, there or in a later version; None of anything else."""
        if not isinstance(data, Mapping):
            return None
        told = {name: value for name, value in data.items() if name in Entry.__dataclass_fields__}
        reference = told.get("reference")
        try:
            if reference is not None:
                told["reference"] = Reference.from_dict(reference)
            return Entry(**told)
        except TypeError:
            return None


@dataclass
class _Folder:
    """What was loaded of a folder: its entries, newest by key; the segments seen, and those that could be read; when it
    was listed."""

    entries: dict[str, Entry] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    read: set[str] = field(default_factory=set)
    listed: float = float("-inf")

    def add(self, entry: Entry) -> None:
        standing = self.entries.get(entry.key)
        if standing is None or standing.created < entry.created:
            self.entries[entry.key] = entry


class CacheIndex:
    """The cache of one result store, as one process sees it.

    Parameters
    ----------
    results : ResultStore
        Where the results and the index are.

    Examples
    --------
    >>> from dataflow_storage import ResultStore
    >>> index = CacheIndex(ResultStore("memory://doctest-cache"))
    >>> made = Entry(key="k1", inputs={}, created=1.0, reference=index.results.put("r/clean", 1).reference)
    >>> index.add("clean.c0de", {"task": "clean"}, [made])
    >>> index.find("clean.c0de", "k1").reference == made.reference
    True
    """

    def __init__(self, results: ResultStore) -> None:
        self.results = results
        self._folders: dict[str, _Folder] = {}
        self._marked: set[str] = set()  # folders that are known to be in the list of folders
        self._lock = threading.Lock()

    # Entries ----------------------------------------------------------------------------------------------------------

    def find(self, folder: str, key: str, *, fresh: bool = False) -> Entry | None:
        """The newest entry of a key.

        Parameters
        ----------
        folder : str
            ``<task>.<code>``.
        key : str
            The cache key.
        fresh : bool
            Look for what others have added, however short ago the last look was.
        """
        with self._lock:
            known = self._folders.setdefault(folder, _Folder())
            if fresh or (key not in known.entries and time.monotonic() - known.listed > _LOOK_SECONDS):
                self._load(folder, known)
            return known.entries.get(key)

    def entries(self, folder: str) -> list[Entry]:
        """All entries of a folder, the oldest first."""
        with self._lock:
            known = self._folders.setdefault(folder, _Folder())
            self._load(folder, known)
            return sorted(known.entries.values(), key=lambda entry: entry.created)

    def folders(self, task: str = "") -> list[str]:
        """The folders that there are: of one task, or of all."""
        names = [key.partition("/")[2] for key in self.results.keys("caches/")]
        return [name for name in names if not task or name.rpartition(".")[0] == task]

    def identity(self, folder: str) -> Mapping[str, object]:
        """What all keys of a folder have in common: the task, and what counts of its code."""
        reference = self.results.find(f"caches/{folder}")
        try:
            told = None if reference is None else self.results.get(reference)
        except ResultMissing:  # removed meanwhile
            told = None
        return told if isinstance(told, dict) else {}

    def add(self, folder: str, identity: Mapping[str, object], entries: Iterable[Entry]) -> None:
        """Put entries into a folder, as one segment; the folder's first one notes its identity."""
        made = list(entries)
        if not made:
            return
        key = f"{_place(folder)}{os.urandom(8).hex()}"
        if folder not in self._marked:
            self.results.put(f"caches/{folder}", dict(identity), serializer="json", step="cache.marker")
            self._marked.add(folder)
        self.results.put(key, [entry.to_dict() for entry in made], serializer="json", step="cache.segment")
        with self._lock:
            known = self._folders.setdefault(folder, _Folder())
            known.seen.add(key)
            known.read.add(key)
            for entry in made:
                known.add(entry)

    def remove(self, folder: str, keys: Iterable[str] | None = None) -> int:
        """Forget entries; the results stay where they are. Returns how many.

        Parameters
        ----------
        folder : str
            Where.
        keys : iterable of str, optional
            Which; None: all.
        """
        segments = self.results.keys(_place(folder))
        doomed = None if keys is None else set(keys)
        identity = self.identity(folder)
        before = {entry.key: entry for entry in self.entries(folder)}
        kept = [entry for key, entry in before.items() if doomed is not None and key not in doomed]
        with self._lock:
            read = self._folders.pop(folder, _Folder()).read
        # The folder stays in the list of folders: another process may be about to add to it.
        self.add(folder, identity, kept)
        for segment in segments if keys is None else read & set(segments):
            self.results.delete(segment, step="cache.remove")
        return len(before) - len(kept)

    def compact(self, folder: str) -> None:
        """Merge a folder's segments into one where there are many."""
        segments = self.results.keys(_place(folder))
        if len(segments) > _MANY:
            with self._lock:
                known = self._folders.setdefault(folder, _Folder())
                self._load(folder, known)
                self._marked.add(folder)
                entries, mine = list(known.entries.values()), known.read & set(segments)
            self.add(folder, {}, entries)  # the folder is known
            for segment in mine:  # what came after the look stays, and what is signed with another key
                self.results.delete(segment, step="cache.remove")

    def _load(self, folder: str, known: _Folder) -> None:
        known.listed = time.monotonic()
        while True:
            moved = False
            for key in self.results.keys(_place(folder)):
                if key not in known.seen:
                    rows = self._rows(key)
                    known.seen.add(key)
                    moved = moved or rows is None
                    if rows is not None:
                        known.read.add(key)
                    for row in rows or ():
                        entry = Entry.from_dict(row)
                        if entry is not None:
                            known.add(entry)
            if not moved:
                return

    def _rows(self, key: str) -> list[object] | None:
        """What a segment has; None: it was merged into another one meanwhile, or is damaged (which is reported)."""
        reference = self.results.find(key)
        if reference is None:
            return None
        try:
            rows = self.results.get(reference)
        except (ResultMissing, ResultCorrupt):
            return None
        return rows if isinstance(rows, list) else []

    # Claims -----------------------------------------------------------------------------------------------------------

    def claim(self, key: str, owner: str, seconds: float, is_gone: Callable[[str], bool] = lambda owner: False) -> bool:
        """Say that this key is being computed, unless somebody else has said so.

        Parameters
        ----------
        key : str
            The cache key.
        owner : str
            Who says so; the same may say so again.
        seconds : float
            How long it counts.
        is_gone : callable
            Tells of another owner whether it is known to be gone: its claim does not count.
        """
        place = f"claims/{key}"
        mine = {"owner": owner, "until": time.time() + seconds}
        for _ in range(2):
            committed = self.results.put(place, mine, serializer="json", step="cache.claim")
            if not committed.adopted:
                return True
            try:
                said = self.results.get(committed.reference)
            except (ResultMissing, ResultCorrupt):  # it was let go meanwhile
                continue
            if isinstance(said, dict) and said.get("owner") == owner:
                return True
            waits = isinstance(said, dict) and float(said.get("until", 0)) > time.time()
            if isinstance(said, dict) and waits and not is_gone(str(said.get("owner"))):
                return False
            self.results.delete(place, step="cache.release")
        return False

    def release(self, key: str) -> None:
        """Say that it is not computed any more."""
        self.results.delete(f"claims/{key}", step="cache.release")


def _place(folder: str) -> str:
    return f"cache.{folder}/"
