"""Who knows a type: from a value to the function that encodes it."""

from __future__ import annotations

import dataclasses
import enum
import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from dataflow.canonical import functions, objects
from dataflow.canonical.frames import Around, Encoded, Refused, name_of, text
from dataflow.canonical.plain import CONTAINERS, SCALARS

Encoder: TypeAlias = Callable[[Any, Around], Encoded]

_EXACT: Mapping[type, Encoder] = {**CONTAINERS, **objects.VALUES, **functions.KINDS}


def encoder(value: object) -> Encoder:
    """What encodes a value that is no scalar.

    Raises
    ------
    Refused
        Nothing does.
    """
    kind = type(value)
    exact = _EXACT.get(kind)
    if exact is not None:
        return exact
    if isinstance(value, type):
        return functions.class_
    if any("__dask_tokenize__" in vars(base) for base in kind.__mro__):
        return objects.tokenized
    if isinstance(value, enum.Enum):
        return objects.member
    found = _foreign(value, kind)
    if found is not None:
        return found
    if dataclasses.is_dataclass(value):
        return objects.dataclass_instance
    for base in kind.__mro__:
        if base in SCALARS:
            return functools.partial(objects.derived, content=_at_once(base))
        if base in _EXACT:
            return functools.partial(objects.derived, content=_EXACT[base])
    found = functions.callable_like(value)
    if found is not None:
        return found
    raise Refused(value)


def _at_once(base: type) -> Encoder:
    return lambda value, around: SCALARS[base](value)


def _foreign(value: object, kind: type) -> Encoder | None:
    packages = {base.__module__.partition(".")[0] for base in kind.__mro__} & _PACKAGES & set(sys.modules)
    if "pandas" in packages:
        from dataflow.canonical.tables import encoder as of_pandas

        return of_pandas(value)
    if "numpy" in packages:
        from dataflow.canonical.arrays import encoder as of_numpy

        return of_numpy(value)
    if "pyarrow" in packages:
        from dataflow.canonical.arrow import encoder as of_arrow

        return of_arrow(value)
    if packages:
        from pydantic import AnyUrl, BaseModel

        if isinstance(value, BaseModel):
            return objects.model
        if isinstance(value, AnyUrl):
            return lambda value, around: text(b"url", f"{name_of(kind)} {value}")
    return None


_PACKAGES = frozenset({"numpy", "pandas", "pyarrow", "pydantic", "pydantic_core"})
