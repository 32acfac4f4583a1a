"""Pickles what a person wrote: functions and classes by value, as cloudpickle does, in the file that they came from.

Cloudpickle from 3.1.3 on names no file in what it pickles by value, so that equal functions give equal bytes. Nothing
here asks for that, and a traceback from a worker that names neither file nor line says little.
"""

from __future__ import annotations

import io
from collections import ChainMap
from collections.abc import Callable, Mapping
from types import CodeType
from typing import ClassVar

import cloudpickle


def _reduce_code(code: CodeType) -> tuple[object, ...]:
    make, arguments = cloudpickle.Pickler.dispatch_table[CodeType](code)
    return _in_file, (code.co_filename, make, arguments)


def _in_file(file: str, make: Callable[..., CodeType], arguments: tuple[object, ...]) -> CodeType:
    return make(*arguments).replace(co_filename=file)


class Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    """Cloudpickle's, which keeps the files of code."""

    dispatch_table: ClassVar[Mapping[type, object]] = ChainMap(
        {CodeType: _reduce_code}, cloudpickle.Pickler.dispatch_table
    )


def dumps(value: object) -> bytes:
    """Pickle a value; `pickle.loads` reads it.

    Raises
    ------
    Exception
        Whatever says that it, or something in it, cannot be pickled.

    Examples
    --------
    >>> import pickle
    >>> double = lambda x: 2 * x
    >>> again = pickle.loads(dumps(double))
    >>> again(2), again.__code__.co_filename == double.__code__.co_filename
    (4, True)
    """
    buffer = io.BytesIO()
    Pickler(buffer).dump(value)
    return buffer.getvalue()
