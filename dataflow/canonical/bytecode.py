"""What a code object does, as bytes, and which names it looks up: the same wherever its source stands."""

from __future__ import annotations

import opcode
import sys
import types
from collections.abc import Iterator
from dataclasses import dataclass, field

from dataflow.canonical.frames import frame, packed, text
from dataflow.canonical.plain import SCALARS

_OP = opcode.opmap
_CONSTANT = frozenset(opcode.hasconst)
_NAME = frozenset(opcode.hasname)
_IS_NAME_CLASS = frozenset(_OP[name] for name in ("LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS") if name in _OP)
_EXTENDED, _STORE_NAME, _IMPORT = _OP["EXTENDED_ARG"], _OP["STORE_NAME"], _OP["IMPORT_NAME"]
_LOAD_GLOBAL = _OP["LOAD_GLOBAL"]
# Lower bits of these arguments are flags, the rest is the name's place.
_SHIFT = {_LOAD_GLOBAL: 1, **({_OP["LOAD_ATTR"]: 1, _OP["LOAD_SUPER_ATTR"]: 2} if sys.version_info >= (3, 12) else {})}
# What the body of a class notes about its place and text, or in no certain order.
_NOT_CODE = frozenset({"__doc__", "__qualname__", "__firstlineno__", "__static_attributes__"})
# *args, **kwargs, generator, coroutine, iterable coroutine, asynchronous generator; not: nested, docstring, __future__.
_FLAGS = 0x4 | 0x8 | 0x20 | 0x80 | 0x100 | 0x200


@dataclass(slots=True)
class Scan:
    """What was read of a function's code and of the code nested in it.

    Parameters
    ----------
    body : bytes
        What it does.
    globals : dict of str
        Names that it looks up in its module, in order.
    names : set of str
        Every other name: attributes, above all.
    imports : list of tuple
        The name, the level and the names taken, of each import in it.
    """

    body: bytes = b""
    globals: dict[str, None] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)
    imports: list[tuple[str, int, tuple[str, ...]]] = field(default_factory=list)


def scan(code: types.CodeType) -> Scan:
    """Read a code object: instructions with what they stand for instead of places in tables, and the names used."""
    found = Scan()
    found.body = _read(code, found)
    return found


def _read(code: types.CodeType, found: Scan) -> bytes:
    made: list[bytes] = []
    recent: tuple[object, object] = (0, None)  # before an import, its level and the names taken
    for operation, argument in _instructions(code.co_code):
        if operation in _CONSTANT:
            constant = code.co_consts[argument]
            recent = recent[1], constant
            made.append(b"c%d " % operation + _constant(constant, found))
        elif operation in _NAME:
            shift = _SHIFT.get(operation, 0)
            name = code.co_names[argument >> shift]
            if operation == _STORE_NAME and name in _NOT_CODE:
                made.pop()
                continue
            made.append(b"n%d %d %b\n" % (operation, argument & ((1 << shift) - 1), name.encode()))
            if operation == _IMPORT:
                level, taken = recent
                found.imports.append((name, level if type(level) is int else 0, taken if type(taken) is tuple else ()))
            elif operation == _LOAD_GLOBAL or operation in _IS_NAME_CLASS:
                found.globals[name] = None
            else:
                found.names.add(name)
        else:
            made.append(b"%d %d\n" % (operation, argument))
    head = f"{code.co_argcount} {code.co_posonlyargcount} {code.co_kwonlyargcount} {code.co_flags & _FLAGS}"
    variables = " ".join((*code.co_varnames, "/", *code.co_cellvars, "/", *code.co_freevars))
    return packed(
        b"code", (text(b"head", f"{head} {variables}"), packed(b"does", made), frame(b"tries", code.co_exceptiontable))
    )


def _instructions(code: bytes) -> Iterator[tuple[int, int]]:
    high = 0
    for operation, argument in zip(code[::2], code[1::2], strict=True):
        if operation == _EXTENDED:
            high = (high | argument) << 8
        elif operation:  # 0 is room that the interpreter keeps for itself
            yield operation, high | argument
            high = 0


def _constant(value: object, found: Scan) -> bytes:
    if isinstance(value, types.CodeType):
        return _read(value, found)
    if isinstance(value, tuple):
        return packed(b"tuple", [_constant(item, found) for item in value])
    if isinstance(value, frozenset):
        return packed(b"frozenset", sorted(_constant(item, found) for item in value))
    return SCALARS[type(value)](value)
