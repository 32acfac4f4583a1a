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

from dataflow import Fail, Missing, Retry, Skip, cache, context, flatten, flow, task, triggers, unmapped

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
    ledger : Path or None
        Each body that runs appends its label.
    ring : callable, optional
        Called by each body, in this process.
    hook : callable, optional
        The `on_state` hook of the tasks of the outermost scope.
    cached : str
        What sets the results of this program's tasks apart in the cache; empty: none is cached.
    """

    ledger: Path | None
    ring: Callable[[], object] | None = None
    hook: Callable[[object, object], object] | None = None
    cached: str = ""
    tasks: dict[Work, Any] = field(default_factory=dict)
    flows: dict[tuple[Branch, bool], Any] = field(default_factory=dict)

    def flow(self, program: Scope, **options: Any) -> Any:
        """The flow; nothing has run."""
        inner = Writer(self.ledger, self.ring, cached=self.cached)

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
                # The same work is the same code, wherever the program calls it.
                cache=cache(version=repr(work), scope=self.cached) if self.cached and work.persist else False,
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
        return Writer, (self.ledger, None, None, self.cached)  # what travels to another process rings no bell there


def refers(arg: object) -> bool:
    """Whether there is a Ref in an argument."""
    return isinstance(arg, Ref) or (isinstance(arg, tuple) and any(map(refers, arg)))


def mark(ledger: Path | None) -> None:
    """Write down that the body of the current task run runs."""
    if ledger is None:
        return
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


def body_of(work: Work, ledger: Path | None, ring: Callable[[], object] | None) -> Callable[..., object]:
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
