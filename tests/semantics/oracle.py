"""What a program must give: a plain interpreter, one step after the other, without graphs, executors or records."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from dataflow.states import FAILED, FAILURE, PENDING, SKIPPED, SUCCESS, SUCCESSFUL, TRIGGER_FAILED
from tests.semantics.programs import Branch, Column, Param, Scope, Step, Work, fill, listed

ALLOWS: Mapping[str, Callable[[int, int, int, int], bool]] = {  # of upstreams: all, successful, failed, skipped
    "all_successful": lambda n, good, bad, skipped: good == n,
    "all_finished": lambda n, good, bad, skipped: True,
    "any_successful": lambda n, good, bad, skipped: good > 0,
    "any_failed": lambda n, good, bad, skipped: bad > 0,
    "none_failed": lambda n, good, bad, skipped: bad == 0,
    "all_failed": lambda n, good, bad, skipped: bad == n,
    "not_all_skipped": lambda n, good, bad, skipped: good == n and skipped < n,
    "one_failed": lambda n, good, bad, skipped: bad == 1,
    "half": lambda n, good, bad, skipped: good >= n / 2,
}


@dataclass(frozen=True, eq=False)
class End:
    """How a task run ends: its state's type, its value, and how often its body ran."""

    state: str
    value: Any = None
    attempts: int = 0


@dataclass(eq=False)
class Made:
    """A node: how it ends, or each child of a map does; a map that could not be opened ends as one."""

    ends: End | list[End]
    mapped: bool = False
    followed: bool = False


class Oracle:
    """How every task run of a program ends, by its label (`ends`), how the run does (`state`), what it returns.

    Parameters
    ----------
    before : mapping
        How task runs ended when this run was driven before: successes are kept, attempts go on from their number.
    resumed : bool
        It goes on, and is not retried: failures are kept, too, and attempts that were made count.
    """

    def __init__(self, program: Scope, before: Mapping[str, End] | None = None, *, resumed: bool = False) -> None:
        self.resumed, self.kept = resumed, SUCCESSFUL | FAILURE if resumed else SUCCESSFUL
        self.before, self.ends, self.nodes = before or {}, dict[str, End](), list[Made]()
        self.paths, self.subflows = Counter[str](), set[str]()
        returned = self.scope(program, "", ())
        self.returned = given(returned, True)
        kept = set(found(returned))
        deciding = [end for made in self.nodes if made in kept or not made.followed for end in each(made.ends)]
        self.state = FAILED if any(end.state in FAILURE for end in deciding) else SUCCESS

    def scope(self, scope: Scope, prefix: str, params: Sequence[object]) -> Any:
        """Every step of a flow's body; gives what it returns."""
        made: list[Any] = []
        for step in scope.steps:
            base = f"{prefix}{step.does.name}"
            self.paths[base] += 1
            path = base if self.paths[base] == 1 else f"{base}-{self.paths[base]}"
            args = [filled(arg, made, params) for arg in step.args]
            waits = fill(step.wait_for, made, params)
            upstream = self.follow([args, waits])
            if step.mapped:
                made.append(self.add(self.map(step, path, args, waits), mapped=True))
            elif isinstance(step.does, Branch) and not upstream:  # plain arguments: inlined
                made.append(self.scope(step.does.scope(args), f"{path}/", [*args, 0]))
            else:
                made.append(self.add(self.one(step.does, path, upstream, args)))
        return fill(scope.returns, made, params)

    def add(self, ends: End | list[End], mapped: bool = False) -> Made:
        self.nodes.append(Made(ends, mapped))
        return self.nodes[-1]

    def follow(self, value: object) -> list[End | list[End]]:
        upstream = list(dict.fromkeys(found(value)))
        for made in upstream:
            made.followed = True
        return [made.ends for made in upstream]

    def one(self, does: Work | Branch, label: str, upstream: Sequence[End | list[End]], args: Sequence[object]) -> End:
        """One task run; a success that was committed before is kept, whatever became of its upstreams."""
        before, end = self.before.get(label, End(PENDING)), stopped(does, upstream)
        if end is None:
            values = [given(arg, does.skips) for arg in args]
            end = self.run(does, before.attempts, values) if isinstance(does, Work) else self.grow(does, label, values)
        if before.state in self.kept:
            end = End(before.state, end.value if before.value is None else before.value)
        self.ends[label] = end
        return end

    def run(self, work: Work, base: int, values: Sequence[object]) -> End:
        for attempt in itertools.count(1):
            act = work.act(base + attempt, values)
            if act in ("ok", "skip"):
                return End(SUCCESS, work.value(values), attempt) if act == "ok" else End(SKIPPED, None, attempt)
            if act == "fail" or attempt + (base if self.resumed else 0) > work.retries:
                return End(FAILED, None, attempt)
        raise AssertionError

    def grow(self, branch: Branch, label: str, values: Sequence[object]) -> End:
        """A deferred subflow ends as what it returns."""
        self.subflows.add(label)
        returned = self.scope(branch.scope(values), f"{label}/", [*values, 0])
        upstream = self.follow(returned)
        if isinstance(returned, Made) and isinstance(returned.ends, End) and not returned.mapped:
            return replace(returned.ends, attempts=1)
        return replace(stopped(branch, upstream) or End(SUCCESS, given(returned, True)), attempts=1)

    def map(self, step: Step, path: str, columns: Sequence[object], waits: object) -> End | list[End]:
        """Each child of a map, or how it ends without any."""
        opened = opening(step, columns)
        if isinstance(opened, End):
            self.ends[path] = opened
            return opened
        # A child waits for its own items, for what is whole, and for the node that the items came from.
        walked = [c for c in columns if isinstance(c, Column) and isinstance(c.value, Made) and not joins(c)]
        calls = enumerate(opened)
        return [self.one(step.does, f"{path}[{n}]", self.follow([args, waits, walked]), args) for n, args in calls]


