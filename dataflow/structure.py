"""Walks plain containers: list, tuple, dict, set, named tuple, dataclass instance, nested; all else is a leaf."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import TypeGuard, TypeVar

T = TypeVar("T")
LEAVES = frozenset({int, float, str, bytes, bool, complex, type(None)})
"""Types of which it is plain that nothing is in them."""


def is_list_of(value: object, kind: type[T]) -> TypeGuard[list[T]]:
    """Whether this is a list with nothing else in it: what most flows return that return many.

    >>> is_list_of([1, 2], int), is_list_of([1, "x"], int)
    (True, False)
    """
    return type(value) is list and all(type(item) is kind for item in value)


def find(value: object, kind: type[T]) -> Iterator[T]:
    """Every instance of `kind` in a structure, left to right.

    >>> list(find({"a": [1, "x"], "b": (2.0, {"c": 3})}, int))
    [1, 3]
    """
    if isinstance(value, kind):
        yield value
    elif type(value) in LEAVES:
        return
    elif isinstance(value, dict):
        for item in value.values():
            yield from find(item, kind)
    elif isinstance(value, list | tuple | set | frozenset):
        for item in value:
            if type(item) not in LEAVES or isinstance(item, kind):
                yield from find(item, kind)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from find(getattr(value, field.name, None), kind)


def replace(value: object, kind: type[T], new: Callable[[T], object]) -> object:
    """The structure with every instance of `kind` replaced; parts without one stay the same objects.

    >>> replace({"a": [1, "x"], "b": (2.0,)}, str, str.upper)
    {'a': [1, 'X'], 'b': (2.0,)}
    """
    if isinstance(value, kind):
        return new(value)
    if type(value) in LEAVES:
        return value
    if isinstance(value, dict):
        made = {key: replace(item, kind, new) for key, item in value.items()}
        return value if all(made[key] is value[key] for key in made) else made
    if isinstance(value, list | tuple | set | frozenset):
        items = [replace(item, kind, new) for item in value]
        if all(a is b for a, b in zip(items, value, strict=True)):
            return value
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return type(value)(*items)  # type: ignore[arg-type]
        if isinstance(value, tuple):
            return tuple(items)
        return items if isinstance(value, list) else type(value)(items)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {}
        for field in dataclasses.fields(value):
            before = getattr(value, field.name, None)
            after = replace(before, kind, new)
            if after is not before:
                changes[field.name] = after
        if not changes:
            return value
        # Not dataclasses.replace: it leaves out fields that are not in __init__, and runs __post_init__ again.
        copied = copy.copy(value)
        for name, after in changes.items():
            object.__setattr__(copied, name, after)
        return copied
    return value
