"""One level of a layout: ranks, bends, an order with few crossings, and positions across. Vertices are numbers here.

Ranks by longest path; a bend in each rank that an edge passes; barycentre sweeps that keep the best order; positions by
isotonic regression (pool adjacent violators), which is exact for a rank whose neighbours stand still.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

SWEEPS = 16
ROUNDS = 12


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
    """

    rank: float = 40
    boxes: float = 16
    bends: float = 11
    before: float = 22
    after: float = 22
    above: float = 32
    below: float = 14


@dataclass(kw_only=True, slots=True)
class Net:
    """One source's edges on one level."""

    source: int
    port: float
    targets: dict[int, float]


@dataclass(kw_only=True, slots=True)
class Level:
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


def solve(
    level: Level, nets: Sequence[Net], entries: Sequence[int], exits: Sequence[int], spaces: Spaces
) -> list[float]:
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


def _rank(level: Level, nets: Sequence[Net], entries: Sequence[int], exits: Sequence[int]) -> None:
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


def _bend(level: Level, net: Net) -> None:
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


def _components(level: Level) -> list[list[int]]:
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


def _order(level: Level, part: Sequence[int]) -> list[list[int]]:
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
                v: sum(place[u] + port for u, port in near[v]) / len(near[v]) if v in near else float(place[v])
                for v in layer
            }
            # From every other pair of sweeps ties change places, to get out of a rut.
            layer.sort(key=lambda v: (wish[v], -place[v] if sweep % 4 > 1 else place[v]))
            for n, v in enumerate(layer):
                place[v] = n
        now = crossings()
        if now < fewest:
            best, fewest = {rank: list(layer) for rank, layer in layers.items()}, now
    return [best[rank] for rank in ranks]


def _across(level: Level, layers: Sequence[Sequence[int]], tops: list[float], spaces: Spaces) -> None:
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
                found = [one for one in near.get(v, ()) if both or one[3] == upward] or near.get(v, [])
                weight = sum(one[2] for one in found)
                wishes.append(sum((tops[u] + shift) * w for u, shift, w, _ in found) / weight if weight else tops[v])
                weights.append(weight or 0.1)
            gaps = [level.across[v] + _apart(level, v, w, spaces) for v, w in pairwise(layer)]
            for v, top in zip(layer, _isotonic(wishes, weights, gaps), strict=True):
                tops[v] = top


def _apart(level: Level, u: int, v: int, spaces: Spaces) -> float:
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


def columns(
    level: Level, tops: Sequence[float], spaces: Spaces, entries: bool, exits: bool
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
