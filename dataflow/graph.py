"""Nodes and graphs: what a flow's body leaves behind. Pure data, immutable once built.

A Node is one call of a task: lazy, and named by a path that is the same each time the flow is built. Walk, Whole and
Flat say how an argument of a map is taken.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NoReturn, Protocol, TypeVar

from dataflow.definition import Definition, Policy
from dataflow.errors import CycleError, GraphClosed, LazyValueError, TargetError
from dataflow.structure import find, replace

T = TypeVar("T")


# An operator costs less than storing what it makes.
OPERATOR = Policy(persist=False)


class Adder(Protocol):
    """What a Node asks of the builder that made it: another node, from an operator on this one."""

    def add(
        self,
        definition: Definition,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        *,
        wait_for: Sequence[Node] = (),
        mapped: bool = False,
        width: int | None = None,
    ) -> Node: ...


class Whole:
    """An argument of a map that each child gets whole; `unmapped` makes it."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.value,)

    def __repr__(self) -> str:
        return f"{type(self).__name__.lower()}({self.value!r})"


class Flat(Whole):
    """An argument of a map that is a list of lists, walked as one list; `flatten` makes it."""

    __slots__ = ()


class Walk(Whole):
    """An argument of a map of which each child gets one item."""

    __slots__ = ()


def unmapped(value: object) -> Whole:
    """Pass `value` whole to every child of a map.

    >>> unmapped([1, 2])
    whole([1, 2])
    """
    return Whole(value)


def flatten(value: object) -> Flat:
    """Walk a list of lists as one list: one child for each inner item.

    >>> flatten([[1], [2, 3]])
    flat([[1], [2, 3]])
    """
    return Flat(value)


class Node:
    """One call of a task in a graph: a lazy value.

    `node["k"]`, `node[0]`, arithmetic and comparisons make small further nodes. Its truth, its length, its text and its
    items are not known while the graph is built: these raise a TypeError that says what to do.

    Parameters
    ----------
    path : str
        Its name in the graph, such as `clean` or `report/clean-2`.
    definition : Definition
        The task.
    args, kwargs
        What it was called with; Nodes among them, also nested in containers, are its upstreams.
    wait_for : sequence of Node
        Upstreams that carry no data. The sequence is read when the graph is complete, so it may still grow until then.
    mapped : bool
        One call for each item walked.
    width : int or None
        How many, where that is known already.
    """

    __slots__ = ("_adder", "args", "definition", "kwargs", "mapped", "path", "upstream", "wait_for", "width")

    def __init__(
        self,
        *,
        path: str,
        definition: Definition,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        wait_for: Sequence[Node],
        mapped: bool,
        width: int | None,
        adder: Adder | None,
    ) -> None:
        self.path = path
        self.definition = definition
        self.args = args
        self.kwargs = kwargs
        self.wait_for = wait_for
        self.mapped = mapped
        self.width = width
        self._adder = adder
        self.upstream: tuple[Node, ...] = ()

    @property
    def name(self) -> str:
        """The task's name."""
        return self.definition.name

    @property
    def policy(self) -> Policy:
        """How its runs behave."""
        return self.definition.policy

    @property
    def group(self) -> str:
        """The subflow that it was called in, as a path; empty at the top."""
        return self.path.rpartition("/")[0]

    def close(self) -> None:
        """The graph is complete: know the upstreams, take no further operators."""
        self._adder = None
        self.wait_for = tuple(self.wait_for)
        found: dict[Node, None] = {}
        for value in (*self.args, *self.kwargs.values()):
            inner = value.value if isinstance(value, Whole) else value
            if type(inner) is Node:
                found[inner] = None
            else:
                found.update(dict.fromkeys(find(inner, Node)))
        found.update(dict.fromkeys(self.wait_for))
        self.upstream = tuple(found)

    def __reduce__(self) -> NoReturn:
        # A graph travels whole (see Graph.__reduce__); a node alone in a closure is a mistake.
        raise LazyValueError(
            self.path, "pickling it", "Pass it to the task as an argument, not through a closure or a global."
        )

    def __repr__(self) -> str:
        if not self.mapped:
            return f"Node({self.path})"
        return f"Node({self.path} × {'?' if self.width is None else self.width})"

    def _operate(self, name: str, fn: Callable[..., object], *others: object) -> Node:
        if self._adder is None:
            raise GraphClosed(self.path)
        definition = Definition(name=name, fn=fn, policy=OPERATOR, internal=True)
        return self._adder.add(definition, (self, *others), {})

    def __getitem__(self, key: object) -> Node:
        return self._operate("getitem", operator.getitem, key)

    def __bool__(self) -> NoReturn:
        raise LazyValueError(
            self.path,
            "a decision (if, while, and, or, not) on it",
            "Pass it to a @flow: its body runs with the value once it exists, and may use if.",
        )

    def __iter__(self) -> Iterator[Node]:
        if self.mapped or self.definition.outputs < 2:
            raise LazyValueError(
                self.path,
                "iterating or unpacking it",
                "Use task.map(node), node[0], or @task(outputs=2) to unpack a, b = task().",
            )
        return iter([self[n] for n in range(self.definition.outputs)])

    def __len__(self) -> int:
        if self.mapped or self.definition.outputs < 2:
            raise LazyValueError(self.path, "its length", "Compute it in a task: length = task(len)(node).")
        return self.definition.outputs

    def __contains__(self, item: object) -> NoReturn:
        raise LazyValueError(self.path, "the in operator", "Decide it in a task or in a @flow that gets the node.")

    def __format__(self, spec: str) -> NoReturn:
        raise LazyValueError(self.path, "formatting it", "Make the text in a task that gets the node.")

    def __str__(self) -> NoReturn:
        raise LazyValueError(self.path, "its text", "Make the text in a task that gets the node; repr(node) names it.")

    def __int__(self) -> NoReturn:
        raise LazyValueError(self.path, "converting it to a number", "Convert it in a task that gets the node.")

    __float__ = __index__ = __int__

    def __hash__(self) -> int:
        return id(self)

    # Comparisons make nodes, as in dask.delayed; identity is `is`.
    def __eq__(self, other: object) -> Node:  # type: ignore[override]
        return self._operate("eq", operator.eq, other)

    def __ne__(self, other: object) -> Node:  # type: ignore[override]
        return self._operate("ne", operator.ne, other)


