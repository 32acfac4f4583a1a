"""Strategies that draw random programs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from tests.semantics.programs import SOON, TRIGGERS, Arg, Branch, Column, Param, Ref, Scope, Step, Work


@dataclass(frozen=True)
class Kind:
    """What is known of what a step makes before it runs: an "int", a "list", "lists" or "any"; of a map, its children's
    kind and its width. `fixed`: a map whose width is known when the flow is built, but not here."""

    value: str
    mapped: bool = False
    width: int | None = None
    fixed: bool = False


SCRIPTS = st.one_of(
    st.just(("ok",)),
    st.builds(
        lambda first, last: (*first, last),
        st.lists(st.sampled_from(["raise", "later", "retry"]), max_size=2),
        st.sampled_from(["ok", "skip", "raise", "fail"]),
    ),
)
USUAL = [*["all_successful"] * 3, *["all_finished"] * 4]


@st.composite
def works(draw: Any) -> Work:
    script = draw(SCRIPTS)
    usual = draw(st.integers(0, 2))
    return Work(
        name=draw(st.sampled_from("abc")),
        script=script,
        only=draw(st.sampled_from([None, (2, 0), (3, 1), (3, 0)])) if script != ("ok",) else None,
        returns=draw(st.sampled_from(["int", "list", "lists"])),
        retries=draw(st.integers(0, 2)) if len(script) > 1 else 0,
        delay=draw(st.sampled_from([0.0, SOON])) if len(script) > 1 else 0.0,
        trigger=draw(st.sampled_from([*USUAL, *TRIGGERS])) if usual == 2 else "all_successful",
        skips=usual < 2 or draw(st.booleans()),
        persist=usual == 2 or draw(st.sampled_from([True, True, False])),
        batch=draw(st.sampled_from(["auto", "auto", False, 1, 2])),
    )


class Drawing:
    """Draws one scope, step by step."""

    def __init__(self, draw: Any, depth: int, params: int) -> None:
        self.draw, self.depth, self.params = draw, depth, params
        self.steps: list[Step] = []
        self.kinds: list[Kind] = []

    def scope(self, most: int, inline: bool = False) -> tuple[Scope, Kind]:
        for _ in range(self.draw(st.integers(1 if inline or not self.params else 0, most))):
            self.step()
        if inline:
            last = self.draw(st.integers(0, len(self.steps) - 1))
            return Scope(tuple(self.steps), Ref(last)), self.kinds[last]
        returns = self.arg() if self.params else tuple(self.some_refs(3))
        return Scope(tuple(self.steps), returns), Kind("any")

    def some_refs(self, most: int) -> list[Ref]:
        if not self.steps:
            return []
        return [Ref(n) for n in self.draw(st.lists(st.integers(0, len(self.steps) - 1), max_size=most, unique=True))]

    def leaf(self) -> Arg:
        """A number, a parameter or, rather, what an earlier step made."""
        refs = [Ref(n) for n in reversed(range(len(self.steps)))]
        params = [Param(n) for n in range(self.params)]
        return self.draw(st.sampled_from([*refs, *refs, *params, *params, 1, 2]))  # type: ignore[no-any-return]

    def arg(self) -> Arg:
        if self.draw(st.integers(0, 3)):
            return self.leaf()
        return tuple(self.leaf() for _ in range(self.draw(st.integers(0, 3))))

    def step(self) -> None:
        kinds = ["call", "call", "map", "map", "map"]
        if self.depth:
            kinds += ["inline", "submap", *(["sub", "sub"] if self.steps else [])]
        what = self.draw(st.sampled_from(kinds))
        wait_for = tuple(self.some_refs(2)) if not self.draw(st.integers(0, 3)) else ()
        does: Work | Branch
        if what in ("call", "map"):
            does, made = self.draw(works()), "int"
            made = does.returns
        if what == "call":
            args = tuple(self.arg() for _ in range(self.draw(st.integers(0, 2))))
            self.add(Step(does, args, wait_for), Kind(made))
        elif what == "map":
            args, kind, strict = self.columns(most=3)
            self.add(Step(does, args, wait_for, strict), Kind(made, True, kind.width, kind.fixed))
        elif what == "inline":
            scope, kind = Drawing(self.draw, self.depth - 1, 2).scope(3, inline=True)
            number = self.draw(st.sampled_from([1, 2, *(Param(n) for n in range(self.params))]))
            self.add(Step(Branch("g", (scope,)), (number,)), kind)
        elif what == "sub":
            ref = Ref(self.draw(st.integers(0, len(self.steps) - 1)))
            args = (ref, *((self.arg(),) if self.draw(st.booleans()) else ()))
            self.add(Step(self.flow(), args), Kind("any"))
        else:
            args, kind, strict = self.columns(most=2)
            self.add(Step(self.flow(), args, wait_for, strict), Kind("any", True, kind.width, kind.fixed))

    def add(self, step: Step, kind: Kind) -> None:
        self.steps.append(step)
        self.kinds.append(kind)

    def flow(self) -> Branch:
        scopes = [Drawing(self.draw, self.depth - 1, 2).scope(3)[0] for _ in range(self.draw(st.integers(1, 2)))]
        return Branch(self.draw(st.sampled_from("st")), tuple(scopes))

    def columns(self, most: int) -> tuple[tuple[Column, ...], Kind, bool]:
        """The arguments of a map; lengths that are known when the flow is built fit, or `strict` is off."""
        made: list[tuple[Column, Kind]] = [self.walked()]
        alone = made[0][1].fixed
        for _ in range(self.draw(st.integers(0, most - 1))):
            if alone or self.draw(st.booleans()):
                made.append((Column("whole", self.arg()), Kind("whole")))
            else:
                column, kind = self.walked()
                if not kind.fixed:
                    made.append((column, kind))
        order = self.draw(st.permutations(made)) if len(made) > 1 else made
        walked = [kind for _, kind in made if kind.value != "whole"]
        known = [kind.width for kind in walked if kind.width is not None]
        strict = len(set(known)) < 2 and bool(self.draw(st.integers(0, 4)))
        width = min(known) if len(known) == len(walked) else None
        return tuple(column for column, _ in order), Kind("any", True, width, alone), strict

    def walked(self) -> tuple[Column, Kind]:
        """A column that is walked, and what is known of its width."""
        ways: list[tuple[Column, Kind]] = []
        for n, kind in enumerate(self.kinds):
            if kind.mapped:
                ways += [(Column("walk", Ref(n)), Kind("any", True, kind.width, kind.fixed))] * 2
            elif kind.value != "int" or not n % 4:
                ways.append((Column("walk", Ref(n)), Kind("any")))
            if kind.value == "lists" or (kind.mapped and kind.value == "list"):
                ways.append((Column("flat", Ref(n)), Kind("any")))
        ways += [(Column("walk", Param(n)), Kind("any", True, None, True)) for n in range(self.params)]
        if ways and self.draw(st.integers(0, 3)):
            return self.draw(st.sampled_from(ways))  # type: ignore[no-any-return]
        items = tuple(
            self.leaf() if not self.draw(st.integers(0, 4)) else n for n in range(self.draw(st.integers(0, 4)))
        )
        if self.draw(st.integers(0, 5)):
            return Column("walk", items), Kind("any", True, len(items))
        nested = tuple((n,) * self.draw(st.integers(0, 2)) for n in range(len(items)))
        return Column("flat", nested), Kind("any", True, sum(map(len, nested)))


@st.composite
def programs(draw: Any, most: int = 6, depth: int = 2) -> Scope:
    """Programs of at most so many steps, with flows in flows so deep."""
    scope: Scope = Drawing(draw, depth, 0).scope(most)[0]
    return scope
