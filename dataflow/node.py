"""Nodes: calls of tasks in a graph, lazy values. Walk, Whole and Flat say how an argument of a map is taken."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn, Protocol

from dataflow.definition import Definition, Policy
from dataflow.errors import GraphClosed, LazyValueError
from dataflow.structure import find

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


class Home(Protocol):
    """What a Node asks of the graph that it belongs to, for Dask."""

    def dask_key(self, node: Node) -> str: ...
    def dask_graph(self, node: Node) -> Mapping[str, object]: ...


class Whole:
    """An argument of a map that each child gets whole; `unmapped` makes it."""

    __slots__ = ("name", "value")

    def __init__(self, value: object, name: str = "") -> None:
        self.value, self.name = value, name

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.value, self.name)

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

    # NumPy and pandas leave operators with a Node to the Node, instead of walking it.
    __array_ufunc__ = None
    __pandas_priority__ = 5000
    __slots__ = ("_adder", "args", "definition", "home", "kwargs", "mapped", "path", "upstream", "wait_for", "width")

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
        self.home: Home | None = None  # the flow's graph, once it is complete

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
        # A graph travels whole (see `graph.Graph`); a node alone in a closure is a mistake.
        raise LazyValueError(
            self.path, "pickling it", "Pass it to the task as an argument, not through a closure or a global."
        )

    def __repr__(self) -> str:
        if not self.mapped:
            return f"Node({self.path})"
        return f"Node({self.path} × {'?' if self.width is None else self.width})"

    # A Dask collection, once its graph is complete: computing it is a run of its own. ---------------------------------

    def __dask_graph__(self) -> Mapping[str, object] | None:
        return None if self.home is None else self.home.dask_graph(self)

    def __dask_keys__(self) -> list[str]:
        return [self.__dask_tokenize__()]

    def __dask_tokenize__(self) -> str:
        if self.home is None:
            raise LazyValueError(self.path, "computing it", "Pass it to a task; its flow's graph is not complete yet.")
        return self.home.dask_key(self)

    def __dask_postcompute__(self) -> tuple[Callable[[Sequence[object]], object], tuple[()]]:
        return operator.itemgetter(0), ()

    def __dask_postpersist__(self) -> tuple[Callable[..., object], tuple[str]]:
        return _persisted, (self.__dask_tokenize__(),)

    @staticmethod
    def __dask_optimize__(dsk: Mapping[str, object], keys: object, **options: object) -> Mapping[str, object]:
        from importlib import import_module

        made: Mapping[str, object] = import_module("dataflow.collection").computing(dsk, keys)
        return made

    @property
    def __dask_scheduler__(self) -> Callable[..., object]:
        from dask import threaded

        get: Callable[..., object] = threaded.get
        return get

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

    if TYPE_CHECKING:  # installed below

        def __lt__(self, other: object) -> Node: ...
        def __le__(self, other: object) -> Node: ...
        def __gt__(self, other: object) -> Node: ...
        def __ge__(self, other: object) -> Node: ...
        def __add__(self, other: object) -> Node: ...
        def __radd__(self, other: object) -> Node: ...
        def __sub__(self, other: object) -> Node: ...
        def __rsub__(self, other: object) -> Node: ...
        def __mul__(self, other: object) -> Node: ...
        def __rmul__(self, other: object) -> Node: ...
        def __truediv__(self, other: object) -> Node: ...
        def __rtruediv__(self, other: object) -> Node: ...
        def __floordiv__(self, other: object) -> Node: ...
        def __rfloordiv__(self, other: object) -> Node: ...
        def __mod__(self, other: object) -> Node: ...
        def __rmod__(self, other: object) -> Node: ...
        def __pow__(self, other: object) -> Node: ...
        def __rpow__(self, other: object) -> Node: ...
        def __matmul__(self, other: object) -> Node: ...
        def __rmatmul__(self, other: object) -> Node: ...
        def __and__(self, other: object) -> Node: ...
        def __rand__(self, other: object) -> Node: ...
        def __or__(self, other: object) -> Node: ...
        def __ror__(self, other: object) -> Node: ...
        def __xor__(self, other: object) -> Node: ...
        def __rxor__(self, other: object) -> Node: ...
        def __lshift__(self, other: object) -> Node: ...
        def __rlshift__(self, other: object) -> Node: ...
        def __rshift__(self, other: object) -> Node: ...
        def __rrshift__(self, other: object) -> Node: ...
        def __neg__(self) -> Node: ...
        def __pos__(self) -> Node: ...
        def __invert__(self) -> Node: ...
        def __abs__(self) -> Node: ...

    # Comparisons make nodes, as in dask.delayed; identity is `is`.
    def __eq__(self, other: object) -> Node:  # type: ignore[override]
        return self._operate("eq", operator.eq, other)

    def __ne__(self, other: object) -> Node:  # type: ignore[override]
        return self._operate("ne", operator.ne, other)


def _persisted(graph: object, key: str, rename: Mapping[str, str] | None = None) -> object:
    """What `persist` gives: a value that is on its way, or there."""
    from dask.delayed import Delayed

    make: Callable[[str, object], object] = Delayed
    return make((rename or {}).get(key, key), graph)


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
