"""Where boxes stand and how edges run: layers, few crossings, straight lines, and a frame around each group. Pure geometry.

The way of Sugiyama, Tagawa and Toda (1981): ranks by longest path, a bend in each rank that an edge passes, barycentre
sweeps that keep the best order, positions by isotonic regression (pool adjacent violators). A group is laid out by itself
and stands in its parent as one big box; an edge that leaves it does so through a port on its border. Edges of one source
share their bends.

Two axes: `a` along the edges, `c` across them. The caller says which is x.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

Point = tuple[float, float]
SWEEPS = 16
ROUNDS = 12


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


@dataclass(frozen=True, kw_only=True, slots=True)
class Spaces:
    """Distances.

    Parameters
    ----------
    rank : float
        Between ranks; more where edges climb far.
    boxes, bends : float
        Across, between two boxes; where one of the two is a bend.
    before, after, above, below : float
        Between a group's frame and what is in it: along, then across.
    head : float
        The least length of a group on the axis that its title runs along; see `heads`.
    """

    rank: float = 40
    boxes: float = 16
    bends: float = 11
    before: float = 22
    after: float = 22
    above: float = 32
    below: float = 14


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


@dataclass(kw_only=True, slots=True)
class _Net:
    """One source's edges on one level."""

    source: int
    port: float
    targets: dict[int, float]


@dataclass(kw_only=True, slots=True)
class _Level:
    """What is laid out together. A vertex is a box, a group, a port or a bend; its place in these lists is its name."""

    along: list[float] = field(default_factory=list)
    across: list[float] = field(default_factory=list)
    rank: list[int] = field(default_factory=list)
    bend: list[bool] = field(default_factory=list)
    stretch: list[bool] = field(default_factory=list)
    # (source, its port, target, its port), each from one rank to the next
    segments: list[tuple[int, float, int, float]] = field(default_factory=list)

    def add(self, along: float, across: float, *, bend: bool = False, stretch: bool = False, rank: int = 0) -> int:
        self.along.append(along)
        self.across.append(across)
        self.bend.append(bend)
        self.stretch.append(stretch)
        self.rank.append(rank)
        return len(self.along) - 1


