"""What of a graph is drawn: which boxes, in which groups, with which edges. No geometry here.

Operators on nodes are left out where an edge says the same. The children of mapped subflows are one box for each task
of theirs. What is too much for a picture is folded: first calls of one task, then whole subflows, then neighbours.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from dataflow.graph import Graph

INDEX = re.compile(r"\[\d+\]")
NUMBER = re.compile(r"-\d+$")
SYMBOLS = {
    "getitem": "[ ]", "add": "+", "sub": "−", "mul": "×", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**",
    "matmul": "@", "and": "&", "or": "|", "xor": "^", "lshift": "<<", "rshift": ">>", "neg": "−", "pos": "+",
    "invert": "~", "abs": "| |", "lt": "<", "le": "≤", "gt": ">", "ge": "≥", "eq": "=", "ne": "≠",
}  # fmt: skip
# More boxes than this are folded even where a picture may be large.
MOST_BOXES = 600


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """A node, as far as a picture is concerned.

    Parameters
    ----------
    path, task : str
        Its place in the graph, and its task's name.
    upstream : tuple of str
        Paths.
    mapped : bool
        One call for each item.
    width : int or None
        How many, where that is known.
    builds : bool
        A deferred subflow: what it holds is known when it runs.
    internal : bool
        An operator on nodes.
    returned : bool
        The flow returns it.
    """

    path: str
    task: str
    upstream: tuple[str, ...] = ()
    mapped: bool = False
    width: int | None = None
    builds: bool = False
    internal: bool = False
    returned: bool = False

    @property
    def group(self) -> str:
        """The subflow that it lies in."""
        return self.path.rpartition("/")[0]


@dataclass(kw_only=True, slots=True)
class Box:
    """One box of a picture, standing for one or more nodes: all that is known of them together."""

    key: str
    path: str
    label: str
    group: str
    mapped: bool = False
    builds: bool = False
    internal: bool = False
    subflow: bool = False
    returned: bool = False
    loops: bool = False
    calls: int = 0
    width: int | None = 0
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def times(self) -> str:
        """How many task runs it stands for, as people write it; empty for one.

        >>> Box(key="a", path="a", label="a", group="", mapped=True, width=8333).times
        '×8,333'
        """
        if self.subflow:
            return f"{self.calls:,} task{'' if self.calls == 1 else 's'}"
        if not self.mapped and self.calls == 1:
            return ""
        return "×?" if self.width is None else f"×{self.width:,}"


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """A picture's content: boxes in an order in which no edge goes back, and edges as pairs of their keys."""

    flow: str
    boxes: Sequence[Box]
    edges: Sequence[tuple[str, str]]
    nodes: int
    mapped: int

    @property
    def groups(self) -> list[str]:
        """The subflows that hold a box, and those that hold these, outer before inner."""
        found: dict[str, None] = {}
        for box in self.boxes:
            parts = box.group.split("/") if box.group else []
            found.update(dict.fromkeys("/".join(parts[: n + 1]) for n in range(len(parts))))
        return list(found)

    @property
    def title(self) -> str:
        """What is shown, in a line."""
        tasks = f"{self.nodes:,} task{'' if self.nodes == 1 else 's'}"
        return f"{self.flow}: {tasks}{f', {self.mapped:,} mapped' if self.mapped else ''}"


def items_of(graph: Graph) -> list[Item]:
    """The nodes of a graph."""
    returned = set(graph.returned)
    return [
        Item(
            path=node.path,
            task=node.name,
            upstream=tuple(up.path for up in node.upstream),
            mapped=node.mapped,
            width=node.width,
            builds=node.definition.builds,
            internal=node.definition.internal,
            returned=node in returned,
        )
        for node in graph.nodes
    ]


def view(
    flow: str,
    items: Sequence[Item],
    counts: Mapping[str, Mapping[str, int]] | None = None,
    limit: int | None = 60,
    most: int = MOST_BOXES,
) -> View:
    """What to draw.

    Parameters
    ----------
    flow : str
        The flow's name.
    items : sequence of Item
        The nodes.
    counts : mapping, optional
        How many task runs of each path are in each state.
    limit : int or None
        Fold calls of one task, then subflows, where there would be more boxes than this. None folds nothing.
    most : int
        Fold neighbours where there still are more than this.
    """
    ordered = _topological(items)
    ups = _contracted(ordered)
    shown = [item for item in ordered if item.path in ups]
    places = {item.path: _place(INDEX.sub("[·]", item.path)) for item in shown}
    if limit is not None and len(set(places.values())) > limit:
        places = by_name(shown)
        depth = max(place.depth for place in places.values())
        while len(set(places.values())) > limit and depth:
            places = {path: place.cut(depth) for path, place in places.items()}
            depth -= 1
        if len(set(places.values())) > most:
            places = _by_rank(shown, ups, min(limit, most))
    boxes = _boxes(shown, places, counts or {})
    order = {place: n for n, place in enumerate(boxes)}
    edges: dict[tuple[str, str], None] = {}
    for item in shown:
        to = places[item.path]
        for start in dict.fromkeys(places[up] for up in ups[item.path]):
            if order[start] < order[to]:
                edges[boxes[start].key, boxes[to].key] = None
            elif start != to or (to.part < 0 and not to.subflow):
                boxes[to].loops = True  # in the flow's body, folded to one box for each task
    users = [item for item in items if not item.internal]
    return View(
        flow=flow,
        boxes=list(boxes.values()),
        edges=list(edges),
        nodes=len(users),
        mapped=sum(item.mapped for item in users),
    )


