"""Where results and run records rest. Importing this package is cheap: a name is loaded when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from dataflow_storage.errors import (
    AmbiguousRun,
    ResultCorrupt,
    ResultMissing,
    RunNotFound,
    SerializationError,
    StaleOwner,
    StorageError,
    StoreUnavailable,
    UnsafePath,
)

if TYPE_CHECKING:
    from dataflow_storage.cache import CacheIndex, Entry
    from dataflow_storage.encoding import Encoded
    from dataflow_storage.references import Committed, Reference
    from dataflow_storage.results import ResultStore
    from dataflow_storage.runs import RunStore
    from dataflow_storage.serializers import Serializer

__all__ = [
    "AmbiguousRun",
    "CacheIndex",
    "Committed",
    "Encoded",
    "Entry",
    "Reference",
    "ResultCorrupt",
    "ResultMissing",
    "ResultStore",
    "RunNotFound",
    "RunStore",
    "SerializationError",
    "Serializer",
    "StaleOwner",
    "StorageError",
    "StoreUnavailable",
    "UnsafePath",
]

_LAZY = {
    "CacheIndex": "cache",
    "Entry": "cache",
    "Committed": "references",
    "Encoded": "encoding",
    "Reference": "references",
    "ResultStore": "results",
    "RunStore": "runs",
    "Serializer": "serializers",
}


def __getattr__(name: str) -> object:
    module = _LAZY.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{module}"), name)
    globals()[name] = value  # the next use does not come through here
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
