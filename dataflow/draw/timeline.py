"""When what ran, as SVG: a lane for each task or worker, attempts as bars, waits as thin lines between them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from dataflow import states
from dataflow.draw.axis import Axis, axis
from dataflow.draw.marks import MARKS
from dataflow.draw.svg import SMALL, clipped, num, style
from dataflow.draw.times import took

LEFT, WIDTH, RIGHT = 190.0, 800.0, 24.0
TOP, ROW, BAR, GAP = 64.0, 16.0, 11.0, 8.0
# A lane with more bars, or more at a time, is drawn by how much was going on.
MOST_BARS, MOST_ROWS = 250, 8
DENSE, BIN = 34.0, 2.0
MOST_LANES = 60
MOST_NAME = 24
# Beside what is cut out, where no other number has room.
CLEAR = 40.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Span:
    """One attempt, or the wait before one.

    Parameters
    ----------
    lane : str
        The task or the worker.
    label : str
        The task run, such as `clean[3]`.
    start, end : float
        In seconds since the epoch.
    state : str
        How it ended; Running where it has not.
    attempt : int
        Its number.
    wait : bool
        It is the wait before that attempt.
    """

    lane: str
    label: str
    start: float
    end: float
    state: str
    attempt: int = 1
    wait: bool = False


def timeline(title: str, spans: Sequence[Span], *, lanes: Sequence[str] | None = None) -> str:
    """Draw spans.

    Parameters
    ----------
    title : str
        What they are of.
    spans : sequence of Span
        In any order.
    lanes : sequence of str, optional
        The order of the lanes; by default that in which they occur.
    """
    line = _line(spans)
    by_lane: dict[str, list[Span]] = {lane: [] for lane in lanes or ()}
    for span in spans:
        by_lane.setdefault(span.lane, []).append(span)
    told = {lane: found for lane, found in by_lane.items() if found}
    parts: list[str] = []
    y = TOP
    for lane, found in list(told.items())[:MOST_LANES]:
        drawn, height = _lane(found, line, y)
        parts.append(
            f"<g><title>{escape(_spoken(lane, found))}</title>"
            f'<text class="m" x="14" y="{num(y + 11)}">{escape(clipped(lane, MOST_NAME))}</text>{drawn}</g>'
        )
        y += height + GAP
        parts.append(f'<path class="ln" d="M14 {num(y - GAP / 2)}H{num(LEFT + WIDTH)}"/>')
    if len(told) > MOST_LANES:
        parts.append(f'<text class="s" x="14" y="{num(y + 11)}">+ {len(told) - MOST_LANES} more</text>')
        y += ROW
    height = y + 34
    body = "".join([_axis(line, y), *parts, _legend(spans, height - 20)])
    unique = "t" + hashlib.blake2s((body + title).encode(), digest_size=4).hexdigest()
    extra = f"#{unique} .ln{{stroke:#8884;stroke-width:.6}}#{unique} .w{{stroke-width:1.5;stroke-dasharray:2 2}}"
    extra += f"#{unique} .cut{{fill:#8882}}"
    about = f"Timeline of {title}, {took(line.length)}, {_many(len(told), 'lane')}."
    wide, high = num(LEFT + WIDTH + RIGHT), num(height)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" id="{unique}" viewBox="0 0 {wide} {high}" '
        f'width="{wide}" height="{high}" role="img" aria-labelledby="{unique}-t">'
        f'<title id="{unique}-t">{escape(about)}</title>'
        f'<style>{style(unique)}{extra}</style><rect class="bg" width="100%" height="100%" rx="10"/>'
        f'<text class="h" x="14" y="23">{escape(title)}<tspan class="s" dx="10">{took(line.length)}</tspan></text>'
        f"{body}</svg>\n"
    )


def as_text(title: str, spans: Sequence[Span], *, lanes: Sequence[str] | None = None, width: int = 60) -> str:
    """The same in text: a line for each lane, a letter for each part of the time in which something ran."""
    line = _line(spans)
    rows: dict[str, list[str]] = {lane: ["·"] * width for lane in lanes or ()}
    for span in sorted(spans, key=lambda span: (not span.wait, span.state in states.FAILURE)):
        row = rows.setdefault(span.lane, ["·"] * width)
        first = min(int(line.at(span.start) * width), width - 1)
        last = min(max(math.ceil(line.at(span.end) * width), first + 1), width)
        row[first:last] = ["-" if span.wait else "x" if span.state in states.FAILURE else "█"] * (last - first)
    for start, end in line.cuts:
        for row in rows.values():
            row[int(line.at(start) * width) + 1 : int(line.at(end) * width)] = ["⋯"]
    wide = max((len(lane) for lane in rows), default=0)
    return "\n".join(
        [f"{title}, {took(line.length)}", *(f"  {lane:<{wide}}  {''.join(row)}" for lane, row in rows.items())]
    )


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _spoken(lane: str, found: Sequence[Span]) -> str:
    ran = [span for span in found if not span.wait]
    failed = sum(span.state in states.FAILURE for span in ran)
    again = sum(span.attempt > 1 for span in ran)
    busy = sum(span.end - span.start for span in ran)
    facts = [_many(len(ran), "attempt"), f"{failed:,} failed" if failed else "", f"{again:,} again" if again else ""]
    return f"{lane}: {', '.join(fact for fact in facts if fact)}, {took(busy)} of work"


def _line(spans: Sequence[Span]) -> Axis:
    return axis((span.start, span.end) for span in spans if not span.wait)


def _lane(found: Sequence[Span], line: Axis, y: float) -> tuple[str, float]:
    """The bars of one lane, and how high it is."""
    rows = _packed(found)
    if len(found) > MOST_BARS or rows is None:
        return _dense([span for span in found if not span.wait], line, y), DENSE
    parts = []
    for span, row in rows:
        x, top = _x(line, span.start), y + row * ROW
        width = max(_x(line, span.end) - x, 3.0 if span.state in states.FAILURE else 1.0)
        mark = MARKS[span.state]
        about = f"{span.label}, attempt {span.attempt}, {mark.word}, {took(span.end - span.start)}"
        if span.wait:
            about = f"{span.label} waits {took(span.end - span.start)} for attempt {span.attempt}"
            drawn = f'<path class="w {mark.tone}" d="M{num(x)} {num(top + BAR / 2)}h{num(width)}"/>'
        else:
            drawn = (
                f'<rect class="f{mark.tone}" x="{num(x)}" y="{num(top)}" width="{num(width)}" height="{BAR:g}" rx="2"/>'
            )
            if mark.tone != "good" and width >= 12:  # not by colour alone
                drawn += (
                    f'<path class="i" stroke="#fff" transform="translate({num(x + width / 2 - 5)} {num(top + 0.5)}) '
                    f'scale(.83)" d="{mark.icon}"/>'
                )
        parts.append(f"<g><title>{escape(about)}</title>{drawn}</g>")
    return "".join(parts), (max(row for _, row in rows) + 1) * ROW


def _packed(found: Sequence[Span]) -> list[tuple[Span, int]] | None:
    """Each span with the first row in which it has room; one task run keeps its row. None: too many at a time."""
    free: list[float] = []
    home: dict[str, int] = {}
    placed = []
    for span in sorted(found, key=lambda span: (span.start, not span.wait)):
        row = home.get(span.label)
        if row is None or free[row] > span.start + 1e-6:
            row = next((n for n, until in enumerate(free) if until <= span.start + 1e-6), len(free))
        if row == len(free):
            free.append(0.0)
        if row >= MOST_ROWS:
            return None
        free[row], home[span.label] = span.end, row
        placed.append((span, row))
    return placed


def _dense(found: Sequence[Span], line: Axis, y: float) -> str:
    """How many ran at each moment, those that failed from below."""
    bins = int(WIDTH / BIN)
    busy: dict[str, list[float]] = {"good": [0.0] * bins, "bad": [0.0] * bins}
    for span in found:
        level = busy["bad" if span.state in states.FAILURE else "good"]
        first, last = line.at(span.start) * bins, line.at(span.end) * bins
        for n in range(int(first), min(int(last), bins - 1) + 1):
            level[min(n, bins - 1)] += max(min(last, n + 1) - max(first, n), 0.02)
    most = max(good + bad for good, bad in zip(busy["good"], busy["bad"], strict=True)) or 1.0
    parts = []
    for n, (good, bad) in enumerate(zip(busy["good"], busy["bad"], strict=True)):
        low = y + DENSE
        for tone, amount in (("bad", bad), ("good", good)):
            high = amount / most * DENSE
            if high:
                high = max(high, 1.0)
                low -= high
                place = f'x="{num(LEFT + n * BIN)}" y="{num(low)}" width="{BIN:g}" height="{num(high)}"'
                parts.append(f'<rect class="f{tone}" {place}/>')
    return "".join(parts)


def _axis(line: Axis, bottom: float) -> str:
    parts, cuts = [], [(_x(line, start), _x(line, end)) for start, end in line.cuts]
    for tick in line.ticks():
        x = _x(line, line.begin + tick)
        parts.append(f'<path class="ln" d="M{num(x)} {num(TOP - 12)}V{num(bottom)}"/>')
        if all(x < start - CLEAR or x > end + CLEAR / 2 for start, end in cuts):
            parts.append(f'<text class="s" x="{num(x)}" y="{num(TOP - 17)}">{took(tick) if tick else "0"}</text>')
    for (x, until), (start, end) in zip(cuts, line.cuts, strict=True):
        spent = took(end - start)
        parts.append(
            f'<g><title>Nothing ran for {spent}.</title><rect class="cut" x="{num(x)}" y="{num(TOP - 12)}" '
            f'width="{num(until - x)}" height="{num(bottom - TOP + 12)}"/><text class="s" text-anchor="middle" '
            f'x="{num((x + until) / 2)}" y="{num(TOP - 17)}">{spent}</text></g>'
        )
    return "".join(parts)


def _x(line: Axis, moment: float) -> float:
    return LEFT + WIDTH * line.at(moment)


def _legend(spans: Sequence[Span], y: float) -> str:
    found = {span.state for span in spans if not span.wait}
    kinds: list[tuple[str, str]] = [(mark.word, f"f{mark.tone}") for state, mark in MARKS.items() if state in found]
    parts, x = [], LEFT
    for word, tone in dict.fromkeys(kinds):
        parts.append(f'<rect class="{tone}" x="{num(x)}" y="{num(y)}" width="10" height="10" rx="2"/>')
        parts.append(f'<text class="s" x="{num(x + 15)}" y="{num(y + 9)}">{word}</text>')
        x += 15 + len(word) * SMALL + 16
    if any(span.wait for span in spans):
        parts.append(f'<path class="w warn" d="M{num(x)} {num(y + 5)}h16"/>')
        parts.append(f'<text class="s" x="{num(x + 21)}" y="{num(y + 9)}">waiting</text>')
    return "".join(parts)
