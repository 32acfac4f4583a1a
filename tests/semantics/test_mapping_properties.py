"""Random programs of maps, joins, reductions and subflows give what the same program gives in plain Python."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow import Node, flatten, flow, task, unmapped

BAD = "bad"
UNLUCKY = 13


@task
def same(x: Any) -> Any:
    return x


@task(batch=3)
def bump(x: int) -> int:
    if x % UNLUCKY == UNLUCKY - 1:
        raise ValueError(f"unlucky {x}")
    return x + 1


@task
def add(a: int, b: int) -> int:
    return a + b


@task(batch=False)
def add_all(a: int, everything: list[int]) -> int:
    return (a + sum(everything)) % 101


@task
def total(xs: list[int]) -> int:
    return sum(xs) % 101


@task
def pair(a: list[int], b: list[int]) -> list[list[int]]:
    return [a, b]


@flow
def route(n: int) -> object:
    return bump(n) if n % 2 else n


@flow
def spread(n: int) -> object:
    return total(bump.map(range(n % 4)))


@dataclass
class Made:
    """A node, and what it is worth: a number, a list, or BAD; for a map a list whose items may be BAD."""

    node: Node
    worth: Any

    @property
    def whole(self) -> Any:
        """What a task gets that takes all of it."""
        return BAD if self.worth == BAD or (isinstance(self.worth, list) and BAD in self.worth) else self.worth


def bumped(x: Any) -> Any:
    return BAD if x == BAD or x % UNLUCKY == UNLUCKY - 1 else x + 1


def routed(x: Any) -> Any:
    return BAD if x == BAD else bumped(x) if x % 2 else x


def spread_out(x: Any) -> Any:
    if x == BAD:
        return BAD
    return sum(y + 1 for y in range(x % 4)) % 101


def added(a: Any, b: Any) -> Any:
    return BAD if BAD in (a, b) else a + b


def items(made: Made) -> Any:
    """What a map over it walks: of a map its children one by one, else the value, if there is one."""
    return made.worth if made.node.mapped else made.whole


KINDS = ["number", "list", "map", "bump", "join", "broadcast", "whole", "reduce", "first", "route", "routes", "spreads"]
KINDS += ["flat", "mixed", "again"]
STEP = st.tuples(
    st.sampled_from(KINDS), st.integers(0, 50), st.integers(0, 50), st.lists(st.integers(0, 30), max_size=5)
)
Step = tuple[str, int, int, list[int]]


class Program:
    """Builds nodes, and works out what each must be worth."""

    def __init__(self) -> None:
        self.made: list[Made] = []

    def pick(self, number: int, kind: type) -> Made:
        """An earlier number or list; a new one where there is none."""
        fits = [one for one in self.made if isinstance(one.worth, kind) or (one.worth == BAD and kind is int)]
        if fits:
            return fits[number % len(fits)]
        fresh: Any = number if kind is int else [number, number + 1]
        return self.keep(same(fresh), fresh)

    def keep(self, node: Node, worth: Any) -> Made:
        self.made.append(Made(node, worth))
        return self.made[-1]

    def step(self, kind: str, a: int, b: int, numbers: list[int]) -> None:
        if kind in ("number", "list"):
            self.keep(same(a if kind == "number" else numbers), a if kind == "number" else numbers)
        elif kind == "map":
            self.keep(bump.map(numbers), [bumped(x) for x in numbers])
        elif kind == "mixed":
            one = self.pick(a, int)
            self.keep(bump.map([*numbers, one.node]), [bumped(x) for x in [*numbers, one.whole]])
        elif kind == "route":
            one = self.pick(a, int)
            self.keep(route(one.node), routed(one.whole))  # type: ignore[arg-type]
        else:
            self.walk(kind, self.pick(a, list), self.pick(b, list), b)

    def walk(self, kind: str, one: Made, two: Made, number: int) -> None:
        xs, ys = items(one), items(two)
        if kind == "reduce":
            self.keep(total(one.node), BAD if one.whole == BAD else sum(one.whole) % 101)
        elif kind == "first":
            self.keep(one.node[0], BAD if one.whole in (BAD, []) else one.whole[0])
        elif kind == "flat":
            both = BAD if BAD in (one.whole, two.whole) else one.whole + two.whole
            self.keep_map(bump.map(flatten(pair(one.node, two.node))), both, bumped)
        elif kind == "bump":
            self.keep_map(bump.map(one.node), xs, bumped)
        elif kind == "routes":
            self.keep_map(route.map(one.node), xs, routed)
        elif kind == "spreads":
            self.keep_map(spread.map(one.node), xs, spread_out)
        elif kind == "join":
            both = BAD if BAD in (xs, ys) else list(zip(xs, ys, strict=False))
            self.keep_map(add.map(one.node, two.node, strict=False), both, lambda x: added(*x))
        elif kind == "again":
            self.keep_map(add.map(one.node, one.node), xs, lambda x: added(x, x))
        elif kind == "broadcast":
            by = self.pick(number, int)
            self.keep_map(add.map(one.node, unmapped(by.node)), xs, lambda x: added(x, by.whole))
        else:
            rest = two.whole
            self.keep_map(
                add_all.map(one.node, unmapped(two.node)),
                xs,
                lambda x: BAD if BAD in (x, rest) else (x + sum(rest)) % 101,
            )

    def keep_map(self, node: Node, walked: Any, child: Any) -> None:
        self.keep(node, BAD if walked == BAD else [child(x) for x in walked])


def value(task_run: Any) -> Any:
    """The result of one task run, or BAD."""
    assert task_run.state.type in ("Success", "Failed", "TriggerFailed"), task_run
    return task_run.result() if task_run.state.type == "Success" else BAD


@pytest.mark.parametrize("where", ["sync", "threads:3"])
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(STEP, min_size=1, max_size=14))
def test_a_random_program_gives_what_plain_python_gives(where: str, steps: list[Step]) -> None:
    program = Program()

    @flow
    def written() -> object:
        program.made.clear()
        for step in steps:
            program.step(*step)
        return [one.node for one in program.made]

    run: Any = written.run(executor=where, raise_on_failure=False)
    for one in program.made:
        found = run[one.node.path]
        got = value(found) if hasattr(found, "state") else [value(child) for child in found]
        assert got == one.worth, (one.node, run.report)
    healthy = all(one.whole != BAD for one in program.made)
    assert run.state.type == ("Success" if healthy else "Failed")
    if healthy:
        assert run.result() == [one.worth for one in program.made]
