"""Routes the log records and prints of a running task body to a sink: per task, in any number of threads at once.

State: who listens, in two context variables (a thread that the body starts has neither, unless it runs in a copy of
the body's context), and how often `install` was called, under a lock.

How the log lines are got. No handler is added, no level and no stream changed: while installed, two methods of
`logging.Logger` and `builtins.print` look at the context first. Outside a task body they do what they always did, so
`logging.basicConfig`, `dictConfig`, other handlers, and warnings without any handler behave as if we were not there,
before, during and after a run. Inside a body

- a record that would reach the root logger goes to the sink, from INFO on where only the root logger's default level,
  WARNING, is in its way. A level that somebody set, `logging.disable` and `propagate=False` are respected;
- then it goes where it would have gone without us. Only the last resort of `logging`, which writes warnings to stderr
  when there is no handler at all, is left out: somebody has the line.

What this cannot do: tell that somebody wants WARNING at the root who sets just that (`basicConfig(level="WARNING")`):
the sink gets INFO all the same. And code that kept `print` from before (`log = print`) keeps the plain one.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import io
import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextvars import ContextVar, Token
from types import TracebackType
from typing import IO, Any

Sink = Callable[[float, int, str, str], None]

current_sink: ContextVar[Sink | None] = ContextVar("dataflow_sink", default=None)
"""Takes the lines of the body that runs here: time (seconds since 1970), level, logger's name, message."""

_printer: ContextVar[_Printer | None] = ContextVar("dataflow_printer", default=None)


class capturing:
    """A context in which log records, and prints if wanted, go to a sink. Works between `install` and `uninstall`.

    Parameters
    ----------
    sink : callable
        Takes time (seconds since 1970), level, logger's name and message of each line, in the thread that logs. What
        it logs and prints itself is not captured. An error in it is reported on stderr; the body does not see it.
    prints : bool
        Whether each printed line is a line of level INFO from logger `print`.

    Examples
    --------
    >>> install()
    >>> lines = []
    >>> with capturing(lambda time, level, name, message: lines.append((level, name, message)), prints=True):
    ...     logging.getLogger("mine").info("%d rows", 3)
    ...     print("half a line,", end=" ")
    ...     print("whole")
    >>> lines
    [(20, 'mine', '3 rows'), (20, 'print', 'half a line, whole')]
    >>> uninstall()
    """

    __slots__ = ("_lines", "_printer_before", "_sink", "_sink_before")

    def __init__(self, sink: Sink, *, prints: bool) -> None:
        self._sink = sink
        self._lines = _Printer() if prints else None

    def __enter__(self) -> None:
        self._sink_before: Token[Sink | None] = current_sink.set(self._sink)
        same = self._lines is None and _printer.get() is None  # as most often
        self._printer_before: Token[_Printer | None] | None = None if same else _printer.set(self._lines)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._lines is not None:
                self._lines.end(self._sink)
        finally:
            if self._printer_before is not None:
                _printer.reset(self._printer_before)
            current_sink.reset(self._sink_before)


def _deliver(sink: Sink, created: float, level: int, name: str, message: str) -> None:
    """Give one line to the sink. What the sink logs or prints must not come back to it."""
    token = current_sink.set(None)
    try:
        sink(created, level, name, message)
    except Exception:  # a log line that cannot be stored is no reason for the body to fail, but must be seen
        with contextlib.suppress(AttributeError, OSError, ValueError):  # no stderr, or a closed one: nowhere to say it
            sys.stderr.write(f"dataflow: a log line was lost ({name}: {message}):\n{traceback.format_exc()}")
    finally:
        current_sink.reset(token)


# Log records


def _admits(logger: logging.Logger, level: int) -> bool:
    """Whether nothing but the root logger's default level keeps a record of this level out, and we let it in."""
    if not logging.INFO <= level < logging.WARNING or logger.disabled or logger.manager.disable >= level:
        return False
    here: logging.Logger | None = logger
    while here is not None:
        if here.level:
            return here is logger.manager.root and here.level == logging.WARNING
        here = here.parent
    return False


def _reaches_root(logger: logging.Logger) -> bool:
    while logger.parent is not None:
        if not logger.propagate:
            return False
        logger = logger.parent
    return logger is logger.manager.root


def _text(record: logging.LogRecord) -> str:
    """The message with its traceback and stack, as `logging.Formatter` appends them; raw if it cannot be formatted.

    >>> _text(logging.LogRecord("a", 20, "a.py", 1, "%d rows", ("three",), None))
    '%d rows'
    """
    try:
        text = record.getMessage()
    except Exception:  # arguments that do not fit the message, or that cannot be shown
        text = record.msg if isinstance(record.msg, str) else f"<{type(record.msg).__name__} that cannot be shown>"
    return "\n".join(part for part in (text, _trace(record), record.stack_info) if part)


