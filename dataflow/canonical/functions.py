"""Functions, classes and what is called like them: the user's by their code, everybody else's by name."""

from __future__ import annotations

import operator
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from dataflow.canonical.frames import Around, Encoded, Refused, Steps, name_of, named, packed, text
from dataflow.canonical.plain import attributes, items
from dataflow.canonical.reach import Reach, is_installed, is_task, module_of


def function(value: types.FunctionType, around: Around) -> Encoded:
    """A function: by its code; one of an installed package that holds nothing by name."""
    if is_installed(module_of(value)) and not value.__closure__ and "<" not in value.__code__.co_qualname:
        return text(b"function", f"{module_of(value)}.{value.__code__.co_qualname}")
    return _by_code(b"code", value, around)


def class_(value: type, around: Around) -> bytes:
    """A class: its name, and its code where it is the user's."""
    return named(value) if is_installed(value.__module__) else _by_code(b"class", value, around) + named(value)


def _by_code(tag: bytes, value: Callable[..., object], around: Around) -> bytes:
    reach = Reach(value, around)
    if reach.unhashable:
        raise Refused(value, f"it depends on {', '.join(map(repr, reach.unhashable))}, which has no digest")
    return text(tag, reach.hash())


def _method(value: types.MethodType, around: Around) -> Steps:
    return attributes(b"method", [("__func__", value.__func__), ("__self__", value.__self__)])


def _builtin(value: types.BuiltinFunctionType, around: Around) -> Encoded:
    owner = value.__self__
    if owner is None or isinstance(owner, types.ModuleType):
        return text(b"function", name_of(value))
    return attributes(b"builtin method", [("__self__", owner)], text(b"name", value.__name__))


def _of_class(value: Any, around: Around) -> bytes:
    return text(b"descriptor", f"{name_of(value.__objclass__)}.{value.__name__}")


def _slot_method(value: types.MethodWrapperType, around: Around) -> Steps:
    return attributes(b"builtin method", [("__self__", value.__self__)], text(b"name", value.__name__))


def _module(value: types.ModuleType, around: Around) -> bytes:
    return text(b"module", value.__name__)


def _alias(value: object, around: Around) -> Steps:
    origin, arguments = typing.get_origin(value), typing.get_args(value)
    return items(b"alias", [origin, *arguments])


def _union(value: types.UnionType, around: Around) -> Steps:
    arguments: list[bytes] = []
    for argument in typing.get_args(value):
        arguments += ((yield argument, "", "|"),)
    return packed(b"union", sorted(arguments))


def _special_form(value: object, around: Around) -> bytes:
    return text(b"form", repr(value))


def _getter(value: Any, around: Around) -> Steps:
    return items(b"getter", value.__reduce__()[:2])  # its class or a partial of it, and arguments


def _decorated(value: Any, around: Around) -> Steps:
    held = value.__func__ if isinstance(value, staticmethod | classmethod) else value.__wrapped__
    return attributes(b"decorated", [("__wrapped__", held)], named(type(value)))


def _task(value: Any, around: Around) -> Encoded:
    version = vars(value).get("_options", {}).get("version")
    if version is not None:
        return packed(b"task", (named(value.fn), text(b"version", version)))
    return attributes(b"task", [("fn", value.fn)])


def _importable(value: object, around: Around) -> bytes:
    return text(b"function", name_of(value))


def callable_like(value: Any) -> Callable[[Any, Around], Encoded] | None:
    """What encodes a callable that is no plain function, such as a NumPy ufunc or a function in `lru_cache`."""
    if is_task(value):
        return _task
    if isinstance(getattr(value, "__wrapped__", None), types.FunctionType):
        return _decorated
    module, name = getattr(value, "__module__", None), getattr(value, "__qualname__", None)
    if not callable(value) or not isinstance(module, str) or not isinstance(name, str) or module not in sys.modules:
        return None
    try:
        return _importable if operator.attrgetter(name)(sys.modules[module]) is value else None
    except AttributeError:
        return None


KINDS: Mapping[type, Callable[[Any, Around], Encoded]] = {
    types.FunctionType: function,
    types.MethodType: _method,
    types.BuiltinFunctionType: _builtin,
    types.MethodDescriptorType: _of_class,
    types.WrapperDescriptorType: _of_class,
    types.ClassMethodDescriptorType: _of_class,
    types.GetSetDescriptorType: _of_class,
    types.MemberDescriptorType: _of_class,
    types.MethodWrapperType: _slot_method,
    types.ModuleType: _module,
    types.GenericAlias: _alias,
    types.UnionType: _union,
    type(typing.List[int]): _alias,  # noqa: UP006
    type(typing.Optional[int]): _alias,  # noqa: UP045
    type(typing.Union): _special_form,
    operator.itemgetter: _getter,
    operator.attrgetter: _getter,
    operator.methodcaller: _getter,
    staticmethod: _decorated,
    classmethod: _decorated,
}
