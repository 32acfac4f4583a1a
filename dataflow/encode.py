"""Items of the plan as Dask tasks: each a call of `run_task` with the Dask keys that it depends on.

A definition and a group of maps are shipped once and named by token; a call carries its path, constants and places.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import cast

from dask._task_spec import Task as DaskTask
from dask._task_spec import TaskRef

from dataflow import calls
from dataflow.calls import Among, BatchCall, BundleCall, Call, Children, Inner, Pick, Pointer, Slot
from dataflow.definition import Definition
from dataflow.node import Flat, Node, Walk, Whole
from dataflow.outcome import Outcome
from dataflow.runner import run_task
from dataflow.structure import LEAVES, replace
from dataflow.task import STRICT
from dataflow.triggers import all_successful
from dataflow.works import FLYING, Group, Item, Known, Part, Single, is_each, nodes_in

_UNFIT = re.compile(r"[^A-Za-z_]+")


class Sources:
    """The Dask keys that one task depends on, each with its place."""

    def __init__(self) -> None:
        self.places: dict[str, int] = {}

    def place(self, key: str) -> int:
        """The place of a key among the task's sources."""
        return self.places.setdefault(key, len(self.places))

    @property
    def refs(self) -> list[TaskRef]:
        """The references in order of place."""
        return [TaskRef(key) for key in self.places]


