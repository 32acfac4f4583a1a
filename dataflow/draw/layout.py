"""Where boxes stand and how edges run, with a frame around each group. Pure geometry.

The way of Sugiyama, Tagawa and Toda (1981), level by level: a group is laid out by itself and stands in its parent as
one big box; an edge that leaves it does so through a port on its border. Edges of one source share their bends.

Two axes: `a` along the edges, `c` across them. The caller says which is x.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dataflow.draw.layers import Level, Net, Spaces, columns, solve

Point = tuple[float, float]
SPACES = Spaces()


@dataclass(frozen=True, slots=True)
class Rect:
    """A box: where it starts and how long it is, on both axes."""

    a: float
    c: float
    along: float
    across: float

    def moved(self, a: float, c: float) -> Rect:
        """The same elsewhere."""
        return Rect(self.a + a, self.c + c, self.along, self.across)


@dataclass(kw_only=True, slots=True)
class Layout:
    """What came of it: boxes and groups by key, edges as points to be joined, arrowheads as points."""

    along: float = 0
    across: float = 0
    boxes: dict[str, Rect] = field(default_factory=dict)
    groups: dict[str, Rect] = field(default_factory=dict)
    lines: list[list[Point]] = field(default_factory=list)
    tips: list[Point] = field(default_factory=list)
    entries: dict[str, float] = field(default_factory=dict)
    exits: dict[str, float] = field(default_factory=dict)

    def take(self, inner: Layout, a: float, c: float) -> None:
        """Place what was laid out by itself."""
        self.boxes.update((key, rect.moved(a, c)) for key, rect in inner.boxes.items())
        self.groups.update((key, rect.moved(a, c)) for key, rect in inner.groups.items())
        self.lines += [[(x + a, y + c) for x, y in line] for line in inner.lines]
        self.tips += [(x + a, y + c) for x, y in inner.tips]


def layout(
    sizes: Mapping[str, tuple[float, float]],
    parents: Mapping[str, str],
    edges: Iterable[tuple[str, str]],
    *,
    heads: Mapping[str, tuple[float, float]] | None = None,
    spaces: Spaces = SPACES,
    stretch: bool = True,
) -> Layout:
    """Lay a graph out.

    Parameters
    ----------
    sizes : mapping
        Of each box: along and across.
    parents : mapping
        The group that a box or a group lies in. What is not in it lies in none. A group that an edge leaves to come
        back through another box is dissolved.
    edges : iterable of (source, target)
        Between boxes, without a circle.
    heads : mapping, optional
        The least size of each group: along and across.
    spaces : Spaces
        Distances.
    stretch : bool
        Boxes of one rank are equally long.
    """
    pairs = list(dict.fromkeys(edges))
    parent = _without_circles(list(sizes), dict(parents), pairs)
    chains = {key: _chain(key, parent) for key in sizes}
    members: dict[str, list[str]] = {}
    for key in dict.fromkeys(key for chain in chains.values() for key in chain[1:]):
        members.setdefault(parent.get(key, ""), []).append(key)
    # Per level: (source, child or None if it comes in through the border, target, child or None if it goes out).
    crossing: dict[str, list[tuple[str, str | None, str, str | None]]] = {}
    for source, target in pairs:
        up, down = chains[source], chains[target]
        common = max(n for n in range(min(len(up), len(down))) if up[n] == down[n])
        for n in range(common + 1, len(up) - 1):
            crossing.setdefault(up[n], []).append((source, up[n + 1], target, None))
        for n in range(common + 1, len(down) - 1):
            crossing.setdefault(down[n], []).append((source, None, target, down[n + 1]))
        crossing.setdefault(up[common], []).append((source, up[common + 1], target, down[common + 1]))

    def inside(group: str) -> Layout:
        inner = {key: inside(key) for key in members.get(group, ()) if key in members}
        head = (heads or {}).get(group, (0.0, 0.0))
        return _arrange(members.get(group, []), sizes, inner, crossing.get(group, []), spaces, group, head, stretch)

    return inside("")


def _chain(key: str, parent: Mapping[str, str]) -> list[str]:
    chain = [key]
    while chain[-1]:
        chain.append(parent.get(chain[-1], ""))
    return chain[::-1]


def _without_circles(keys: Sequence[str], parent: dict[str, str], pairs: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Dissolve groups that an edge leaves to come back through another box."""
    while True:
        chains = {key: _chain(key, parent) for key in keys}
        lifted: dict[str, set[tuple[str, str]]] = {}
        for source, target in pairs:
            up, down = chains[source], chains[target]
            common = max(n for n in range(min(len(up), len(down))) if up[n] == down[n])
            if up[common + 1 :] and down[common + 1 :]:
                lifted.setdefault(up[common], set()).add((up[common + 1], down[common + 1]))
        groups = {group for chain in chains.values() for group in chain[:-1]}
        guilty = {key for found in lifted.values() for key in _in_circles(found) if key in groups}
        if not guilty:
            return parent
        for key, above in list(parent.items()):
            while above in guilty:
                above = parent.get(above, "")
            parent[key] = above
        for key in guilty:
            parent.pop(key, None)


