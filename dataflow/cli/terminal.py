"""What a terminal can show, and how times, counts and tables are written for people."""

from __future__ import annotations

import os
import re
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import datetime
from typing import TextIO
from urllib.parse import quote

from dataflow.draw import times
from dataflow.draw.marks import MARKS

COLOURS = {"good": "32", "bad": "31", "busy": "34", "warn": "33", "calm": "2", "bold": "1", "soft": "2"}
# For a terminal that has no such letters.
PLAIN = str.maketrans(
    {
        "×": "x",
        "…": "...",
        "·": "-",
        "→": "->",
        "←": "<-",
        "–": "-",
        "—": "-",
        **{m.glyph: m.plain for m in MARKS.values()},
    }
)
CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def is_terminal(stream: TextIO) -> bool:
    """Whether a person looks at it."""
    return stream.isatty() and not os.environ.get("CI")


def has_colour(stream: TextIO) -> bool:
    """Whether it may be coloured: NO_COLOR and FORCE_COLOR decide, else whether it is a terminal that can."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR", "0") not in ("", "0"):
        return True
    return is_terminal(stream) and os.environ.get("TERM") != "dumb"


def has_unicode(stream: TextIO) -> bool:
    """Whether its encoding has the glyphs."""
    try:
        "✓×…".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def width() -> int:
    """Columns of the terminal; COLUMNS decides."""
    return shutil.get_terminal_size((100, 24)).columns


class Printer:
    """Writes to one stream what that stream can show.

    Parameters
    ----------
    stream : TextIO, optional
        Standard output.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stdout if stream is None else stream
        self.colour = has_colour(self.stream)
        self.unicode = has_unicode(self.stream)

    def tint(self, text: str, tone: str) -> str:
        """Text in a colour, where there is colour."""
        return f"\x1b[{COLOURS[tone]}m{text}\x1b[0m" if self.colour and text else text

    def link(self, text: str, file: str) -> str:
        """Text that opens a file when it is clicked, on a terminal."""
        if not self.colour or not self.stream.isatty() or not os.path.isfile(file):
            return text
        return f"\x1b]8;;file://{quote(os.path.abspath(file))}\x1b\\{text}\x1b]8;;\x1b\\"

    def state(self, state: str, text: str | None = None) -> str:
        """A state's glyph and word, in its colour."""
        mark = MARKS.get(state)
        if mark is None:
            return state
        return self.tint(f"{mark.glyph} {mark.word if text is None else text}", mark.tone)

    def line(self, text: str = "") -> None:
        """Write a line, at once."""
        if not self.unicode:
            text = text.translate(PLAIN)
        try:
            self.stream.write(f"{text}\n")
        except UnicodeEncodeError:
            encoding = self.stream.encoding or "ascii"
            self.stream.write(f"{text}\n".encode(encoding, "backslashreplace").decode(encoding))
        self.stream.flush()

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]], *, indent: str = "") -> None:
        """Columns of text. A column whose head begins with `>` is aligned to the right; the last one is cut to fit."""
        names = [head.removeprefix(">") for head in heads]
        columns = (
            list(zip(*([names] if any(names) else []), *rows, strict=True)) if rows else [(name,) for name in names]
        )
        sizes = [max(visible(cell) for cell in column) for column in columns]
        lines = [[self.tint(name, "soft") for name in names]] if any(names) else []
        for row in [*lines, *rows]:
            cells = []
            for n, (head, cell, size) in enumerate(zip(heads, row, sizes, strict=True)):
                gap = " " * (size - visible(cell))
                last = n == len(heads) - 1
                cells.append(f"{gap}{cell}" if head.startswith(">") else cell if last else f"{cell}{gap}")
            self.line(f"{indent}{'  '.join(cells)}".rstrip())


def visible(text: str) -> int:
    """How many columns a text takes.

    >>> visible("\\x1b[31mfailed\\x1b[0m")
    6
    """
    return len(CONTROL.sub("", text))


def clean(text: str) -> str:
    """Text of others in one line, without what would steer the terminal."""
    return " ".join(CONTROL.sub("", text).split())


def clipped(text: str, size: int) -> str:
    """At most so many columns.

    >>> clipped("row 13 has no price", 10)
    'row 13 ha…'
    """
    return text if len(text) <= size else f"{text[: max(size - 1, 0)]}…"


def took(seconds: float | None) -> str:
    """A duration, as narrow as a column wants it.

    >>> took(0.034), took(0.534), took(42.2), took(101), took(7322), took(None)
    ('34ms', '0.5s', '42s', '1:41', '2:02:02', '-')
    """
    return times.took(seconds).replace(" ", "") or "-"


def amount(size: float) -> str:
    """Bytes for people.

    >>> amount(0), amount(999), amount(1500), amount(123_456_789)
    ('0 B', '999 B', '1.5 kB', '123 MB')
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if size < 999.5 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" or size >= 99.5 else f"{size:.1f} {unit}"


def several(n: int, word: str, plural: str = "") -> str:
    """A count with its noun.

    >>> several(1, "run"), several(1200, "run"), several(0, "entry", "entries")
    ('1 run', '1,200 runs', '0 entries')
    """
    return f"{n:,} {word if n == 1 else plural or word + 's'}"


def clock(moment: float) -> str:
    """The time of day, local."""
    return time.strftime("%H:%M:%S", time.localtime(moment))


def day(moment: float | None) -> str:
    """Day and time for people, local."""
    if moment is None:
        return "-"
    then, now = datetime.fromtimestamp(moment), datetime.now()
    days = (now.date() - then.date()).days
    if days == 0:
        return then.strftime("today %H:%M")
    if days == 1:
        return then.strftime("yesterday %H:%M")
    return then.strftime("%Y-%m-%d %H:%M" if then.year != now.year else "%b %d %H:%M")
