"""A view as plain text, Mermaid and DOT; a whole graph as JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from dataflow.draw.marks import MARKS, overall, words
from dataflow.draw.shape import Box, Item, View

# Fills and edges that are readable on white and on black.
COLOURS = {
    "good": ("#dafbe1", "#1a7f37"),
    "bad": ("#ffebe9", "#cf222e"),
    "busy": ("#ddf4ff", "#0969da"),
    "warn": ("#fff8c5", "#9a6700"),
    "calm": ("#f6f8fa", "#6e7781"),
}


def text(view: View, *, states: bool = False, ascii_only: bool = False) -> str:
    """One line for each box under its subflow: its name, how many, what it needs.

    Parameters
    ----------
    view : View
        What to show.
    states : bool
        Show the states that its boxes count.
    ascii_only : bool
        Use no other letters, where the terminal has none.
    """
    times, arrow, dots = ("x", "<-", "...") if ascii_only else ("×", "←", "…")
    tree: list[tuple[int, str, Box | None]] = []
    open_groups: list[str] = []
    for box in _together(view):
        parts = box.group.split("/") if box.group else []
        shared = 0
        while shared < min(len(parts), len(open_groups)) and parts[shared] == open_groups[shared]:
            shared += 1
        tree += [(depth, f"{parts[depth]}/", None) for depth in range(shared, len(parts))]
        open_groups = parts
        tree.append((len(parts), f"{box.label}{'/' if box.subflow else ''}", box))
    needs: dict[str, list[str]] = {}
    boxes = {box.key: box for box in view.boxes}
    for start, end in view.edges:
        needs.setdefault(end, []).append(_near(boxes[start], boxes[end]))
    rows: list[tuple[str, str, str, str]] = []
    for depth, name, found in tree:
        cells = ("", "", "")
        if found is not None:
            mark = MARKS[overall(found.counts) or "Pending"]
            glyph = f"{mark.plain if ascii_only else mark.glyph} " if states else ""
            told = needs.get(found.key, [])
            told = told if len(told) <= 6 else [*told[:6], f"{dots} +{len(told) - 6}"]
            upstream = f"{arrow} {', '.join(told)}" if told else ""
            facts = [words(found.counts)] if states else []
            facts += ["expands at run time"] * found.builds + ["loop"] * found.loops
            cells = (found.times.replace("×", times), upstream, f" ({', '.join(facts)})" if facts else "")
            name = glyph + name
        rows.append((f"{'  ' * (depth + 1)}{name}", *cells))
    wide = max((len(row[0]) for row in rows), default=0)
    count = max((len(row[1]) for row in rows), default=0)
    lines = [view.title]
    lines += [f"{name:<{wide}}  {many:<{count}}  {needed}{facts}".rstrip() for name, many, needed, facts in rows]
    told_text = "\n".join(lines) + "\n"
    if ascii_only:
        told_text = told_text.replace(" ·", ",").replace("…", dots).encode("ascii", "backslashreplace").decode()
    return told_text


def _together(view: View) -> list[Box]:
    """The boxes, those of one subflow one after the other, where its first stands."""
    first: dict[str, int] = {}
    for n, box in enumerate(view.boxes):
        parts = box.group.split("/") if box.group else []
        for depth in range(len(parts)):
            first.setdefault("/".join(parts[: depth + 1]), n)

    def place(entry: tuple[int, Box]) -> tuple[int, ...]:
        n, box = entry
        parts = box.group.split("/") if box.group else []
        return (*(first["/".join(parts[: depth + 1])] for depth in range(len(parts))), n)

    return [box for _, box in sorted(enumerate(view.boxes), key=place)]


def _near(box: Box, seen_from: Box) -> str:
    inside = f"{seen_from.group}/" if seen_from.group else ""
    return f"{box.path}{'/' if box.subflow else ''}".removeprefix(inside)


def mermaid(view: View, *, states: bool = False) -> str:
    """A Mermaid flowchart; GitHub and GitLab draw it from a fenced block."""
    names = {box.key: f"n{n}" for n, box in enumerate(view.boxes)}
    lines = ["flowchart LR"]
    for depth, line in _nested(view, names, _mermaid_box, _mermaid_group, "end", states):
        lines.append("  " * (depth + 1) + line)
    lines += [f"  {names[start]} --> {names[end]}" for start, end in view.edges]
    tones: dict[str, list[str]] = {}
    for box in view.boxes:
        if states and (state := overall(box.counts)):
            tones.setdefault(MARKS[state].tone, []).append(names[box.key])
    for tone, members in tones.items():
        fill, edge = COLOURS[tone]
        lines.append(f"  classDef {tone} fill:{fill},stroke:{edge},color:#1f2328")
        lines.append(f"  class {','.join(members)} {tone}")
    return "\n".join(lines) + "\n"


def dot(view: View, *, states: bool = False) -> str:
    """Graphviz's language."""
    names = {box.key: f"n{n}" for n, box in enumerate(view.boxes)}
    lines = [
        f"digraph {_quoted(view.flow)} {{",
        '  graph [rankdir=LR, fontname="sans-serif", tooltip=""]',
        '  node [shape=box, style="rounded,filled", fillcolor="#f6f8fa", color="#8c959f", fontname="monospace"]',
        '  edge [color="#8c959f"]',
    ]
    for depth, line in _nested(view, names, _dot_box, _dot_group, "}", states):
        lines.append("  " * (depth + 1) + line)
    lines += [f"  {names[start]} -> {names[end]}" for start, end in view.edges]
    return "\n".join([*lines, "}"]) + "\n"


