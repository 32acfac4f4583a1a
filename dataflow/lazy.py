"""Dask collections as arguments and results: they are computed where the task runs, on its cluster where it has one."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from dataflow.node import Node
from dataflow.structure import replace

# A longer container is not searched.
MOST_ITEMS = 1_000


class _Kind(type):
    """Dask knows collections by a method, not by a base class."""

    def __instancecheck__(cls, value: object) -> bool:
        return hasattr(type(value), "__dask_graph__") and not isinstance(value, Node)


class Collection(metaclass=_Kind):
    """What Dask computes: delayed values, arrays, tables, bags, and what else follows its protocol; but not a Node.

    Examples
    --------
    >>> import dask
    >>> isinstance(dask.delayed(1), Collection), isinstance([1], Collection)
    (True, False)
    """


def computed(value: object, found: Sequence[Collection]) -> object:
    """A structure with the values of the collections in it, which are computed together: those of one sort, for Dask
    advises against mixing what it knows as expressions, such as tables, with others.
    """
    compute = import_module("dask").compute
    values: dict[int, object] = {}
    for sort in (True, False):
        alike = [one for one in found if hasattr(type(one), "expr") is sort]
        values.update(zip(map(id, alike), compute(*alike, **_scheduler()) if alike else (), strict=True))
    return replace(value, Collection, lambda one: values[id(one)])


def collections_in(value: object) -> list[Collection]:
    """The collections that a value is, or that are items of it: of a list, tuple or dict that is not too long."""
    if isinstance(value, list | tuple | dict):
        items = value.values() if isinstance(value, dict) else value
        return [item for item in items if isinstance(item, Collection)] if len(value) <= MOST_ITEMS else []
    return [value] if isinstance(value, Collection) else []


def settled(value: object) -> object:
    """What a task returned, with the values of the collections in it."""
    found = collections_in(value)
    return computed(value, found) if found else value


def _scheduler() -> dict[str, Any]:
    """In a worker of a cluster, Dask finds that by itself; else threads do, unless somebody chose."""
    if import_module("dask").config.get("scheduler", None):
        return {}
    try:
        import_module("distributed").get_client()  # Dask looks for it, too
    except ValueError:
        return {"scheduler": "threads"}
    return {}
