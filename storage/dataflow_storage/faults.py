"""Named places where a test may make the world break: killed, or told that what was done has failed. Free when off.

``DATAFLOW_FAULTS`` says what breaks in this process, read once; a comma separates several, which act in their order:

``kill:NAME:N:before|after``  kill this process at the Nth passage of that place; ``*`` is any place
``fail:PATTERN:RATE:SEED``    say that the step has failed, after it was done, with that probability
``trace:FILE``                append a line ``NAME before|after`` for each passage
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

__all__ = ["Fault", "faultpoint", "install", "read"]

Fault = Callable[[str, str], None]
"""Called with a place's name and ``"before"`` or ``"after"``; an error that it raises is that of the step."""

_TAKEN = "It takes kill:NAME:N:before|after, fail:PATTERN:RATE:SEED and trace:FILE, separated by commas."


class _Off:
    def __enter__(self) -> None:
        pass

    def __exit__(self, *error: object) -> None:
        pass


class _On:
    def __init__(self, name: str, fault: Fault) -> None:
        self._name, self._fault = name, fault

    def __enter__(self) -> None:
        self._fault(self._name, "before")

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is None:
            self._fault(self._name, "after")


_off = _Off()
_fault: Fault | None = None


def faultpoint(name: str) -> AbstractContextManager[None]:
    """Stand around one durable step.

    Parameters
    ----------
    name : str
        The step's, ``<part>.<verb>``.

    Examples
    --------
    >>> seen = []
    >>> install(lambda name, when: seen.append((name, when)))
    >>> with faultpoint("runs.write"):
    ...     seen.append("the step")
    >>> install(None)
    >>> seen
    [('runs.write', 'before'), 'the step', ('runs.write', 'after')]
    """
    return _off if _fault is None else _On(name, _fault)


def install(fault: Fault | None) -> None:
    """Let this break things in this process, from now on; None: nothing does.

    Parameters
    ----------
    fault : callable or None
        Called before each step, and after it unless the step raised.
    """
    global _fault
    _fault = fault


def read(text: str) -> Fault:
    """Make what ``DATAFLOW_FAULTS`` describes.

    Parameters
    ----------
    text : str
        As the module says.

    Raises
    ------
    ValueError
        It says something else.

    Examples
    --------
    >>> read("kill:runs.write:0:before")
    Traceback (most recent call last):
    ...
    ValueError: DATAFLOW_FAULTS has 'kill:runs.write:0:before', which is none. It takes kill:NAME:N:before|after, ...
    """
    faults = [_one(part.strip()) for part in text.split(",")]

    def each(name: str, when: str) -> None:
        for fault in faults:
            fault(name, when)

    return each


def _one(part: str) -> Fault:
    kind, _, rest = part.partition(":")
    fields = rest.split(":")
    try:
        if kind == "kill":
            return _kill(*_kill_fields(fields))
        if kind == "fail":
            return _fail(*_fail_fields(fields))
        if kind == "trace" and rest:
            return _trace(rest)
    except ValueError:
        pass
    raise ValueError(f"DATAFLOW_FAULTS has {part!r}, which is none. {_TAKEN}")


def _kill_fields(fields: Sequence[str]) -> tuple[str, int, str]:
    name, number, when = fields
    if not name or int(number) < 1 or when not in ("before", "after"):
        raise ValueError(fields)
    return name, int(number), when


def _fail_fields(fields: Sequence[str]) -> tuple[str, float, str]:
    pattern, rate, seed = fields
    if not pattern or not 0 <= float(rate) <= 1 or not seed:
        raise ValueError(fields)
    return pattern, float(rate), seed


def _kill(wanted: str, number: int, when: str) -> Fault:
    from itertools import count
    from signal import SIGKILL

    passages = count(1)

    def fault(name: str, now: str) -> None:
        if now == when and wanted in ("*", name) and next(passages) == number:
            os.kill(os.getpid(), SIGKILL)

    return fault


def _fail(pattern: str, rate: float, seed: str) -> Fault:
    from fnmatch import fnmatchcase
    from itertools import count
    from random import Random

    from dataflow_storage.errors import StoreUnavailable

    passages = count(1)

    def fault(name: str, now: str) -> None:
        if now == "after" and fnmatchcase(name, pattern) and Random(f"{seed}:{next(passages)}").random() < rate:
            raise StoreUnavailable(
                name, "a fault was asked for: it was done, and is told to have failed", transient=True
            )

    return fault


def _trace(file: str) -> Fault:
    opened = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_CLOEXEC", 0), 0o666)

    def fault(name: str, now: str) -> None:
        os.write(opened, f"{name} {now}\n".encode())

    return fault


if os.environ.get("DATAFLOW_FAULTS"):
    install(read(os.environ["DATAFLOW_FAULTS"]))
