"""The live view of a run on a terminal: a row for each group of task runs, drawn in place by rich."""

from __future__ import annotations

import os
from typing import TextIO

from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.live import Live
from rich.text import Text

from dataflow.cli.above import Above
from dataflow.cli.rows import BAR, LONGEST_NAME, Frame, Row, bar, chosen, footer, row
from dataflow.cli.terminal import PLAIN, clean, has_colour, has_unicode, took
from dataflow.draw.marks import MARKS

STYLES = {"good": "green", "bad": "red", "busy": "blue", "warn": "yellow", "calm": "dim"}
TASKBARS = {"ConEmuANSI=ON", "TERM_PROGRAM=ghostty"}  # terminals, by their environment
FREE = 4  # lines of the terminal that are left to what is printed


class LiveView:
    """Draws frames at the bottom of the terminal, and what is printed above them.

    Parameters
    ----------
    stream : TextIO
        Standard error.

    State: `_live`, between `start` and `close`; `_frame`, the last one.
    """

    def __init__(self, stream: TextIO) -> None:
        colour = has_colour(stream)
        self._unicode = has_unicode(stream)
        self._above = Above(self._print)
        encoding = stream.encoding or "utf-8"
        self._file = open(self._above.terminal, "w", encoding=encoding, errors="backslashreplace", closefd=False)  # noqa: SIM115
        self._console = Console(
            file=self._file,
            force_terminal=True,
            color_system="auto" if colour else None,
            no_color=not colour,
            legacy_windows=False,
            highlight=False,
            markup=False,
            emoji=False,
        )
        self._live: Live | None = None
        self._share = -1
        self._frame: Frame | None = None

    def start(self, line: str) -> None:
        """Print the first line, and begin to draw below it."""
        self._above.settle()
        self._measure()
        self._live = Live(
            console=self._console,
            auto_refresh=False,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )
        self._console.print(Text.from_ansi(line if self._unicode else line.translate(PLAIN)), soft_wrap=True)
        self._live.start()
        self._above.hold()

    def draw(self, frame: Frame) -> None:
        """Show this frame instead of the one before."""
        self._frame = frame
        self._measure()
        if self._live is not None:  # else somebody else has the terminal
            self._live.update(self._picture(frame), refresh=True)
            self._tell_taskbar(frame)

    @property
    def unfinished(self) -> str:
        """What was printed since the last newline, and is held for now."""
        return self._above.unfinished

    def withdraw(self) -> None:
        """Draw no more until the end: somebody else needs the terminal as it is."""
        if self._live is not None:
            self._live.transient = True
            self._live.stop()
            self._live = None
            self._above.release(end="")

    def close(self) -> None:
        """Leave the last frame where it is; the terminal is as it was."""
        self._above.settle()
        if self._live is not None:
            if self._frame is not None:
                self._live.update(self._picture(self._frame))
            self._live.stop()
            self._live = None
        elif self._frame is not None:
            self._console.print(self._picture(self._frame))
        self._tell_taskbar(None)
        self._above.release()
        self._above.close()
        self._file.close()

    def _tell_taskbar(self, frame: Frame | None) -> None:
        """Show how far it is in the taskbar (OSC 9;4), where the terminal is known to understand that."""
        here = {f"{name}={os.environ.get(name)}" for name in ("ConEmuANSI", "TERM_PROGRAM")}
        if not here & TASKBARS and "WT_SESSION" not in os.environ:
            return
        groups = frame.groups.values() if frame is not None else ()
        total, done = sum(group.total for group in groups), sum(group.done for group in groups)
        share = 100 * done // total if total else 0
        if share != self._share:
            self._share = share
            self._file.write(f"\x1b]9;4;{1 if frame is not None else 0};{share}\x07")
            self._file.flush()

    def _print(self, text: str) -> None:
        told = Text.from_ansi(text) if "\x1b" in text else Text(text)
        self._console.print(told, soft_wrap=True)

    def _measure(self) -> None:
        size = os.get_terminal_size(self._above.terminal)
        told = os.environ.get("COLUMNS", "")
        self._console.size = (int(told) if told.isdigit() and int(told) else size.columns or 80, size.lines or 24)

    def _picture(self, frame: Frame) -> Text:
        width, height = self._console.size
        names, folded = chosen(frame, max(height - FREE - 1, 2))
        rows = [row(frame, name) for name in names]
        name_size = min(max((cell_len(one.name) for one in rows), default=0), LONGEST_NAME)
        count_size = max((len(one.count) for one in rows), default=0)
        bars = any(one.share is not None for one in rows) and width >= name_size + count_size + BAR + 20
        lines = [self._line(one, name_size, count_size, bars=bars) for one in rows]
        if folded:
            lines.append(Text(f"   {folded}", "dim"))
        lines.append(self._footer(frame))
        if self._above.unfinished and not frame.ended_as:
            lines.append(Text(clean(self._above.unfinished.rstrip("\r").rpartition("\r")[2])))
        for line in lines:
            line.truncate(max(width - 1, 1), overflow="ellipsis" if self._unicode else "crop")
        return Text("\n", no_wrap=True).join(lines)

    def _line(self, one: Row, name_size: int, count_size: int, *, bars: bool) -> Text:
        mark = MARKS[one.state]
        style = STYLES[mark.tone]
        line = Text(f" {mark.glyph if self._unicode else mark.plain} ", style)
        line.append(set_cell_size(one.name, name_size) + "  ")
        if bars:
            line.append((bar(one.share, unicode=self._unicode) if one.share is not None else " " * BAR) + "  ", style)
        line.append(f"{one.count:>{count_size}}  {one.spent:>7}")
        for fact, tone in one.facts:
            line.append("  ")
            line.append(fact, STYLES[tone])
        return line

    def _footer(self, frame: Frame) -> Text:
        spent = took(frame.now - frame.since)
        told = footer(frame) if self._unicode else footer(frame).translate(PLAIN)
        mark = MARKS.get(frame.ended_as)
        if mark is None:
            return Text(f"   {told}  {spent}", "dim")
        line = Text(f" {mark.glyph if self._unicode else mark.plain} {mark.word} in {spent}", STYLES[mark.tone])
        return line.append(f"  {told}", "dim")