def stopped(does: Work | Branch, upstream: Sequence[End | list[End]]) -> End | None:
    """How a task run ends that does not start: a skip beats the trigger, which counts each upstream once."""
    if does.skips and any(ends and all(end.state == SKIPPED for end in ends) for ends in map(each, upstream)):
        return End(SKIPPED)
    counted = {id(end): end for ends in upstream for end in each(ends) or [End(SUCCESS)]}  # an empty map is a success
    types = [end.state for end in counted.values()]
    good, bad = (sum(type in which for type in types) for which in (SUCCESSFUL, FAILURE))
    allowed = not types or ALLOWS[does.trigger](len(types), good, bad, types.count(SKIPPED))
    return None if allowed else End(TRIGGER_FAILED)


def opening(step: Step, columns: Sequence[object]) -> End | list[list[object]]:
    """The arguments of each child of a map; or how the map ends, where what it walks has no children or is no list."""
    walked = [column for column in columns if isinstance(column, Column) and column.how != "whole"]
    for column in walked:
        if joins(column) and isinstance(column.value.ends, End):
            return End(SKIPPED if column.value.ends.state == SKIPPED else TRIGGER_FAILED)
    measured = [column.value.ends for column in walked if isinstance(column.value, Made) and not joins(column)]
    if any(end.state != SUCCESS for ends in measured for end in each(ends)) and (end := stopped(step.does, measured)):
        return end
    lists = [items(column, step.does.skips) for column in walked]
    lengths = [len(found) for found in lists if found is not None]
    if len(lengths) < len(lists) or (step.strict and len(set(lengths)) > 1):
        return End(FAILED)
    walks = iter(lists)
    turned = [next(walks) if column in walked else itertools.repeat(column.value) for column in columns]
    return [list(args) for _, *args in zip(range(min(lengths)), *turned, strict=False)]


def items(column: Column, leave_out: bool) -> list[object] | None:
    """What a map walks: of a mapped node its children, each as a node of its own."""
    if joins(column):
        return [Made(end) for end in column.value.ends]
    value = column.value if not isinstance(column.value, Made) else given(column.value, leave_out)
    if column.how == "flat" and isinstance(value, list):
        parts = [part for part in value if not isinstance(part, str)]  # what is missing is left out
        value = [item for part in parts for item in part] if all(isinstance(part, list) for part in parts) else None
    return value if isinstance(value, list) else None


def filled(arg: object, made: Sequence[object], params: Sequence[object]) -> Any:
    """An argument with what its references stand for."""
    if not isinstance(arg, Column):
        return fill(arg, made, params)
    value = fill(arg.value, made, params)
    return Column(arg.how, listed(value) if arg.how == "walk" and isinstance(arg.value, Param) else value)


def given(value: object, leave_out: bool) -> Any:
    """What a body gets for a value with nodes in it; of a mapped one the list, where told without the skipped."""
    if isinstance(value, Made) and isinstance(value.ends, list):
        return [given(Made(end), leave_out) for end in value.ends if not (leave_out and end.state == SKIPPED)]
    if isinstance(value, Made):
        return value.ends.value if value.ends.state == SUCCESS else f"Missing {value.ends.state}"
    return [given(item, leave_out) for item in value] if isinstance(value, list) else value


def found(value: object) -> Iterator[Made]:
    """The nodes in a structure."""
    if isinstance(value, Made):
        yield value
    elif isinstance(value, Column):
        yield from found(value.value)
    elif isinstance(value, list):
        for item in value:
            yield from found(item)


def each(ends: End | list[End]) -> list[End]:
    return ends if isinstance(ends, list) else [ends]


def joins(column: object) -> bool:
    """Whether an argument of a map is another map, walked index by index."""
    return (
        isinstance(column, Column) and column.how == "walk" and isinstance(column.value, Made) and column.value.mapped
    )