def _reflected(fn: Callable[[object, object], object]) -> Callable[[object, object], object]:
    def swapped(a: object, b: object) -> object:
        return fn(b, a)

    swapped.__name__ = fn.__name__
    return swapped


def _install_operators() -> None:
    def binary(name: str, fn: Callable[[object, object], object]) -> Callable[[Node, object], Node]:
        return lambda self, other: self._operate(name, fn, other)

    def unary(name: str, fn: Callable[[object], object]) -> Callable[[Node], Node]:
        return lambda self: self._operate(name, fn)

    for name in ("lt", "le", "gt", "ge"):
        setattr(Node, f"__{name}__", binary(name, getattr(operator, name)))
    for name in (
        "add",
        "sub",
        "mul",
        "truediv",
        "floordiv",
        "mod",
        "pow",
        "matmul",
        "and_",
        "or_",
        "xor",
        "lshift",
        "rshift",
    ):
        bare = name.rstrip("_")
        fn = getattr(operator, name)
        setattr(Node, f"__{bare}__", binary(bare, fn))
        setattr(Node, f"__r{bare}__", binary(bare, _reflected(fn)))
    for name in ("neg", "pos", "invert", "abs"):
        setattr(Node, f"__{name}__", unary(name, getattr(operator, name)))


_install_operators()


class _Place:
    """Where a Node stands in its graph, in its place while that is pickled: a chain of Nodes would nest too deep."""

    __slots__ = ("position",)

    def __init__(self, position: int) -> None:
        self.position = position

    def __reduce__(self) -> tuple[object, ...]:
        return _Place, (self.position,)


Record = tuple[str, Definition, tuple[object, ...], dict[str, object], list[int], bool, int | None]


def _swap(value: object, kind: type[T], new: Callable[[T], object]) -> object:
    if isinstance(value, Whole):
        inner = replace(value.value, kind, new)
        return value if inner is value.value else type(value)(inner)
    return replace(value, kind, new)


def _revive(flow: str, records: Sequence[Record], outputs: object, parameters: Mapping[str, object]) -> Graph:
    nodes: list[Node] = []
    for path, definition, args, kwargs, _, mapped, width in records:
        nodes.append(
            Node(
                path=path,
                definition=definition,
                args=args,
                kwargs=kwargs,
                wait_for=(),
                mapped=mapped,
                width=width,
                adder=None,
            )
        )

    def node(place: _Place) -> Node:
        return nodes[place.position]

    for made, record in zip(nodes, records, strict=True):
        made.args = tuple(_swap(value, _Place, node) for value in made.args)
        made.kwargs = {key: _swap(value, _Place, node) for key, value in made.kwargs.items()}
        made.wait_for = [nodes[position] for position in record[4]]
        made.close()
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

        records: list[Record] = [
            (
                node.path,
                node.definition,
                tuple(_swap(value, Node, place) for value in node.args),
                {key: _swap(value, Node, place) for key, value in node.kwargs.items()},
                [position[up] for up in node.wait_for],
                node.mapped,
                node.width,
            )
            for node in self.nodes
        ]
        return _revive, (self.flow, records, replace(self.outputs, Node, place), dict(self.parameters))

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


def check_targets(nodes: Sequence[Node], parameters: Mapping[str, object], prefix: str = "") -> None:
    """Raise `TargetError` where two results would share a path, as far as the templates tell before anything runs."""
    seen: dict[str, str] = {}
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