class Encoder:
    """Makes Dask tasks of items.

    Parameters
    ----------
    run : str
        The run's token.
    items, parts : mapping
        The plan's items, and the parts of groups, by Node.
    live : set of str
        Keys that the executor keeps.

    State: `shipments`, what was made up since it was last taken; `_tokens`, the tokens of definitions; a counter of
    keys.
    """

    def __init__(self, run: str, items: Mapping[Node, Item], parts: Mapping[Node, Part], live: set[str]) -> None:
        self.run, self._items, self._parts, self._live = run, items, parts, live
        self.shipments: dict[str, object] = {}
        self._tokens: dict[int, tuple[str, Definition]] = {}
        self._count = 0

    def new_key(self, name: str) -> str:
        """A Dask key that was never used; dashboards show its first part."""
        self._count += 1
        return f"{_UNFIT.sub('_', name) or 'task'}-{self.run}-{self._count}"

    def _token(self, definition: Definition) -> str:
        # By identity: two definitions that look the same may close over different things.
        found = self._tokens.get(id(definition))
        if found is None:
            token = f"{self.run}.{len(self._tokens)}"
            found = self._tokens[id(definition)] = token, definition
            self.shipments[token] = definition.shipped()
        return found[0]

    # Single nodes -----------------------------------------------------------------------------------------------------

    def single(self, item: Single) -> DaskTask:
        """The task of a node that is not mapped."""
        assert item.key is not None
        sources = Sources()
        call = self._call(item, sources, {})
        return DaskTask(item.key, run_task, call, *sources.refs)

    def bundle(self, key: str, items: Sequence[Single]) -> DaskTask:
        """The task of several, each after what it waits for."""
        sources = Sources()
        inner = {item.node: Inner(number) for number, item in enumerate(items)}
        calls = tuple(self._call(item, sources, inner) for item in items)
        return DaskTask(key, run_task, BundleCall(run=self.run, key=key, calls=calls), *sources.refs)

    def _call(self, item: Single, sources: Sources, inner: Mapping[Node, Inner]) -> Call:
        node = item.node
        args, kwargs, picks = node.args, node.kwargs, list[Pick]()
        if node.upstream:
            picks = [inner[up] if up in inner else self._pick(up, sources) for up in node.upstream]
            slots = {up: Slot(place) for place, up in enumerate(node.upstream)}
            args = tuple(_slotted(value, slots) for value in args)
            kwargs = {name: _slotted(value, slots) for name, value in kwargs.items()}
        return Call(
            self.run,
            self._token(node.definition),
            node.path,
            args,
            kwargs or None,
            None if not inner and picks == list(range(len(sources.places))) else tuple(picks),
            item.attempt,
            item.resumed,
            # An attempt that ended without failing (a pause, a lost worker) costs no retry.
            base=max(item.base, item.attempt - item.failed),
            answers=item.answers,
            again=item.strikes > 0,
        )

    def measure(self, group: Group) -> DaskTask:
        """The task that learns the width of a group, and holds what it walks."""
        node, part = group.node, group.parts[0]
        assert group.measure_key is not None
        sources = Sources()
        measured = part.measured
        upstream = list(dict.fromkeys(cast(Node, value.value) for value in measured))
        picks = tuple(self._pick(up, sources) for up in upstream)
        slots = {up: Slot(place) for place, up in enumerate(upstream)}
        lists = [value for _, value in part.columns if not isinstance(value.value, Node)]
        kwargs: dict[str, object] = {
            "key": group.measure_key,
            "names": [value.name for value in measured],
            "strict": STRICT not in node.kwargs,
            "widths": {
                **{value.name: len(cast("Sequence[object]", value.value)) for value in lists},
                **{other.node.path: len(other.known) for other in group.each},
            },
        }
        args = tuple(type(value)(slots[cast(Node, value.value)]) for value in measured)
        call = Call(self.run, self._token(node.definition), node.path, args, kwargs, picks, kind="measure")
        return DaskTask(group.measure_key, run_task, call, *sources.refs)

    # Maps -------------------------------------------------------------------------------------------------------------

    def _ship_group(self, group: Group) -> str:
        """Ship the part of a group that all its batches share."""
        if group.token is None:
            group.token = f"{self.run}.g{group.order}"
            stages = tuple(self._stage(group, part) for part in group.parts)
            self.shipments[group.token] = calls.Group(stages)
        return group.token

    def _stage(self, group: Group, part: Part) -> calls.Stage:
        mine = {other.node: other.number for other in group.parts}
        places = {wanted: place for place, wanted in enumerate(wanted_by(group))}
        upstream: list[int | tuple[int]] = []
        slots: dict[tuple[Node, bool], Slot] = {}

        def slot(up: Node, each: bool) -> Slot:
            if (up, each) not in slots:
                slots[up, each] = Slot(len(upstream))
                upstream.append(mine[up] if up in mine else (places[up, each],))
            return slots[up, each]

        columns = {name: calls.Item(place) for place, (name, _) in enumerate(part.columns)}

        def marked(name: str | int, value: object) -> object:
            if name in columns:
                return columns[name]
            if is_each(value):
                return slot(cast(Node, cast(Walk, value).value), True)
            return replace(cast(Whole, value).value, Node, lambda up: slot(up, False))

        args = tuple(marked(place, value) for place, value in enumerate(part.node.args))
        kwargs = {name: marked(name, value) for name, value in part.node.kwargs.items() if name != STRICT}
        walked = [cast(Node, value.value) for value in part.measured if (value.value, False) in places]
        for up in (*part.node.wait_for, *walked):
            slot(up, False)
        return calls.Stage(part.node.path, self._token(part.node.definition), args, kwargs, tuple(upstream))

    def batch(self, group: Group, key: str, indices: Sequence[int]) -> DaskTask:
        """The task of some children of a group."""
        sources = Sources()
        picks = [self._pick(up, sources, indices if each else None) for up, each in wanted_by(group)]
        columns: dict[int, list[calls.Column]] = {}

        def point(node: Node) -> Pointer:
            picks.append(self._pick(node, sources))
            return Pointer(len(picks) - 1)

        for part in group.parts:
            made = columns[part.number] = []
            for _, value in part.columns:
                if isinstance(value.value, Node):
                    if group.measure_key is None:
                        raise AssertionError(f"{group}: it walks a node and was not measured")
                    picks.append(sources.place(group.measure_key))
                    made.append(calls.Held(len(picks) - 1, part.measured.index(value)))
                else:
                    items = cast("Sequence[object]", value.value)
                    mine = [items[index] for index in indices]
                    made.append([replace(item, Node, point) for item in mine] if group.item_waits else mine)
        done = {
            (part.number, index): self._known(known, sources)
            for part in group.parts
            for index in indices
            if (known := part.known[index]) is not None
        }
        attempts = {
            (part.number, index): part.attempts[index]
            for part in group.parts
            for index in indices
            if index in part.attempts
        }
        call = BatchCall(
            run=self.run,
            group=self._ship_group(group),
            key=key,
            indices=_compact(indices),
            columns=columns,
            picks=tuple(picks),
            attempts=attempts or None,
            done=done or None,
            pointed=bool(group.item_waits),
            resumed={pair: given for pair, given in group.resumed.items() if pair[1] in indices} or None,
            again=not group.strikes.keys().isdisjoint(indices),
        )
        return DaskTask(key, run_task, call, *sources.refs)

    # Upstreams --------------------------------------------------------------------------------------------------------

    def _known(self, known: Known, sources: Sources) -> Pick:
        if known.reference is None and known.key is not None and known.key in self._live:
            return _placed(sources, known.key, known.number)
        return known.outcome

    def _pick(self, up: Node, sources: Sources, indices: Sequence[int] | None = None) -> Pick:
        """Where the outcome of an upstream is: a source where Dask has it, else what is known of it."""
        item = self._items[up]
        if isinstance(item, Single):
            if item.known is None:
                assert item.status == FLYING, f"{item} is not on its way"
                assert item.key is not None
                return _placed(sources, item.key, item.number)
            if item.known.key is not None and item.known.key in self._live:
                return _placed(sources, item.known.key, item.known.number)
            return item.known.outcome
        assert isinstance(item, Group)
        return self._children(item, self._parts[up], sources, indices)

    def _children(self, group: Group, part: Part, sources: Sources, indices: Sequence[int] | None) -> Pick:
        if part.whole is not None:
            return part.whole.outcome
        wanted = range(group.width or 0) if indices is None else indices
        keys: dict[str, None] = {}
        known: dict[int, Pick] = {}
        for index in wanted:
            one = part.known[index] if index < len(part.known) else None
            if one is None:
                keys[cast(str, group.key_of[index])] = None
            elif one.key is not None and one.key in self._live:
                if one.single:
                    known[index] = _placed(sources, one.key, one.number)
                else:
                    keys[one.key] = None
            else:
                known[index] = one.outcome
        batches = tuple(sources.place(key) for key in sorted(keys, key=_number))
        singles = cast("Mapping[int, Outcome | int | Among]", known)
        return Children(part.node.path, group.width or 0, batches, singles, indices is not None)


