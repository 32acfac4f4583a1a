"""Where boxes and edges stand: nothing overlaps, and every edge goes forward, round the boxes, to its end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations, pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.draw.layout import Layout, Rect, layout

NEAR = 0.01


@st.composite
def pictures(draw_from: st.DrawFn) -> tuple[dict[str, tuple[float, float]], dict[str, str], list[tuple[str, str]]]:
    """Boxes of any size, edges without a circle, and groups in groups that know nothing of the edges."""
    count = draw_from(st.integers(1, 24))
    names = [f"n{n}" for n in range(count)]
    sizes = {name: (draw_from(st.integers(20, 200)), draw_from(st.integers(20, 60))) for name in names}
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1))
    edges = [(names[a], names[b]) for a, b in draw_from(st.lists(pairs, max_size=40)) if a < b]
    groups = ["", "g", "h", "g/i", "g/i/j"]
    parents = {"g": "", "h": "", "g/i": "g", "g/i/j": "g/i"}
    parents |= {name: draw_from(st.sampled_from(groups)) for name in names}
    return {name: (float(a), float(c)) for name, (a, c) in sizes.items()}, parents, edges


def apart(one: Rect, two: Rect) -> bool:
    return (
        one.a + one.along <= two.a + NEAR
        or two.a + two.along <= one.a + NEAR
        or one.c + one.across <= two.c + NEAR
        or two.c + two.across <= one.c + NEAR
    )


def within(inner: Rect, outer: Rect) -> bool:
    return (
        inner.a >= outer.a - NEAR
        and inner.c >= outer.c - NEAR
        and inner.a + inner.along <= outer.a + outer.along + NEAR
        and inner.c + inner.across <= outer.c + outer.across + NEAR
    )


def above(key: str, parents: Mapping[str, str]) -> Iterator[str]:
    while key := parents.get(key, ""):
        yield key


def along(line: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Points on a line as it is drawn: straight where it keeps its height, else the curve."""
    for (a, c), (to_a, to_c) in pairwise(line):
        for n in range(1, 16):
            t = n / 16
            if abs(to_c - c) < 0.5:
                yield a + (to_a - a) * t, c
            else:
                # A cubic with both handles half-way along.
                half = (a + to_a) / 2
                weights = (1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t**2, t**3
                yield (
                    sum(w * x for w, x in zip(weights, (a, half, half, to_a), strict=True)),
                    sum(w * x for w, x in zip(weights, (c, c, to_c, to_c), strict=True)),
                )


@given(pictures())
@settings(max_examples=150, deadline=None)
def test_nothing_overlaps(
    picture: tuple[dict[str, tuple[float, float]], dict[str, str], list[tuple[str, str]]],
) -> None:
    sizes, parents, edges = picture
    made = layout(sizes, parents, edges)
    assert set(made.boxes) == set(sizes)
    for one, two in combinations(made.boxes, 2):
        assert apart(made.boxes[one], made.boxes[two]), f"{one} lies on {two}"
    for key, rect in made.boxes.items():
        assert within(rect, Rect(0, 0, made.along, made.across))
        assert (rect.along, rect.across) >= sizes[key]
        for group, frame in made.groups.items():
            inside = group in above(key, parents)
            assert within(rect, frame) if inside else apart(rect, frame), f"{key} and the frame of {group}"
    for one, two in combinations(made.groups, 2):
        first, second = made.groups[one], made.groups[two]
        assert apart(first, second) or within(first, second) or within(second, first)


@given(pictures())
@settings(max_examples=150, deadline=None)
def test_edges_go_forward_round_the_boxes_and_arrive(
    picture: tuple[dict[str, tuple[float, float]], dict[str, str], list[tuple[str, str]]],
) -> None:
    sizes, parents, edges = picture
    made = layout(sizes, parents, edges)
    for start, end in edges:
        assert made.boxes[start].a + made.boxes[start].along < made.boxes[end].a
    for line in made.lines:
        assert all(a <= to_a + NEAR for (a, _), (to_a, _) in pairwise(line))
        for a, c in along(line):
            for key, rect in made.boxes.items():
                inside = rect.a + 1 < a < rect.a + rect.along - 1 and rect.c + 1 < c < rect.c + rect.across - 1
                assert not inside, f"a line runs through {key}"
    reached = joined(made)
    for start, end in edges:
        source, target = made.boxes[start], made.boxes[end]
        leaves = rounded((source.a + source.along, source.c + source.across / 2))
        assert rounded((target.a, target.c + target.across / 2)) in reached(leaves), f"no line from {start} to {end}"
    assert len(made.tips) == len({end for _, end in edges})


def rounded(point: tuple[float, float]) -> tuple[int, int]:
    return round(point[0] * 10), round(point[1] * 10)


class joined:
    """Where one gets along the lines."""

    def __init__(self, made: Layout) -> None:
        self.next: dict[tuple[int, int], set[tuple[int, int]]] = {}
        for line in made.lines:
            for one, two in pairwise(line):
                self.next.setdefault(rounded(one), set()).add(rounded(two))

    def __call__(self, start: tuple[int, int]) -> set[tuple[int, int]]:
        seen, stack = {start}, [start]
        while stack:
            for a, c in self.next.get(stack.pop(), ()):
                # Points of two levels are equal but for the last digit.
                for near in ((a + x, c + y) for x in (-1, 0, 1) for y in (-1, 0, 1)):
                    if near not in seen:
                        seen.add(near)
                        stack.append(near)
        return seen


def test_a_planar_graph_is_drawn_without_a_crossing() -> None:
    edges = [("a", "c"), ("a", "d"), ("b", "e"), ("b", "f"), ("d", "g"), ("e", "g"), ("c", "h"), ("f", "i")]
    sizes = dict.fromkeys("fahbgcied", (40.0, 20.0))
    made = layout(sizes, {}, edges)
    height = {key: rect.c for key, rect in made.boxes.items()}
    place = {key: rect.a for key, rect in made.boxes.items()}
    for (u, v), (x, y) in combinations(edges, 2):
        if place[u] == place[x] and place[v] == place[y] and u != x and v != y:
            assert (height[u] < height[x]) == (height[v] < height[y])


def test_a_group_that_an_edge_leaves_and_enters_again_is_dissolved() -> None:
    sizes = dict.fromkeys("abc", (40.0, 20.0))
    made = layout(sizes, {"a": "g", "c": "g", "g": ""}, [("a", "b"), ("b", "c")])
    assert made.groups == {}
    assert made.boxes["a"].a < made.boxes["b"].a < made.boxes["c"].a
