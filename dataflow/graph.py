"""Graphs: what a flow's body leaves behind. Pure data, immutable once built."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from dataflow.definition import Definition
from dataflow.errors import CycleError, TargetError
from dataflow.node import Node, Whole
from dataflow.structure import LEAVES, find, is_list_of, replace

T = TypeVar("T")


class _Place:
    """Where a Node stands in its graph, in its place while that is pickled: a chain of Nodes would nest too deep."""

    __slots__ = ("position",)

    def __init__(self, position: int) -> None:
        self.position = position

    def __reduce__(self) -> tuple[object, ...]:
        return _Place, (self.position,)


class _Places:
    """Where the Nodes of a list stand, in its place."""

    __slots__ = ("positions",)

    def __init__(self, positions: list[int]) -> None:
        self.positions = positions

    def __reduce__(self) -> tuple[object, ...]:
        return _Places, (self.positions,)


# Of nodes by position: paths, definitions and arguments; of some, arguments by name, what they wait for, and widths.
Columns = tuple[
    list[str],
    list[Definition],
    list[tuple[object, ...]],
    dict[int, dict[str, object]],
    dict[int, list[int]],
    dict[int, int | None],
]


def _swap(value: object, kind: type[T], new: Callable[[T], object]) -> object:
    if type(value) in LEAVES:
        return value
    if isinstance(value, Whole):
        inner = replace(value.value, kind, new)
        return value if inner is value.value else type(value)(inner, value.name)
    return replace(value, kind, new)


def _swapped(node: Node, new: Callable[[Node], object]) -> tuple[object, ...]:
    if LEAVES.issuperset(map(type, node.args)):
        return node.args
    return tuple(_swap(value, Node, new) for value in node.args)


def _revive(flow: str, columns: Columns, outputs: object, parameters: Mapping[str, object]) -> Graph:
    paths, definitions, args, kwargs, wait_for, maps = columns
    nodes = [
        Node(
            path=path,
            definition=definition,
            args=args[number],
            kwargs=kwargs.get(number, {}),
            wait_for=(),
            mapped=number in maps,
            width=maps.get(number),
            adder=None,
        )
        for number, (path, definition) in enumerate(zip(paths, definitions, strict=True))
    ]

    def node(place: _Place) -> Node:
        return nodes[place.position]

    for number, made in enumerate(nodes):
        if not LEAVES.issuperset(map(type, made.args)):
            made.args = tuple(_swap(value, _Place, node) for value in made.args)
        made.kwargs = {key: _swap(value, _Place, node) for key, value in made.kwargs.items()}
        made.wait_for = [nodes[position] for position in wait_for.get(number, ())]
        made.close()
    if isinstance(outputs, _Places):
        outputs = [nodes[position] for position in outputs.positions]
    return Graph(flow=flow, nodes=tuple(nodes), outputs=replace(outputs, _Place, node), parameters=parameters)


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """Named nodes, their edges, and what the flow returned. Lazy: nothing in it has run.

    Parameters
    ----------
    flow : str
        The flow that built it.
    nodes : tuple of Node
        In build order: an upstream stands before what follows it.
    outputs : object
        What the flow's body returned; the Nodes in it are the run's results, in this shape.
    parameters : mapping
        The validated parameters.
    """

    flow: str
    nodes: tuple[Node, ...]
    outputs: object
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def returned(self) -> tuple[Node, ...]:
        """The Nodes in `outputs`, each once."""
        return tuple(dict.fromkeys(find(self.outputs, Node)))

    @property
    def edges(self) -> Iterator[tuple[Node, Node]]:
        """Pairs of (upstream, node)."""
        return ((upstream, node) for node in self.nodes for upstream in node.upstream)

    def __len__(self) -> int:
        return len(self.nodes)

    def __reduce__(self) -> tuple[object, ...]:
        position = {node: n for n, node in enumerate(self.nodes)}

        def place(node: Node) -> _Place:
            return _Place(position[node])

        # Column by column: an object for each node would take longer than to run most.
        columns: Columns = (
            [node.path for node in self.nodes],
            [node.definition for node in self.nodes],
            [_swapped(node, place) for node in self.nodes],
            {
                n: {key: _swap(value, Node, place) for key, value in node.kwargs.items()}
                for n, node in enumerate(self.nodes)
                if node.kwargs
            },
            {n: [position[up] for up in node.wait_for] for n, node in enumerate(self.nodes) if node.wait_for},
            {n: node.width for n, node in enumerate(self.nodes) if node.mapped},
        )
        if is_list_of(self.outputs, Node):
            outputs: object = _Places([position[node] for node in self.outputs])
        else:
            outputs = replace(self.outputs, Node, place)
        return _revive, (self.flow, columns, outputs, dict(self.parameters))

    def __repr__(self) -> str:
        mapped = sum(node.mapped for node in self.nodes)
        return f"Graph({self.flow}: {len(self.nodes)} nodes{f', {mapped} mapped' if mapped else ''}; not run)"


def check_acyclic(nodes: Sequence[Node]) -> None:
    """Raise `CycleError` where nodes wait for each other in a circle (only `wait_for` can make one)."""
    place = {node: n for n, node in enumerate(nodes)}
    # Built in order, an edge that goes forward in build order cannot be part of a circle without one that goes back.
    if all(place.get(up, -1) < n for node, n in place.items() for up in node.upstream):
        return
    done: set[Node] = set()
    for start in nodes:
        stack, trail = [(start, iter(start.upstream))], {start: None}
        while stack and start not in done:
            node, rest = stack[-1]
            following = next((up for up in rest if up not in done), None)
            if following is None:
                done.add(node)
                trail.pop(node)
                stack.pop()
            elif following in trail:
                names = [n.path for n in trail]
                raise CycleError([*names[names.index(following.path) :], following.path])
            else:
                trail[following] = None
                stack.append((following, iter(following.upstream)))


def check_targets(
    nodes: Sequence[Node], parameters: Mapping[str, object], taken: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Which node writes which target, as far as the templates tell before anything runs.

    Parameters
    ----------
    nodes : sequence of Node
        Nodes of one run.
    parameters : mapping
        The flow's.
    taken : mapping
        Targets of the run's other nodes, as this function gave them.

    Raises
    ------
    TargetError
        Two results would share a path, or a template asks for what there is not.
    """
    seen: dict[str, str] = dict(taken or {})
    for node in nodes:
        target = node.policy.target
        if target is None:
            continue
        missing = target.parameters - set(parameters)
        if missing:
            raise TargetError(node.name, target.text, f"the flow has no parameter {', '.join(sorted(missing))}.")
        if node.mapped and "index" not in target.fields:
            raise TargetError(
                node.name, target.text, "it is mapped, so its children would share one path: use {index}."
            )
        if not node.mapped and "index" in target.fields:
            raise TargetError(node.name, target.text, "{index} is only known in a map.")
        names = {"flow": "", "run": "", "run_id": "", "task": node.name, "path": node.path, "index": 0}
        try:
            rendered = target.render({**names, "flow": "f", "run": "r", "run_id": "i"}, parameters)
        except ValueError as error:
            raise TargetError(node.name, target.text, str(error)) from error
        if rendered in seen:
            raise TargetError(
                node.name,
                target.text,
                f"{node.path} and {seen[rendered]} would share the path: use {{path}} to tell them apart.",
            )
        seen[rendered] = node.path
    return seen