def _in_circles(edges: Iterable[tuple[str, str]]) -> set[str]:
    """Vertices that are left when all that starts or ends nothing is taken away, again and again."""
    left = set(edges)
    while True:
        starts, ends = {u for u, _ in left}, {v for _, v in left}
        kept = {(u, v) for u, v in left if u in ends and v in starts}
        if kept == left:
            return starts & ends
        left = kept


def _arrange(
    children: Sequence[str],
    sizes: Mapping[str, tuple[float, float]],
    inner: Mapping[str, Layout],
    crossing: Sequence[tuple[str, str | None, str, str | None]],
    spaces: Spaces,
    group: str,
    head: tuple[float, float],
    stretch: bool,
) -> Layout:
    """Lay one level out, its groups being done."""
    level = Level()
    vertex: dict[str, int] = {}
    for key in children:
        along, across = (inner[key].along, inner[key].across) if key in inner else sizes[key]
        vertex[key] = level.add(along, across, stretch=stretch and key not in inner)
    entries: dict[str, int] = {}
    exits: dict[str, int] = {}
    nets: dict[str, Net] = {}
    for source, start, _, end in crossing:
        if start is None and source not in entries:
            entries[source] = level.add(0, 0)
        if end is None and source not in exits:
            exits[source] = level.add(0, 0)
        if source not in nets:
            at = entries[source] if start is None else vertex[start]
            port = 0.0 if start is None else inner[start].exits[source] if start in inner else sizes[start][1] / 2
            nets[source] = Net(source=at, port=port, targets={})
        if end is None:
            nets[source].targets[exits[source]] = 0.0
        else:
            nets[source].targets[vertex[end]] = inner[end].entries[source] if end in inner else sizes[end][1] / 2
    tops = solve(level, list(nets.values()), list(entries.values()), list(exits.values()), spaces)
    starts, ends = columns(level, tops, spaces, bool(entries), bool(exits))

    margin = (spaces.before, spaces.after, spaces.above, spaces.below) if group else (0.0, 0.0, 0.0, 0.0)
    along = max(ends, default=0.0) + (0 if entries else margin[0]) + (0 if exits else margin[1])
    across = (
        max((top + size for top, size in zip(tops, level.across, strict=True)), default=0.0) + margin[2] + margin[3]
    )
    # What a title needs is added evenly.
    more_a, more_c = max(0.0, head[0] - along), max(0.0, head[1] - across)
    made = Layout(along=along + more_a, across=across + more_c)
    shift_a = (0 if entries else margin[0]) + more_a / 2
    shift_c = margin[2] + more_c / 2
    a = [starts[level.rank[v]] + shift_a for v in range(len(level.along))]
    c = [top + shift_c for top in tops]
    for v in entries.values():
        a[v] = 0.0
    for v in exits.values():
        a[v] = made.along
    made.entries = {source: c[v] for source, v in entries.items()}
    made.exits = {source: c[v] for source, v in exits.items()}
    for key, v in vertex.items():
        if key in inner:
            a[v] += (ends[level.rank[v]] - starts[level.rank[v]] - level.along[v]) / 2
            made.groups[key] = Rect(a[v], c[v], level.along[v], level.across[v])
            made.take(inner[key], a[v], c[v])
        else:
            made.boxes[key] = Rect(a[v], c[v], level.along[v], level.across[v])
    leaves = {v for key, v in vertex.items() if key not in inner}
    _draw_lines(level, a, c, [s + shift_a for s in starts], [e + shift_a for e in ends], leaves, made)
    return made


def _draw_lines(
    level: Level,
    a: Sequence[float],
    c: Sequence[float],
    starts: Sequence[float],
    ends: Sequence[float],
    leaves: set[int],
    made: Layout,
) -> None:
    """Lines from box to box, joined where they pass a bend, so that what is shared is drawn once."""
    after: dict[int, list[tuple[float, int, float]]] = {}
    for u, out, v, into in level.segments:
        after.setdefault(u, []).append((out, v, into))
    for u, following in after.items():
        if level.bend[u] and len(following) == 1:
            continue  # drawn with what comes before it
        for out, v, into in following:
            leave = ends[level.rank[u]]
            line = [(leave, c[u])] if level.bend[u] else [(a[u] + level.along[u], c[u] + out), (leave, c[u] + out)]
            while True:
                line.append((starts[level.rank[v]], c[v] + into))
                if not level.bend[v]:
                    line.append((a[v], c[v] + into))
                    break
                line.append((ends[level.rank[v]], c[v]))
                if len(after[v]) > 1:
                    break
                _, v, into = after[v][0]
            if v in leaves:
                made.tips.append(line[-1])
            made.lines.append(line)
    made.tips = list(dict.fromkeys(made.tips))
