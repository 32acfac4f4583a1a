"""What bundles have committed: of a chunk's object, which task run each of its results is of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from dataflow_storage import Reference, ResultStore

PATHS = "paths"  # in the meta of such an object: paths by item


def by_path(meta: Mapping[str, object], references: Mapping[int, Reference]) -> dict[str, Reference]:
    """The results of an object by the path of their task run.

    Parameters
    ----------
    meta : mapping
        What the object says of itself.
    references : mapping of int to Reference
        What is in it, by item.
    """
    paths = cast("Mapping[str, str]", meta.get(PATHS, {}))
    return {paths[str(item)]: reference for item, reference in references.items() if str(item) in paths}


def read_bundle(store: ResultStore, key: str) -> dict[str, Reference]:
    """The results under the key of a bundle's chunk, by path."""
    found: dict[str, Reference] = {}
    objects: dict[str, dict[int, Reference]] = {}
    for item, reference in (store.find_many(key) or {}).items():
        objects.setdefault(reference.url, {})[item] = reference
    for references in objects.values():
        found.update(by_path(store.meta(next(iter(references.values()))), references))
    return found