class Place(NamedTuple):
    """Which box a node goes to."""

    group: str
    label: str
    part: int = -1  # of the depths of the graph, where neighbours are folded
    subflow: bool = False

    @property
    def depth(self) -> int:
        return self.group.count("/") + 1 if self.group else 0

    def cut(self, depth: int) -> Place:
        """The subflow at this depth in place of what is in it."""
        if self.depth < depth:
            return self
        parts = self.group.split("/")
        return Place("/".join(parts[: depth - 1]), parts[depth - 1], subflow=True)

    @property
    def path(self) -> str:
        return f"{self.group}/{self.label}" if self.group else self.label

    @property
    def key(self) -> str:
        """A name that no other place has; no node's path ends in `/` or holds a `[`."""
        return f"{self.path}/" if self.subflow else self.path if self.part < 0 else f"{self.path}[{self.part}]"


def _place(path: str) -> Place:
    group, _, label = path.rpartition("/")
    return Place(group, label)


def _topological(items: Sequence[Item]) -> list[Item]:
    """Upstreams first, else in build order."""
    place = {item.path: n for n, item in enumerate(items)}
    if all(place.get(up, -1) < n for n, item in enumerate(items) for up in item.upstream):
        return list(items)
    waits = {item.path: {up for up in item.upstream if up in place} for item in items}
    followers: dict[str, list[str]] = {}
    for path, needed in waits.items():
        for up in needed:
            followers.setdefault(up, []).append(path)
    ready = [item.path for item in items if not waits[item.path]][::-1]
    done: list[Item] = []
    while ready:
        path = ready.pop()
        done.append(items[place[path]])
        for follower in sorted(followers.get(path, ()), key=place.__getitem__, reverse=True):
            waits[follower].discard(path)
            if not waits[follower]:
                ready.append(follower)
    return done


def _contracted(items: Iterable[Item]) -> dict[str, tuple[str, ...]]:
    """Upstreams of each item that is shown; an operator that only passes one value on is not."""
    through: dict[str, tuple[str, ...]] = {}
    ups: dict[str, tuple[str, ...]] = {}
    for item in items:
        seen = tuple(dict.fromkeys(path for up in item.upstream for path in through.get(up, ())))
        if item.internal and not item.returned and len(seen) == 1:
            through[item.path] = seen
        else:
            ups[item.path] = seen
            through[item.path] = (item.path,)
    return ups


def by_name(items: Sequence[Item]) -> dict[str, Place]:
    """One box for all calls of a task in a subflow, and for all calls of that subflow."""
    known = {INDEX.sub("", item.group) for item in items}
    known |= {group[:n] for group in list(known) for n, c in enumerate(group) if c == "/"}

    def plain(group: str) -> str:
        parts: list[str] = []
        at = ""
        for part in group.split("/") if group else ():
            base = NUMBER.sub("", part)
            parts.append(base if f"{at}{base}" in known else part)
            at += f"{part}/"
        return "/".join(parts)

    return {item.path: Place(plain(INDEX.sub("", item.group)), item.task) for item in items}


def _by_rank(items: Sequence[Item], ups: Mapping[str, tuple[str, ...]], most: int) -> dict[str, Place]:
    """One box for all that stands equally deep in the graph, neighbouring depths together."""
    rank: dict[str, int] = {}
    for item in items:
        rank[item.path] = max((rank[up] + 1 for up in ups[item.path]), default=0)
    depth = max(rank.values(), default=0) + 1
    pieces = min(depth, most)
    part = {path: n * pieces // depth for path, n in rank.items()}
    names: dict[int, dict[str, None]] = {}
    for item in items:
        names.setdefault(part[item.path], {})[item.task] = None
    labels = {n: f"{next(iter(found))}{' …' if len(found) > 1 else ''}" for n, found in names.items()}
    return {path: Place("", labels[n], part=n) for path, n in part.items()}


def _boxes(
    items: Sequence[Item], places: Mapping[str, Place], counts: Mapping[str, Mapping[str, int]]
) -> dict[Place, Box]:
    boxes: dict[Place, Box] = {}
    for item in items:
        place = places[item.path]
        box = boxes.get(place)
        if box is None:
            label = SYMBOLS.get(item.task, place.label) if item.internal else place.label
            box = boxes[place] = Box(key=place.key, path=place.path, label=label, group=place.group)
            box.subflow, box.internal = place.subflow, item.internal
        box.calls += 1
        box.mapped |= item.mapped
        box.builds |= item.builds
        box.returned |= item.returned
        box.internal &= item.internal
        width = item.width if item.mapped else 1
        box.width = None if box.width is None or width is None else box.width + width
        box.counts.update(counts.get(item.path, {}))
    return boxes