def _nested(
    view: View,
    names: Mapping[str, str],
    one: Callable[[str, Box, bool], str],
    group: Callable[[str, str], str],
    close: str,
    states: bool,
) -> list[tuple[int, str]]:
    """Lines of boxes within lines of their groups, with their depths."""
    lines: list[tuple[int, str]] = []
    open_groups: list[str] = []
    for box in [*_together(view), None]:
        parts = box.group.split("/") if box is not None and box.group else []
        shared = 0
        while shared < min(len(parts), len(open_groups)) and parts[shared] == open_groups[shared]:
            shared += 1
        lines += [(depth, close) for depth in range(len(open_groups) - 1, shared - 1, -1)]
        for depth in range(shared, len(parts)):
            lines.append((depth, group(f"g{len(lines)}", parts[depth])))
        open_groups = parts
        if box is not None:
            lines.append((len(parts), one(names[box.key], box, states)))
    return lines


def _label(box: Box, states: bool, new_line: str) -> str:
    name = f"{box.label}{f' {box.times}' if box.times else ''}"
    if not states:
        return name
    mark = MARKS[overall(box.counts) or "Pending"]
    return f"{mark.glyph} {name}{new_line}{words(box.counts)}"


def _mermaid_text(label: str) -> str:
    # Entities as Mermaid writes them; <br/> is kept.
    escaped = "".join(
        f"#{ord(c)};" if c in '"#&;`' else "#lt;" if c == "<" else "#gt;" if c == ">" else c for c in label
    )
    return f'"{escaped.replace("#lt;br/#gt;", "<br/>")}"'


def _mermaid_box(name: str, box: Box, states: bool) -> str:
    left, right = (
        ("([", "])")
        if box.internal
        else ("[[", "]]")
        if box.mapped or box.calls > 1
        else ("{{", "}}")
        if box.builds
        else ("[", "]")
    )
    return f"{name}{left}{_mermaid_text(_label(box, states, '<br/>'))}{right}"


def _mermaid_group(name: str, label: str) -> str:
    return f"subgraph {name}[{_mermaid_text(label)}]"


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _dot_box(name: str, box: Box, states: bool) -> str:
    facts = [f"label={_quoted(_label(box, states, chr(10)))}", f"tooltip={_quoted(box.path)}"]
    if box.internal:
        facts += ["shape=oval", "height=0.2", "fontsize=10"]
    if box.mapped or box.calls > 1:
        facts.append("peripheries=2")
    if box.builds or box.subflow:
        facts.append('style="rounded,filled,dashed"')
    if states and (state := overall(box.counts)):
        fill, edge = COLOURS[MARKS[state].tone]
        facts += [f'fillcolor="{fill}"', f'color="{edge}"']
    return f"{name} [{', '.join(facts)}]"


def _dot_group(name: str, label: str) -> str:
    return f'subgraph cluster_{name} {{ label={_quoted(label)}; style=dashed; color="#8c959f"; fontname="monospace"'


def as_json(flow: str, items: Sequence[Item], counts: Mapping[str, Mapping[str, int]] | None = None) -> str:
    """Every node and edge, nothing folded."""
    nodes = [
        {
            "path": item.path,
            "task": item.task,
            "group": item.group,
            "kind": "operator" if item.internal else "subflow" if item.builds else "task",
            "mapped": item.mapped,
            "width": item.width,
            "returned": item.returned,
            "upstream": list(item.upstream),
            **({"states": dict(counts.get(item.path, {}))} if counts is not None else {}),
        }
        for item in items
    ]
    return json.dumps({"schema": 1, "flow": flow, "nodes": nodes}, indent=1, ensure_ascii=False) + "\n"