def layout(
    sizes: Mapping[str, tuple[float, float]],
    parents: Mapping[str, str],
    edges: Iterable[tuple[str, str]],
    *,
    heads: Mapping[str, tuple[float, float]] | None = None,
    spaces: Spaces = Spaces(),
    stretch: bool = True,
) -> Layout:
    """Lay a graph out.

    Parameters
    ----------
    sizes : mapping
        Of each box: along and across.
    parents : mapping
        The group that a box or a group lies in. What is not in it lies in none. A group whose edges go both into and out of
        another is dissolved.
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
    members: dict[str, list[str]] = {}
    for key in [*sizes, *dict.fromkeys(parent.values())]:
        if key:
            members.setdefault(parent.get(key, ""), []).append(key)
    members = {group: list(dict.fromkeys(found)) for group, found in members.items()}
    chains = {key: _chain(key, parent) for key in sizes}
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

    def solve(group: str) -> Layout:
        inner = {key: solve(key) for key in members.get(group, ()) if key in members}
        head = (heads or {}).get(group, (0.0, 0.0))
        return _arrange(members.get(group, []), sizes, inner, crossing.get(group, []), spaces, group, head, stretch)

    return solve("")


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
    level = _Level()
    vertex: dict[str, int] = {}
    for key in children:
        along, across = (inner[key].along, inner[key].across) if key in inner else sizes[key]
        vertex[key] = level.add(along, across, stretch=stretch and key not in inner)
    entries: dict[str, int] = {}
    exits: dict[str, int] = {}
    nets: dict[str, _Net] = {}
    for source, start, _, end in crossing:
        if start is None and source not in entries:
            entries[source] = level.add(0, 0)
        if end is None and source not in exits:
            exits[source] = level.add(0, 0)
        if source not in nets:
            at = entries[source] if start is None else vertex[start]
            port = 0.0 if start is None else inner[start].exits[source] if start in inner else sizes[start][1] / 2
            nets[source] = _Net(source=at, port=port, targets={})
        if end is None:
            nets[source].targets[exits[source]] = 0.0
        else:
            nets[source].targets[vertex[end]] = inner[end].entries[source] if end in inner else sizes[end][1] / 2
    tops = _solve(level, list(nets.values()), list(entries.values()), list(exits.values()), spaces)
    starts, ends = _columns(level, tops, spaces, bool(entries), bool(exits))

    margin = (spaces.before, spaces.after, spaces.above, spaces.below) if group else (0.0, 0.0, 0.0, 0.0)
    along = max(ends, default=0.0) + (0 if entries else margin[0]) + (0 if exits else margin[1])
    across = max((top + size for top, size in zip(tops, level.across, strict=True)), default=0.0) + margin[2] + margin[3]
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


def _solve(level: _Level, nets: Sequence[_Net], entries: Sequence[int], exits: Sequence[int], spaces: Spaces) -> list[float]:
    """Ranks, bends, order, and positions across: the tops of all vertices."""
    _rank(level, nets, entries, exits)
    for net in nets:
        _bend(level, net)
    tops = [0.0] * len(level.along)
    offset = 0.0
    for part in _components(level):
        layers = _order(level, part)
        _across(level, layers, tops, spaces)
        low = min((tops[v] for v in part), default=0.0)
        high = max((tops[v] + level.across[v] for v in part), default=0.0)
        for v in part:
            tops[v] += offset - low
        offset += high - low + spaces.boxes
    return tops


def _rank(level: _Level, nets: Sequence[_Net], entries: Sequence[int], exits: Sequence[int]) -> None:
    """The longest way from the start; what starts nowhere stands right before what first needs it."""
    count = len(level.along)
    ups: list[list[int]] = [[] for _ in range(count)]
    downs: list[list[int]] = [[] for _ in range(count)]
    for net in nets:
        for target in net.targets:
            ups[target].append(net.source)
            downs[net.source].append(target)
    left = [len(found) for found in ups]
    ready = [v for v in range(count) if not left[v]]
    border = set(entries)
    ranks = level.rank
    for v in ready:
        ranks[v] = 0 if v in border else max([1 if entries else 0, *(ranks[u] + 1 for u in ups[v])])
        for follower in downs[v]:
            left[follower] -= 1
            if not left[follower]:
                ready.append(follower)
    for v in range(count):
        if not ups[v] and downs[v] and v not in border:
            ranks[v] = max(ranks[v], min(ranks[follower] for follower in downs[v]) - 1)
    last = max((ranks[v] for v in range(count) if v not in set(exits)), default=0) + 1
    for v in exits:
        ranks[v] = last


def _bend(level: _Level, net: _Net) -> None:
    """Segments from rank to rank: one bend in each rank that the net passes."""
    at, port = net.source, net.port
    first = level.rank[net.source] + 1
    for rank in range(first, max(level.rank[target] for target in net.targets) + 1):
        further = False
        for target, into in net.targets.items():
            if level.rank[target] == rank:
                level.segments.append((at, port, target, into))
            further |= level.rank[target] > rank
        if further:
            bend = level.add(0, 0, bend=True, rank=rank)
            level.segments.append((at, port, bend, 0.0))
            at, port = bend, 0.0


def _components(level: _Level) -> list[list[int]]:
    """Vertices that hang together, each list in order."""
    root = list(range(len(level.along)))

    def find(v: int) -> int:
        while root[v] != v:
            root[v] = root[root[v]]
            v = root[v]
        return v

    for u, _, v, _ in level.segments:
        one, two = find(u), find(v)
        root[max(one, two)] = min(one, two)
    found: dict[int, list[int]] = {}
    for v in range(len(root)):
        found.setdefault(find(v), []).append(v)
    return list(found.values())


def _order(level: _Level, part: Sequence[int]) -> list[list[int]]:
    """Vertices by rank, so ordered that few segments cross."""
    inside = set(part)
    segments = [segment for segment in level.segments if segment[0] in inside]
    ups: dict[int, list[tuple[int, float]]] = {}
    downs: dict[int, list[tuple[int, float]]] = {}
    for u, out, v, into in segments:
        ups.setdefault(v, []).append((u, out / (level.across[u] or 1)))
        downs.setdefault(u, []).append((v, into / (level.across[v] or 1)))
    ranks = sorted({level.rank[v] for v in part})
    layers: dict[int, list[int]] = {rank: [] for rank in ranks}
    seen: set[int] = set()
    for start in sorted(part, key=lambda v: level.rank[v]):
        stack = [start]
        while stack:
            v = stack.pop()
            if v not in seen:
                seen.add(v)
                layers[level.rank[v]].append(v)
                stack += [target for target, _ in reversed(downs.get(v, []))]
    place = [0] * len(level.along)

    def settle() -> None:
        for layer in layers.values():
            for n, v in enumerate(layer):
                place[v] = n

    def crossings() -> int:
        by_rank: dict[int, list[tuple[float, float]]] = {}
        for u, out, v, into in segments:
            pair = place[u] + out / (level.across[u] or 1), place[v] + into / (level.across[v] or 1)
            by_rank.setdefault(level.rank[u], []).append(pair)
        total = 0
        for pairs in by_rank.values():
            pairs.sort()
            passed: list[float] = []
            for _, low in pairs:
                total += len(passed) - bisect_left(passed, low + 1e-9)
                insort(passed, low)
        return total

    settle()
    best, fewest = {rank: list(layer) for rank, layer in layers.items()}, crossings()
    for sweep in range(SWEEPS):
        if not fewest:
            break
        near, order = (ups, ranks) if sweep % 2 == 0 else (downs, ranks[::-1])
        for rank in order:
            layer = layers[rank]
            wish = {
                v: sum(place[u] + port for u, port in near[v]) / len(near[v]) if v in near else float(place[v]) for v in layer
            }
            # From every other pair of sweeps ties change places, to get out of a rut.
            layer.sort(key=lambda v: (wish[v], -place[v] if sweep % 4 > 1 else place[v]))
            for n, v in enumerate(layer):
                place[v] = n
        now = crossings()
        if now < fewest:
            best, fewest = {rank: list(layer) for rank, layer in layers.items()}, now
    return [best[rank] for rank in ranks]


def _across(level: _Level, layers: Sequence[Sequence[int]], tops: list[float], spaces: Spaces) -> None:
    """Positions across: near those of the neighbours, with the distances kept."""
    near: dict[int, list[tuple[int, float, float, bool]]] = {}
    inside = {v for layer in layers for v in layer}
    for u, out, v, into in level.segments:
        if u in inside:
            weight = (1.0, 3.0, 8.0)[level.bend[u] + level.bend[v]]
            near.setdefault(v, []).append((u, out - into, weight, True))
            near.setdefault(u, []).append((v, into - out, weight, False))
    for layer in layers:
        at = 0.0
        for n, v in enumerate(layer):
            tops[v] = at
            at += level.across[v] + (_apart(level, v, layer[n + 1], spaces) if n + 1 < len(layer) else 0)
    for turn in range(ROUNDS):
        both = turn >= ROUNDS - 4
        upward = turn % 2 == 0
        for layer in layers if upward else reversed(layers):
            wishes, weights = [], []
            for v in layer:
                found = [one for one in near.get(v, ()) if both or one[3] == upward] or near.get(v, ())
                weight = sum(one[2] for one in found)
                wishes.append(sum((tops[u] + shift) * w for u, shift, w, _ in found) / weight if weight else tops[v])
                weights.append(weight or 0.1)
            gaps = [level.across[v] + _apart(level, v, w, spaces) for v, w in zip(layer, layer[1:], strict=False)]
            for v, top in zip(layer, _isotonic(wishes, weights, gaps), strict=True):
                tops[v] = top


def _apart(level: _Level, u: int, v: int, spaces: Spaces) -> float:
    return spaces.bends if level.bend[u] or level.bend[v] or not (level.across[u] and level.across[v]) else spaces.boxes


def _isotonic(wishes: Sequence[float], weights: Sequence[float], gaps: Sequence[float]) -> list[float]:
    """The positions nearest to the wishes (by weighted squares) with at least these gaps: pool adjacent violators.

    >>> _isotonic([0, 0], [1, 1], [10])
    [-5.0, 5.0]
    """
    shift = [0.0]
    for gap in gaps:
        shift.append(shift[-1] + gap)
    blocks: list[list[float]] = []  # mean, weight, members
    for wish, weight, moved in zip(wishes, weights, shift, strict=True):
        blocks.append([wish - moved, weight, 1])
        while len(blocks) > 1 and blocks[-2][0] > blocks[-1][0]:
            mean, heavy, count = blocks.pop()
            last = blocks[-1]
            last[0] = (last[0] * last[1] + mean * heavy) / (last[1] + heavy)
            last[1] += heavy
            last[2] += count
    means = [mean for mean, _, count in blocks for _ in range(int(count))]
    return [mean + moved for mean, moved in zip(means, shift, strict=True)]


def _columns(
    level: _Level, tops: Sequence[float], spaces: Spaces, entries: bool, exits: bool
) -> tuple[list[float], list[float]]:
    """Where each rank starts and ends."""
    count = max(level.rank, default=-1) + 1
    longest, widest, climb = [0.0] * count, [0.0] * count, [0.0] * count
    for v, rank in enumerate(level.rank):
        longest[rank] = max(longest[rank], level.along[v])
        if level.stretch[v]:
            widest[rank] = max(widest[rank], level.along[v])
    for v, rank in enumerate(level.rank):
        if level.stretch[v]:
            level.along[v] = widest[rank]
    for u, out, v, into in level.segments:
        climb[level.rank[u]] = max(climb[level.rank[u]], abs(tops[u] + out - tops[v] - into))
    starts, ends = [], []
    at = 0.0
    for rank in range(count):
        starts.append(at)
        ends.append(at + longest[rank])
        border = (entries and rank == 0) or (exits and rank == count - 2)
        at = ends[-1] + (spaces.before if border else spaces.rank) + min(60.0, 0.12 * climb[rank])
    return starts, ends


def _draw_lines(
    level: _Level,
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
