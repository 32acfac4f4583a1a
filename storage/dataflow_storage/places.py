"""Where the objects of a key lie in a store, and which keys a store has.

A single value is ``<key's name>.dflw``. A batch is ``<key's name>.<slot>.batch``: slot 0, and 1, 2, … for items that
came later, without gaps.
"""

from __future__ import annotations

from collections.abc import Iterator

from dataflow_storage.files import Files
from dataflow_storage.objects import Invalid, read_header
from dataflow_storage.paths import is_hashed, join, key_of, name_of

__all__ = ["listing", "object_url", "slot_url", "slots"]

_OBJECT, _BATCH = ".dflw", ".batch"


def object_url(place: str, key: str) -> str:
    """Name the object of a single value.

    Examples
    --------
    >>> object_url("/results", "run/task/0")
    '/results/run/task.0.dflw'
    """
    return join(place, name_of(key)) + _OBJECT


def slot_url(place: str, key: str, slot: int) -> str:
    """Name one object of a batch.

    Examples
    --------
    >>> slot_url("/results", "run/task/0", 0)
    '/results/run/task.0.0.batch'
    """
    return f"{join(place, name_of(key))}.{slot}{_BATCH}"


def slots(files: Files, place: str, key: str) -> Iterator[str]:
    """List the objects that a batch has."""
    slot = 0
    while True:
        url = slot_url(place, key, slot)
        try:
            files.read(url, 0, 1)
        except FileNotFoundError:
            return
        yield url
        slot += 1


def listing(files: Files, place: str, prefix: str) -> Iterator[tuple[str, str]]:
    """List the objects whose keys start with a prefix: key and place of each; what is not ours is passed over."""
    first, slash, _ = prefix.partition("/")
    folder = f"{name_of(first)}/" if slash else ""
    for name in files.names(join(place, folder).rstrip("/") if folder else place):
        key = _key(files, place, f"{folder}{name}")
        if key is not None and key.startswith(prefix):
            yield key, join(place, f"{folder}{name}")


def _key(files: Files, place: str, name: str) -> str | None:
    if name.endswith(_OBJECT):
        stem = name.removesuffix(_OBJECT)
    elif name.endswith(_BATCH):
        stem = name.removesuffix(_BATCH).rpartition(".")[0]
    else:
        return None
    if not is_hashed(stem):
        return key_of(stem)
    url = join(place, name)
    try:
        with files.open(url) as file:
            key = read_header(file).key
    except (FileNotFoundError, Invalid):  # deleted meanwhile, or nobody's
        return None
    return key if name_of(key) == stem else None
