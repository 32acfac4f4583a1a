"""What lies in a result store, sound or not, as files with their sizes; and how it is removed."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from dataflow_storage.errors import ResultCorrupt, ResultMissing
from dataflow_storage.paths import is_url, join, name_of
from dataflow_storage.results import ResultStore

__all__ = ["claims", "folder", "folders", "remove", "temporaries"]

_THREADS = 16  # for small requests to a storage elsewhere
_TEMPORARY = re.compile(r"(?:.*/)?\.[0-9a-f]{16}\.tmp")


def folder(store: ResultStore, first: str) -> dict[str, int]:
    """What lies in the folder of the keys that start with ``first/``, damaged objects and unknown files too.

    Parameters
    ----------
    store : ResultStore
        Where.
    first : str
        The first part of the keys, such as a run's id.

    Returns
    -------
    dict of str to int
        The bytes of each file, by its URL.

    Examples
    --------
    >>> store = ResultStore("memory://doctest-cleaning")
    >>> reference = store.put("run/task", 1).reference
    >>> list(folder(store, "run")) == [reference.url]
    True
    """
    place = join(store.url, name_of(first))
    return {join(place, name): size for name, size in store._files(store.url).sizes(place).items()}


def folders(store: ResultStore, pattern: str) -> dict[str, dict[str, int]]:
    """As `folder`, for all folders whose whole name matches a regular expression: one listing of the store."""
    wanted = re.compile(pattern)
    found: dict[str, dict[str, int]] = {}
    for name, size in store._files(store.url).sizes(store.url).items():
        first, slash, _ = name.partition("/")
        if slash and wanted.fullmatch(first):
            found.setdefault(first, {})[join(store.url, name)] = size
    return found


def temporaries(store: ResultStore, before: float) -> dict[str, int]:
    """Files that writers who died left half-written on a local disk: last written before a time (unix seconds)."""
    if is_url(store.url):
        return {}  # elsewhere an object is there whole or not at all
    found: dict[str, int] = {}
    for name in store._files(store.url).names(store.url):
        if _TEMPORARY.fullmatch(name):
            with suppress(FileNotFoundError):
                status = os.stat(f"{store.url}/{name}")
                if status.st_mtime < before:
                    found[f"{store.url}/{name}"] = status.st_size
    return found


def claims(store: ResultStore, before: float) -> dict[str, int]:
    """Claims on cache keys that ended before a time (unix seconds): those who made them died."""
    found: dict[str, int] = {}
    for key in store.keys("claims/"):
        reference = store.find(key)
        if reference is None:
            continue
        try:
            said = store.get(reference)
        except (ResultMissing, ResultCorrupt):  # it was let go meanwhile
            continue
        if isinstance(said, dict) and float(said.get("until", before)) < before:
            found[reference.url] = reference.size
    return found


def remove(store: ResultStore, urls: Iterable[str]) -> None:
    """Remove files; one that is not there any more is no error.

    Raises
    ------
    StoreUnavailable
        The storage failed; some may be gone.
    """
    files, doomed = store._files(store.url), list(urls)
    if not is_url(store.url):
        for url in doomed:
            files.delete(url)
        return
    with ThreadPoolExecutor(_THREADS, "dataflow-storage") as threads:
        for _ in threads.map(files.delete, doomed):
            pass