def _trace(record: logging.LogRecord) -> str:
    if not record.exc_info or record.exc_text:
        return record.exc_text or ""
    try:
        return "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
    except Exception as error:  # what was given is no exception
        return f"<traceback that cannot be shown: {type(error).__name__}>"


def _is_enabled_for(original: Callable[[logging.Logger, int], bool]) -> Callable[[logging.Logger, int], bool]:
    @functools.wraps(original)
    def is_enabled_for(self: logging.Logger, level: int) -> bool:
        return original(self, level) or (current_sink.get() is not None and _admits(self, level))

    return is_enabled_for


def _call_handlers(
    original: Callable[[logging.Logger, logging.LogRecord], None],
) -> Callable[[logging.Logger, logging.LogRecord], None]:
    @functools.wraps(original)
    def call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        sink = current_sink.get()
        if sink is None or not _reaches_root(self):
            original(self, record)
            return
        _deliver(sink, record.created, record.levelno, record.name, _text(record))
        # A record that is here only because of us is not for the handlers of others.
        if self.hasHandlers() and not _admits(self, record.levelno):
            token = current_sink.set(None)  # what a handler logs is not the body's, and nothing arrives twice
            try:
                original(self, record)
            finally:
                current_sink.reset(token)

    return call_handlers


# Prints


class _Printer:
    """What one body has printed since its last newline."""

    __slots__ = ("_lock", "_parts", "_stdout")

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a body may have threads that run in copies of its context
        self._parts: list[str] = []
        self._stdout = sys.stdout

    def takes(self, file: object) -> bool:
        """Whether a print to this file is for the sink: not if it, or `redirect_stdout`, names another than stdout."""
        return sys.stdout is self._stdout and (file is None or file is self._stdout)

    def add(self, text: str, sink: Sink) -> None:
        *lines, rest = text.split("\n")
        with self._lock:
            if lines:
                lines[0] = "".join((*self._parts, lines[0]))
                self._parts.clear()
            if rest:
                self._parts.append(rest)
        for line in lines:
            _deliver(sink, time.time(), logging.INFO, "print", line)

    def end(self, sink: Sink) -> None:
        """The body is over: what it has not ended with a newline is a line too."""
        if self._parts:
            self.add("\n", sink)


def _print(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def print(
        *values: object, sep: str | None = " ", end: str | None = "\n", file: IO[str] | None = None, flush: bool = False
    ) -> None:
        printer, sink = _printer.get(), current_sink.get()
        if printer is None or sink is None or not printer.takes(file):
            original(*values, sep=sep, end=end, file=file, flush=flush)
            return
        text = io.StringIO()
        original(*values, sep=sep, end=end, file=text)
        printer.add(text.getvalue(), sink)

    return print


# Install and uninstall

_PATCHES: tuple[tuple[object, str, Callable[[Any], object]], ...] = (
    (logging.Logger, "isEnabledFor", _is_enabled_for),
    (logging.Logger, "callHandlers", _call_handlers),
    (builtins, "print", _print),
)
_originals: dict[str, tuple[object, object]] = {}  # what stood there, and what we put in its place, by name
_installs = 0
_lock = threading.Lock()


def install() -> None:
    """Make `capturing` work in this process, until `uninstall` has been called as often.

    >>> before = print
    >>> install(); install(); uninstall()
    >>> print is before
    False
    >>> uninstall()
    >>> print is before
    True
    """
    global _installs
    with _lock:
        _installs += 1
        if _installs > 1:
            return
        for owner, name, wrap in _PATCHES:
            now = getattr(owner, name)
            if name not in _originals or now is not _originals[name][1]:
                _originals[name] = (now, wrap(now))
                setattr(owner, name, _originals[name][1])


def uninstall() -> None:
    """Take one `install` back; the last one puts everything back as it was.

    Raises
    ------
    RuntimeError
        There is no `install` to take back.
    """
    global _installs
    with _lock:
        if _installs == 0:
            raise RuntimeError("uninstall() was called more often than install(): call it once for each.")
        _installs -= 1
        if _installs > 0:
            return
        for owner, name, _ in _PATCHES:
            # If somebody has put theirs over ours since, ours stays below it, where it does nothing outside a body.
            if getattr(owner, name) is _originals[name][1]:
                setattr(owner, name, _originals.pop(name)[0])


def _after_fork() -> None:
    """A forked process is not the body: what it logs and prints goes where it goes without us."""
    global _lock
    _lock = threading.Lock()
    current_sink.set(None)
    _printer.set(None)


os.register_at_fork(after_in_child=_after_fork)
