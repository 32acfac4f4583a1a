"""Random programs as plain data, the strategies that draw them, and the real flow that each one means.

A Scope is the body of a flow: steps, each a call of a Work (a task) or of a Branch (a flow that picks one of its scopes
by its first argument). An argument is a number, a tuple (a list of arguments), a Ref (what an earlier step of the scope
made) or a Param (what the flow was called with).
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from dataflow import Fail, Missing, Retry, Skip, context, flatten, flow, task, triggers, unmapped

SOON = 0.002  # seconds: a delay that is one


@dataclass(frozen=True)
class Ref:
    """What step number `step` of this scope made."""

    step: int


@dataclass(frozen=True)
class Param:
    """Parameter number `place` of this flow: a value when the body runs."""

    place: int


Arg = int | Ref | Param | tuple[Any, ...]


@dataclass(frozen=True)
class Column:
    """An argument of a map: `how` is "walk", "flat" or "whole"."""

    how: str
    value: Arg


@dataclass(frozen=True)
class Work:
    """A task.

    Parameters
    ----------
    script : tuple of str
        What attempts 1, 2, … do; the last one repeats: ok, raise, skip, fail, retry, later.
    only : (int, int) or None
        The script is for arguments with this residue by this modulus; for others the body succeeds.
    returns : str
        "int", "list" or "lists".
    """

    name: str
    script: tuple[str, ...] = ("ok",)
    only: tuple[int, int] | None = None
    returns: str = "int"
    retries: int = 0
    delay: float = 0.0
    trigger: str = "all_successful"
    skips: bool = True
    persist: bool = True
    batch: Any = "auto"

    def act(self, attempt: int, values: Sequence[object]) -> str:
        """What an attempt does."""
        if self.only is not None and digest(values) % self.only[0] != self.only[1]:
            return "ok"
        return self.script[min(attempt, len(self.script)) - 1]

    def value(self, values: Sequence[object]) -> object:
        """What a body that succeeds returns."""
        number = digest([self.name, *values]) % 100
        if self.returns == "int":
            return number
        numbers = [number + n for n in range(number % 4)]
        return numbers if self.returns == "list" else [numbers[n:] for n in range(len(numbers))]


@dataclass(frozen=True)
class Branch:
    """A flow: which of its scopes it runs depends on its first argument."""

    name: str
    scopes: tuple[Scope, ...]
    skips = True
    trigger = "all_successful"
    persist = True

    def scope(self, values: Sequence[object]) -> Scope:
        """The scope for these arguments."""
        return self.scopes[digest(plain(values[:1])) % len(self.scopes)]


@dataclass(frozen=True)
class Step:
    """A call; of a map, where the arguments are Columns."""

    does: Work | Branch
    args: tuple[Any, ...]
    wait_for: tuple[Ref, ...] = ()
    strict: bool = True

    @property
    def mapped(self) -> bool:
        return any(isinstance(arg, Column) for arg in self.args)


@dataclass(frozen=True)
class Scope:
    """The body of a flow."""

    steps: tuple[Step, ...]
    returns: Arg


TRIGGERS: Mapping[str, Any] = {
    "all_successful": triggers.all_successful,
    "all_finished": triggers.all_finished,
    "any_successful": triggers.any_successful,
    "any_failed": triggers.any_failed,
    "none_failed": triggers.none_failed,
    "all_failed": triggers.all_failed,
    "not_all_skipped": triggers.not_all_skipped,
    "one_failed": triggers.some_failed(1, 1),
    "half": triggers.some_successful(0.5),
}


# What programs compute -----------------------------------------------------------------------------------------------


def plain(value: object) -> Any:
    """A value as plain data: a Missing as a text."""
    if isinstance(value, Missing):
        return f"Missing {value.state.type}"
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def digest(value: object) -> int:
    """A number of plain data, the same in every process."""
    return zlib.crc32(repr(value).encode())


def listed(value: object) -> object:
    """What a map over a parameter walks."""
    return value if isinstance(value, list) else list(range(digest(value) % 4))


def fill(arg: object, made: Sequence[object], params: Sequence[object]) -> Any:
    """An argument with what its references stand for."""
    if isinstance(arg, Ref):
        return made[arg.step]
    if isinstance(arg, Param):
        return params[arg.place]
    return [fill(item, made, params) for item in arg] if isinstance(arg, tuple) else arg


# From a program to the real flow --------------------------------------------------------------------------------------


@dataclass
class Writer:
    """Writes the flow that a program means.

    Parameters
    ----------
    ledger : Path
        Each body that runs appends its label and attempt.
    ring : callable, optional
        Called by each body, in this process.
    hook : callable, optional
        The `on_state` hook of the tasks of the outermost scope.
    """

    ledger: Path
    ring: Callable[[], object] | None = None
    hook: Callable[[object, object], object] | None = None
    tasks: dict[Work, Any] = field(default_factory=dict)
    flows: dict[tuple[Branch, bool], Any] = field(default_factory=dict)

    def flow(self, program: Scope, **options: Any) -> Any:
        """The flow; nothing has run."""
        inner = Writer(self.ledger, self.ring)

        def written() -> object:
            return self.scope(program, (), inner)

        return flow(name="written", **options)(written)

    def scope(self, scope: Scope, params: Sequence[object], inner: Writer) -> object:
        made: list[Any] = []
        for step in scope.steps:
            args = [self.argument(arg, made, params) for arg in step.args]
            waits = {"wait_for": [made[ref.step] for ref in step.wait_for]} if step.wait_for else {}
            deferred = step.mapped or any(refers(arg) for arg in step.args)
            called = self.task(step.does) if isinstance(step.does, Work) else inner.branch(step.does, deferred)
            made.append(called.map(*args, strict=step.strict, **waits) if step.mapped else called(*args, **waits))
        return fill(scope.returns, made, params)

    def argument(self, arg: object, made: Sequence[object], params: Sequence[object]) -> object:
        if not isinstance(arg, Column):
            return fill(arg, made, params)
        value = fill(arg.value, made, params)
        if arg.how == "walk":
            return listed(value) if isinstance(arg.value, Param) else value
        return flatten(value) if arg.how == "flat" else unmapped(value)

    def task(self, work: Work) -> Any:
        if work not in self.tasks:
            self.tasks[work] = task(
                name=work.name,
                retries=work.retries,
                retry_delay=work.delay,
                trigger=TRIGGERS[work.trigger],
                skip_on_upstream_skip=work.skips,
                persist=work.persist,
                batch=work.batch,
                on_state=self.hook,
            )(body_of(work, self.ledger, self.ring))
        return self.tasks[work]

    def branch(self, branch: Branch, deferred: bool) -> Any:
        if (branch, deferred) not in self.flows:

            def branched(x: Any, y: Any = 0) -> object:
                if deferred:
                    mark(self.ledger)
                return self.scope(branch.scope((x, y)), (x, y), self)

            self.flows[branch, deferred] = flow(name=branch.name)(branched)
        return self.flows[branch, deferred]

    def __reduce__(self) -> tuple[object, ...]:
        return Writer, (self.ledger,)  # what travels to another process rings no bell there


def refers(arg: object) -> bool:
    """Whether there is a Ref in an argument."""
    return isinstance(arg, Ref) or (isinstance(arg, tuple) and any(map(refers, arg)))


def mark(ledger: Path) -> None:
    """Write down that the body of the current task run runs."""
    here = context()
    label = here.path if here.index is None else f"{here.path}[{here.index}]"
    descriptor = os.open(ledger, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    try:
        os.write(descriptor, f"{label}\n".encode())
    finally:
        os.close(descriptor)


class Bell:
    """Rings in this process only."""

    def __init__(self, ring: Callable[[], object] | None) -> None:
        self.ring = ring

    def __reduce__(self) -> tuple[object, ...]:
        return Bell, (None,)


def body_of(work: Work, ledger: Path, ring: Callable[[], object] | None) -> Callable[..., object]:
    """The body of a task."""
    bell = Bell(ring)

    def body(*values: object) -> object:
        mark(ledger)
        if bell.ring is not None:
            bell.ring()
        told = plain(values)
        match work.act(context().attempt, told):
            case "raise":
                raise ValueError("as the script says")
            case "skip":
                raise Skip("as the script says")
            case "fail":
                raise Fail("as the script says")
            case "retry":
                raise Retry("as the script says")
            case "later":
                raise Retry("as the script says", delay=SOON)
        return work.value(told)

    return body


# Strategies -----------------------------------------------------------------------------------------------------------


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
        items = tuple(self.leaf() if not self.draw(st.integers(0, 4)) else n for n in range(self.draw(st.integers(0, 4))))
        if self.draw(st.integers(0, 5)):
            return Column("walk", items), Kind("any", True, len(items))
        nested = tuple((n,) * self.draw(st.integers(0, 2)) for n in range(len(items)))
        return Column("flat", nested), Kind("any", True, sum(map(len, nested)))


@st.composite
def programs(draw: Any, most: int = 6, depth: int = 2) -> Scope:
    """Programs of at most so many steps, with flows in flows so deep."""
    scope: Scope = Drawing(draw, depth, 0).scope(most)[0]
    return scope
