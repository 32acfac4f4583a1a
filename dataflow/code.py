"""What a task's code is, as digests: its function's, and those of what that reaches in its own package."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from dataflow.canonical.frames import Around
from dataflow.canonical.reach import Reach, hash_parts
from dataflow.canonical.walk import encode


def code_hash(fn: Callable[..., object]) -> str:
    """A hash of what a function does: 16 hex digits; the same in every process of one Python version.

    What counts: bytecode, constants, names, defaults, the variables around it, and, recursively, the functions, classes
    and constants of the same top-level package that it looks up (in a script or notebook: of the same module). What
    does not: comments, docstrings, the function's annotations, its own name, and where it stands. Of other packages the
    names count.

    Examples
    --------
    >>> one, same, two = (lambda x: x + 1), (lambda x: x + 1), (lambda x: x + 2)
    >>> code_hash(one) == code_hash(same), code_hash(one) == code_hash(two)
    (True, False)
    """
    return _reach(fn).hash()[:16]


def parts(fn: Callable[..., object]) -> dict[str, str]:
    """A digest for each function, class and constant that counts for a function, by qualified name; itself first.

    Examples
    --------
    >>> list(parts(lambda x: x + 1))
    ['dataflow.code.<lambda>']
    """
    return _reach(fn).named()


def hash_of(found: Mapping[str, str]) -> str:
    """The `code_hash` of a function with these `parts`."""
    home = next(iter(found)).partition(".")[0]
    relative = {name.removeprefix(f"{home}.") if name.startswith(f"{home}.") else f"/{name}": name for name in found}
    return hash_parts({name: found[full] for name, full in relative.items()})[:16]


def unhashable(fn: Callable[..., object]) -> list[str]:
    """Names of what counts for a function but has no digest: defaults, and variables around it.

    Examples
    --------
    >>> import threading
    >>> def locked(lock=threading.Lock()): ...
    >>> unhashable(locked)
    ['lock']
    """
    return list(dict.fromkeys(_reach(fn).unhashable))


def _reach(fn: Callable[..., object]) -> Reach:
    return Reach(fn, Around(None, encode))


def module_of(fn: Callable[..., object]) -> str:
    """The module that a function was written in; a script has the same name as when it is imported.

    Examples
    --------
    >>> module_of(module_of)
    'dataflow.code'
    """
    module = str(getattr(fn, "__module__", None) or type(fn).__module__)
    if module != "__main__":
        return module
    file = getattr(sys.modules.get("__main__"), "__file__", None)
    return Path(file).stem if file else module
