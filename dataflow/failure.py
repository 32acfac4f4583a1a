"""What an exception says, as plain text and data: type, message, and a traceback whose frames are marked user or
framework.

Nothing here raises, whatever the exception does when it is asked.
"""

from __future__ import annotations

import concurrent.futures
import functools
import os
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import TypedDict

MOST_FRAMES = 40
_COMPILED = (".pyx", ".pxi")


class Frame(TypedDict):
    """One line of a traceback."""

    file: str
    line: int
    name: str
    user: bool


class Failure(TypedDict):
    """What an exception said.

    `type` is its qualified name, `text` the traceback with the user's frames only, `full` the whole one; both are empty
    where no frame would tell anything.
    """

    type: str
    message: str
    frames: list[Frame]
    text: str
    full: str


def _folder(module: object) -> str:
    return os.path.dirname(os.path.abspath(getattr(module, "__file__", "") or "")) + os.sep


def framework_folders() -> tuple[str, ...]:
    """Where code lies that says nothing to the user: ours, and what runs it."""
    import sys

    here = os.path.dirname(os.path.abspath(__file__)) + os.sep
    found = [here, _folder(concurrent.futures), os.path.abspath(threading.__file__)]
    ours = ("dask", "distributed", "dataflow_executors", "dataflow_storage", "tornado", "cloudpickle")
    return (*found, *(_folder(sys.modules[name]) for name in ours if name in sys.modules))


@functools.cache
def _installed_folders() -> tuple[str, ...]:
    import sysconfig

    paths = sysconfig.get_paths()
    return ("<frozen ", *{paths[name] + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})


def _users(stack: Sequence[traceback.FrameSummary]) -> list[traceback.FrameSummary]:
    """The frames that a person knows: without the framework's, nor what an installed package does in the end."""
    ours, installed = framework_folders(), _installed_folders()
    frames = [frame for frame in stack if not frame.filename.startswith(ours)]
    while frames and (frames[-1].filename.startswith(installed) or frames[-1].filename.endswith(_COMPILED)):
        del frames[-1]
    return frames


def has_users_frames(exception: BaseException) -> bool:
    """Whether it went through code that is neither the framework's nor of an installed package."""
    others = (*framework_folders(), *_installed_folders())
    return any(not frame.filename.startswith(others) for frame in traceback.extract_tb(exception.__traceback__))


def _shown(stack: traceback.StackSummary) -> traceback.StackSummary | None:
    """The frames that are told: the user's; else where an installed package failed; else none."""
    users = _users(stack) or [frame for frame in stack[-1:] if not frame.filename.startswith(framework_folders())]
    return traceback.StackSummary.from_list(users) if users else None


def type_name(exception: BaseException) -> str:
    """The qualified name of its class; builtins without their module.

    >>> type_name(ValueError())
    'ValueError'
    """
    kind = type(exception)
    return (
        kind.__qualname__ if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{kind.__qualname__}"
    )


def message_of(exception: BaseException) -> str:
    """Its text, also where asking for it raises."""
    try:
        return str(exception)
    except BaseException as error:
        return f"<its text cannot be had: {type(error).__name__} in __str__>"


def describe(exception: BaseException) -> Failure:
    """Describe an exception.

    Examples
    --------
    >>> try:
    ...     {}["price"]
    ... except KeyError as error:
    ...     failure = describe(error)
    >>> failure["type"], failure["message"], failure["frames"][-1]["user"]
    ('KeyError', "'price'", True)
    """
    name, message = type_name(exception), message_of(exception)
    try:
        # Locals are not captured: they may be huge, or secret.
        told = traceback.TracebackException.from_exception(exception, compact=True)
        full = "".join(told.format())
        users = _users(told.stack)
        frames: list[Frame] = [
            {"file": f.filename, "line": f.lineno or 0, "name": f.name, "user": f in users} for f in told.stack
        ]
        if len(frames) > MOST_FRAMES:
            frames = frames[: MOST_FRAMES // 2] + frames[-MOST_FRAMES // 2 :]
        for part in _chain(told):
            part.stack = _shown(part.stack)  # type: ignore[assignment]  # None: only the exception is told
        text = "".join(told.format())
    except BaseException as error:
        frames, text = [], f"{name}: {message}\n(its traceback cannot be had: {type(error).__name__})"
        full = text
    return {"type": name, "message": message, "frames": frames, "text": text[-20_000:], "full": full[-20_000:]}


def _chain(told: traceback.TracebackException) -> Iterator[traceback.TracebackException]:
    stack: list[traceback.TracebackException | None] = [told]
    while stack:
        part = stack.pop()
        if part is not None:
            yield part
            stack += [part.__cause__, part.__context__, *(part.exceptions or [])]


def one_line(failure: Mapping[str, object]) -> str:
    """The sentence for tables: type and message; only that of what we tell ourselves, which has no traceback.

    >>> one_line({"type": "ValueError", "message": "row 13 has no price", "text": "Traceback ..."})
    'ValueError: row 13 has no price'
    >>> one_line({"type": "ChildTimeout", "message": "the body ran longer than its timeout of 1 s", "text": ""})
    'the body ran longer than its timeout of 1 s'
    """
    message = str(failure.get("message") or "")
    if message and not failure.get("text"):
        return message
    return f"{failure['type']}: {message}" if message else str(failure["type"])