def wanted_by(group: Group) -> list[tuple[Node, bool]]:
    """The upstreams of a group's batches, in the order of their picks: each index by index, or whole."""
    mine = {part.node for part in group.parts}
    wanted: dict[tuple[Node, bool], None] = {}
    for part in group.parts:
        for value in (*part.node.args, *part.node.kwargs.values()):
            if is_each(value):
                wanted[cast(Node, cast(Walk, value).value), True] = None
            elif isinstance(value, Walk | Flat):
                # What is walked has a value; only another trigger than the usual one must see it once more.
                if isinstance(value.value, Node) and part.node.policy.trigger is not all_successful:
                    wanted[value.value, False] = None
            else:
                wanted.update(dict.fromkeys((up, False) for up in nodes_in(value)))
        wanted.update(dict.fromkeys((up, False) for up in part.node.wait_for))
    return [(up, each) for up, each in wanted if up not in mine]


def _placed(sources: Sources, key: str, number: int | None) -> int | Among:
    """Where the outcome under a key is: it alone, or as one of a bundle's."""
    place = sources.place(key)
    return place if number is None else Among(place, number)


def _number(key: str) -> int:
    return int(key.rpartition("-")[2])


def _slotted(value: object, slots: Mapping[Node, Slot]) -> object:
    if type(value) in LEAVES:
        return value
    if isinstance(value, Node):
        return slots[value]
    return replace(value, Node, lambda node: slots[node])


def _compact(indices: Sequence[int]) -> Sequence[int]:
    """A range where the indices are one: it pickles to a few bytes."""
    if len(indices) > 1 and indices[-1] - indices[0] == len(indices) - 1:
        return range(indices[0], indices[-1] + 1)
    return tuple(indices)
