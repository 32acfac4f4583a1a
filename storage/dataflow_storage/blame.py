"""Which part of a value cannot be pickled: a short walk into it, within a budget, after pickling failed."""

from __future__ import annotations

import functools
import inspect
import time
import types
from collections.abc import Iterator, Mapping

__all__ = ["culprit"]

_TRIALS = 300
_SECONDS = 0.3


def culprit(value: object) -> str:
    """Find the innermost part that cannot be pickled.

    Parameters
    ----------
    value : object
        What could not be pickled.

    Returns
    -------
    str
        Where it is, and its type; empty when it is the value itself or when the budget ran out.

    Examples
    --------
    >>> import threading
    >>> culprit({"config": {"lock": threading.Lock()}})
    "value['config']['lock'] (a _thread.lock)"
    >>> culprit(threading.Lock())
    ''
    """
    place, part, seen = "value", value, {id(value)}
    children, stop = _children(value), time.monotonic() + _SECONDS
    for _ in range(_TRIALS):
        step, child = next(children, ("", None))
        if not step or time.monotonic() > stop:
            break
        if id(child) not in seen and not _pickles(child):
            place, part, children = place + step, child, _children(child)
            seen.add(id(child))
    return "" if part is value else f"{place} (a {name_of_type(part)})"


def name_of_type(value: object) -> str:
    """Name a value's type as an error should: qualified, except for builtins.

    Examples
    --------
    >>> name_of_type(1), name_of_type(time.gmtime())
    ('int', 'time.struct_time')
    """
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def _pickles(value: object) -> bool:
    import cloudpickle

    try:
        cloudpickle.dumps(value, protocol=5)
    except Exception:  # whatever a foreign __reduce__ raises: the answer is no
        return False
    return True


def _children(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, Mapping):
        yield from ((f"[{key!r}]", child) for key, child in value.items())
    elif isinstance(value, list | tuple):
        yield from ((f"[{index}]", child) for index, child in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from ((" element", child) for child in value)
    elif isinstance(value, functools.partial):
        yield ".func", value.func
        yield from ((f".args[{index}]", child) for index, child in enumerate(value.args))
        yield from ((f".keywords[{name!r}]", child) for name, child in value.keywords.items())
    elif isinstance(value, types.MethodType):
        yield ".__self__", value.__self__
    elif isinstance(value, types.FunctionType):
        found = inspect.getclosurevars(value)
        yield from ((f" variable {name!r}", child) for name, child in {**found.globals, **found.nonlocals}.items())
    elif not isinstance(value, type | types.ModuleType):
        attributes = getattr(value, "__dict__", None)
        if isinstance(attributes, dict):
            yield from ((f".{name}", child) for name, child in list(attributes.items()))
        for kind in type(value).__mro__:
            slots = kind.__dict__.get("__slots__", ())
            for name in (slots,) if isinstance(slots, str) else tuple(slots):
                if hasattr(value, name):
                    yield f".{name}", getattr(value, name)
