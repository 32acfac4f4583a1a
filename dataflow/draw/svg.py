"""A view as SVG: no script, no font, no network; light and dark by what shows it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

from dataflow.draw.layers import Spaces
from dataflow.draw.layout import Layout, Rect, layout
from dataflow.draw.marks import MARKS, TONES, overall, words
from dataflow.draw.shape import Box, View

# Widths of letters: names are in a fixed-width face, which is 0.6 of its size in almost every font.
NAME, SMALL = 7.85, 6.1
LONGEST = 30
TALL, TALLER, PILL = 34.0, 52.0, 24.0
MARGIN = 16.0
TITLE = 34.0
# A picture wider than this runs from top to bottom, where that is less wide.
WIDEST = 1500.0
LIGHT = {
    "bg": "#ffffff", "card": "#f6f8fa", "line": "#d0d7de", "text": "#1f2328",
    "soft": "#57606a", "edge": "#7d8590", "group": "#fafbfc", "good": "#1a7f37",
    "bad": "#cf222e", "busy": "#0969da", "warn": "#9a6700", "calm": "#6e7781", "accent": "#6639ba",
}  # fmt: skip
DARK = {
    "bg": "#0d1117", "card": "#161b22", "line": "#3d444d", "text": "#e6edf3",
    "soft": "#9198a1", "edge": "#6e7681", "group": "#10151c", "good": "#3fb950",
    "bad": "#f85149", "busy": "#58a6ff", "warn": "#d29922", "calm": "#8b949e", "accent": "#b083f0",
}  # fmt: skip
# What a page that shows the picture inline says of its own colours goes first.
HOSTS = {
    "bg": ("--jp-layout-color0", "--vscode-editor-background"),
    "card": ("--jp-layout-color1", "--vscode-editorWidget-background"),
    "line": ("--jp-border-color1", "--vscode-editorWidget-border"),
    "text": ("--jp-content-font-color1", "--vscode-editor-foreground"),
    "soft": ("--jp-content-font-color2", "--vscode-descriptionForeground"),
}
SANS = 'system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif'
MONO = 'ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono","Liberation Mono",monospace'


@dataclass(frozen=True, slots=True)
class _Axes:
    """Which way the edges run."""

    across: bool

    def point(self, a: float, c: float) -> tuple[float, float]:
        return (a, c) if self.across else (c, a)

    def rect(self, rect: Rect) -> tuple[float, float, float, float]:
        x, y = self.point(rect.a, rect.c)
        w, h = self.point(rect.along, rect.across)
        return x, y, w, h


def svg(view: View, *, states: bool = False, prefix: str | None = None) -> str:
    """Draw a view.

    Parameters
    ----------
    view : View
        What to draw.
    states : bool
        Show the states that its boxes count.
    prefix : str, optional
        What ids begin with; by default a hash of the picture, so that two pictures on one page do not meet.
    """
    axes, placed = _placed(view, states)
    width, height = axes.point(placed.along, placed.across)
    width = max(width, len(view.title) * SMALL * 1.1) + 2 * MARGIN
    height += MARGIN + TITLE + (_legend_height(view) if states else 0) + (MARGIN if view.boxes else 0)
    shift = MARGIN, TITLE + 8

    parts = [_group(group, rect, axes) for group, rect in placed.groups.items()]
    parts += _edges(placed, axes)
    parts += [_box(box, axes.rect(placed.boxes[box.key]), states) for box in view.boxes]
    inner = "".join(parts)
    body = (
        f'<text class="h" x="{num(MARGIN)}" y="23">{escape(view.flow)}<tspan class="s" dx="10">'
        f"{escape(view.title.partition(': ')[2])}</tspan></text>"
        f'<g transform="translate({num(shift[0])} {num(shift[1])})">{inner}</g>'
    )
    if states:
        body += _legend(view, height)
    unique = prefix or "d" + hashlib.blake2s((body + view.title).encode(), digest_size=4).hexdigest()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" id="{unique}" viewBox="0 0 {num(width)} {num(height)}" '
        f'width="{num(width)}" height="{num(height)}" role="img" aria-labelledby="{unique}-t">'
        f'<title id="{unique}-t">{escape(_spoken(view))}</title>'
        f"<style>{style(unique)}</style>"
        f'<rect class="bg" width="100%" height="100%" rx="10"/>{body}</svg>\n'
    )


def num(value: float) -> str:
    """A number as short as it can be.

    >>> num(12.0), num(12.34)
    ('12', '12.3')
    """
    return f"{value:.1f}".removesuffix(".0")


def _spoken(view: View) -> str:
    edges = [f"{start} to {end}" for start, end in view.edges]
    return f"Graph of the flow {view.title}." + (
        f" {'; '.join(edges[:12])}{' …' if len(edges) > 12 else ''}." if edges else ""
    )


def style(unique: str) -> str:
    """The rules for all that has this id: colours, light and dark, faces."""

    def variables(colours: Mapping[str, str]) -> str:
        made = []
        for name, colour in colours.items():
            value = colour
            for host in reversed(HOSTS.get(name, ())):
                value = f"var({host},{value})"
            made.append(f"--{name}:{value}")
        return ";".join(made)

    def ink(use: str, name: str) -> str:
        # Twice: a viewer that knows no variables takes the first.
        return f"{use}:{LIGHT[name]};{use}:var(--{name})"

    rules = {
        "": f"color-scheme:light dark;font:12px {SANS};max-width:100%;height:auto;{variables(LIGHT)}",
        ".bg": ink("fill", "bg"),
        "text": ink("fill", "text"),
        ".h": "font-size:15px;font-weight:600",
        ".m": f"font:13px {MONO}",
        ".s": f"font-size:11px;font-weight:400;{ink('fill', 'soft')}",
        ".n": f"{ink('fill', 'card')};{ink('stroke', 'line')}",
        ".b": "stroke-dasharray:5 3",
        ".r": f"{ink('stroke', 'accent')};stroke-width:1.6",
        ".x": f"{ink('fill', 'accent')};font-size:11px;font-weight:600",
        ".g": f"{ink('fill', 'group')};{ink('stroke', 'line')};stroke-dasharray:2 3",
        ".e": f"fill:none;{ink('stroke', 'edge')};stroke-width:1.3",
        ".a": ink("fill", "edge"),
        ".i": "fill:none;stroke-width:1.7;stroke-linecap:round;stroke-linejoin:round",
    }
    for tone in TONES:
        rules[f".{tone}"], rules[f".f{tone}"] = ink("stroke", tone), ink("fill", tone)
    scoped = "".join(f"#{unique}{' ' if part else ''}{part}{{{rule}}}" for part, rule in rules.items())
    return f"{scoped}@media(prefers-color-scheme:dark){{#{unique}{{{variables(DARK)}}}}}"


def clipped(text: str, most: int = LONGEST) -> str:
    """A long name, cut in the middle.

    >>> clipped("abcdefghij", 7)
    'abc…hij'
    """
    return text if len(text) <= most else f"{text[: most // 2]}…{text[-(most - most // 2 - 1) :]}"


def _size(box: Box, states: bool) -> tuple[float, float]:
    if box.internal:
        return max(PILL, len(box.label) * NAME + 14), PILL
    first = len(clipped(box.label)) * NAME + (len(box.times) * 6.6 + 10 if box.times else 0) + (13 if box.loops else 0)
    if not states:
        return round(first + 28), TALL
    return round(max(first + 44, len(words(box.counts, 2)) * SMALL + 44)), TALLER


def _placed(view: View, states: bool) -> tuple[_Axes, Layout]:
    sizes = {box.key: _size(box, states) for box in view.boxes}
    parents: dict[str, str] = {}
    for group in view.groups:
        parents[f"{group}//"] = f"{above}//" if (above := group.rpartition("/")[0]) else ""
    for box in view.boxes:
        parents[box.key] = f"{box.group}//" if box.group else ""
    heads = {f"{group}//": len(clipped(group.rpartition("/")[2])) * NAME + 34 for group in view.groups}
    right = layout(sizes, parents, view.edges, heads={key: (head, 0.0) for key, head in heads.items()})
    if right.along <= WIDEST or right.along <= 2 * right.across:
        return _Axes(True), right
    down = layout(
        {key: (h, w) for key, (w, h) in sizes.items()},
        parents,
        view.edges,
        heads={key: (0.0, head) for key, head in heads.items()},
        spaces=Spaces(rank=34, boxes=20, bends=14, before=36, after=20, above=16, below=16),
        stretch=False,
    )
    return (_Axes(False), down) if down.across < right.along else (_Axes(True), right)


def _group(key: str, rect: Rect, axes: _Axes) -> str:
    x, y, w, h = axes.rect(rect)
    name = key.removesuffix("//").rpartition("/")[2]
    return (
        f"<g><title>subflow {escape(key.removesuffix('//'))}</title>"
        f'<rect class="g" x="{num(x)}" y="{num(y)}" width="{num(w)}" height="{num(h)}" rx="10"/>'
        f'<text class="m s" x="{num(x + 12)}" y="{num(y + 19)}">{escape(clipped(name))}</text></g>'
    )


def _edges(placed: Layout, axes: _Axes) -> list[str]:
    drawn = []
    for line in placed.lines:
        (a, c), *rest = line
        x, y = axes.point(a, c)
        drawn.append(f"M{num(x)} {num(y)}")
        for to_a, to_c in rest:
            x, y = axes.point(to_a, to_c)
            if abs(to_c - c) < 0.5:
                if to_a - a > 0.05:
                    drawn.append(f"L{num(x)} {num(y)}")
            else:
                middle = (a + to_a) / 2
                one, two = axes.point(middle, c), axes.point(middle, to_c)
                drawn.append(f"C{num(one[0])} {num(one[1])} {num(two[0])} {num(two[1])} {num(x)} {num(y)}")
            a, c = to_a, to_c
    heads = []
    for a, c in placed.tips:
        x, y = axes.point(a, c)
        heads.append(f"M{num(x)} {num(y)}l-7-4v8z" if axes.across else f"M{num(x)} {num(y)}l-4-7h8z")
    if not drawn:
        return []
    return [f'<path class="e" d="{"".join(drawn)}"/>', f'<path class="a" d="{"".join(heads)}"/>']


def _box(box: Box, place: tuple[float, float, float, float], states: bool) -> str:
    x, y, w, h = place
    rect = f'x="{num(x)}" y="{num(y)}" width="{num(w)}" height="{num(h)}"'
    classes = " ".join(["n", *(["b"] if box.builds or box.subflow else []), *(["r"] if box.returned else [])])
    if box.internal:
        return (
            f'<g><title>{escape(_tooltip(box, states))}</title><rect class="{classes}" {rect} rx="{num(h / 2)}"/>'
            f'<text class="m s" x="{num(x + w / 2)}" y="{num(y + h / 2 + 4)}" text-anchor="middle">'
            f"{escape(box.label)}</text></g>"
        )
    parts = [f"<g><title>{escape(_tooltip(box, states))}</title>"]
    if box.mapped or box.calls > 1:  # a second card behind: many
        parts.append(
            f'<rect class="{classes}" x="{num(x + 4)}" y="{num(y - 4)}" width="{num(w)}" height="{num(h)}" rx="7"/>'
        )
    parts.append(f'<rect class="{classes}" {rect} rx="7"/>')
    line = y + (h / 2 + 4.5 if not states else 21)
    left = x + (14 if not states else 30)
    parts.append(f'<text class="m" x="{num(left)}" y="{num(line)}">{escape(clipped(box.label))}</text>')
    end = x + w - 12
    if box.loops:
        parts.append(f'<text class="s" x="{num(end)}" y="{num(line)}" text-anchor="end">↺</text>')
        end -= 14
    if box.times:
        parts.append(f'<text class="x" x="{num(end)}" y="{num(line)}" text-anchor="end">{escape(box.times)}</text>')
    if states:
        parts.append(_state(box, x, y, w, h))
    return "".join([*parts, "</g>"])


def _state(box: Box, x: float, y: float, w: float, h: float) -> str:
    mark = MARKS[overall(box.counts) or "Pending"]
    parts = [
        f'<path class="i {mark.tone}" transform="translate({num(x + 11)} {num(y + 10.5)})" d="{mark.icon}"/>',
        f'<text class="s" x="{num(x + 30)}" y="{num(y + 37)}">{escape(words(box.counts, 2))}</text>',
    ]
    total = sum(box.counts.values())
    if total > 1:
        at = x + 10
        for tone in ("good", "bad", "busy", "warn"):
            share = sum(n for state, n in box.counts.items() if MARKS[state].tone == tone) / total
            if share:
                part = max(share * (w - 20), 2)
                parts.append(
                    f'<rect class="f{tone}" x="{num(at)}" y="{num(y + h - 8)}" width="{num(part)}" height="3"/>'
                )
                at += part
    return "".join(parts)


def _tooltip(box: Box, states: bool) -> str:
    facts = [box.path]
    if box.subflow:
        facts.append(f"a subflow, {box.times}")
    elif box.calls > 1:
        facts.append(f"{box.calls:,} calls")
    if box.mapped:
        facts.append("mapped, known when it runs" if box.width is None else f"mapped over {box.width:,}")
    if box.builds:
        facts.append("a subflow whose tasks are known when it runs")
    if box.loops:
        facts.append("in a loop")
    if box.returned:
        facts.append("returned by the flow")
    if states:
        facts.append(words(box.counts, 2))
    return ", ".join(facts)


def _legend_height(view: View) -> float:
    return 26.0 if any(box.counts for box in view.boxes) else 0.0


def _legend(view: View, height: float) -> str:
    found = {state for box in view.boxes for state, n in box.counts.items() if n}
    parts, x = [], MARGIN
    for state, mark in MARKS.items():
        if state in found:
            parts.append(
                f'<path class="i {mark.tone}" transform="translate({num(x)} {num(height - 26)})" d="{mark.icon}"/>'
            )
            parts.append(f'<text class="s" x="{num(x + 17)}" y="{num(height - 16)}">{mark.word}</text>')
            x += 17 + len(mark.word) * SMALL + 14
    return "".join(parts)
