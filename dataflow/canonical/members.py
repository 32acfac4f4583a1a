"""What a class is made of, as far as it is code: not what Python and libraries derive from that."""

from __future__ import annotations

import dataclasses
import enum
import functools
import re
import types
from collections.abc import Iterator

from dataflow.canonical.frames import name_of

_DERIVED = frozenset({
    "__doc__", "__module__", "__qualname__", "__dict__", "__weakref__", "__firstlineno__", "__static_attributes__",
    "__annotations__", "__dataclass_fields__", "__dataclass_params__", "__match_args__", "__signature__",
    "__abstractmethods__", "__slotnames__", "__parameters__", "__class_vars__", "__annotate__", "__annotations_cache__",
    "_member_map_", "_member_names_", "_value2member_map_", "_unhashable_values_", "_hashable_values_",
})  # fmt: skip
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def generated(value: object) -> bool:
    """Whether a dataclass made this method of its fields."""
    inner = getattr(value, "__wrapped__", value)
    return isinstance(inner, types.FunctionType) and inner.__code__.co_qualname.startswith("__create_fn__.")


def members(found: type) -> Iterator[tuple[str, object]]:
    """Names and values of what a class's body defines, sorted; a dataclass's and a model's fields as such."""
    held = vars(found)
    for name, text in sorted(held.get("__annotations__", {}).items()):
        yield f"{name}:", _annotation(text)
    for field in held.get("__dataclass_fields__", {}).values():
        yield f"{field.name}=", (
            # By type: a class that has travelled has another such mark.
            *(... if isinstance(given, type(dataclasses.MISSING)) else given
              for given in (field.default, field.default_factory)),
            field.init, field.repr, field.compare, field.hash, bool(field.kw_only),
        )  # fmt: skip
    if "__dataclass_params__" in held:
        yield "dataclass", repr(held["__dataclass_params__"])
    for name, field in held.get("__pydantic_fields__", {}).items():
        yield f"{name}=", _ADDRESS.sub("", repr(field))
        yield f"{name}()", field.default_factory
    if issubclass(found, enum.Enum):
        yield "members", {name: member._value_ for name, member in found.__members__.items()}
    for name, value in sorted(held.items(), key=lambda item: item[0]):
        if name not in _DERIVED and not name.startswith(("__pydantic_", "_abc_", "__private_attr")):
            yield from _member(name, value)


def _member(name: str, value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, enum.Enum | types.MemberDescriptorType | types.GetSetDescriptorType) or generated(value):
        return
    if isinstance(value, property):
        yield name, (value.fget, value.fset, value.fdel)
    elif isinstance(value, functools.cached_property):
        yield name, value.func
    else:
        yield name, value


def _annotation(text: object) -> str:
    if isinstance(text, str):
        return text
    return name_of(text) if isinstance(text, type) else _ADDRESS.sub("", repr(text))
