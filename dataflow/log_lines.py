"""Log lines that read as such where they are shown."""

from __future__ import annotations

from typing import SupportsIndex, overload

from dataflow.draw.times import clock
from dataflow.events import label
from dataflow_storage.rows import LogRow

LEVELS = {10: "DEBUG", 20: "INFO", 30: "WARN", 40: "ERROR", 50: "FATAL"}


class LogLines(list[LogRow]):
    """A list of log lines whose text is the lines."""

    @overload
    def __getitem__(self, index: SupportsIndex) -> LogRow: ...
    @overload
    def __getitem__(self, index: slice) -> LogLines: ...
    def __getitem__(self, index: SupportsIndex | slice) -> LogRow | LogLines:
        if isinstance(index, slice):
            return LogLines(super().__getitem__(index))
        return super().__getitem__(index)

    def __repr__(self) -> str:
        return "\n".join(map(log_line, self)) or "no log lines"

    __str__ = __repr__


def log_line(line: LogRow) -> str:
    """One log line: when, how bad, which task run, what."""
    who = "" if line.path is None else f"{label(line.path, line.idx)}  "
    return f"{clock(line.time)} {LEVELS.get(line.level, str(line.level)):<5} {who}{line.message}"
