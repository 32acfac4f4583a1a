"""The lazy graph builder: while a flow's body runs, calls of tasks become Nodes here and nothing else happens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

from dataflow import settings
from dataflow.definition import Definition
from dataflow.errors import GraphClosed
from dataflow.graph import Graph, check_acyclic, check_targets
from dataflow.node import Node
from dataflow.structure import find

current: ContextVar[Builder | None] = ContextVar("dataflow_builder", default=None)


def current_builder() -> Builder | None:
    """The builder of the flow whose body runs here, or None."""
    return current.get()


class Builder:
    """Collects the Nodes of one graph and gives each its path.

    Parameters
    ----------
    flow : str
        The flow's name.
    prefix : str
        The path that all nodes lie under; that of the deferred subflow that is being expanded.
    """

    def __init__(self, flow: str, prefix: str = "") -> None:
        self.flow = flow
        self.prefix = prefix
        self.nodes: list[Node] = []
        self._used: dict[str, int] = {}
        self._taken: set[str] = set()
        self._annotations: dict[tuple[int, str], tuple[Definition, Definition]] = {}

    def _path(self, name: str) -> str:
        # Counting calls by name keeps a path the same between builds, whatever else the body does.
        base = f"{self.prefix}/{name}" if self.prefix else name
        number = self._used.get(base, 0) + 1
        path = base if number == 1 else f"{base}-{number}"
        while path in self._taken:  # a task may be called `clean-2` itself
            number += 1
            path = f"{base}-{number}"
        self._used[base] = number
        self._taken.add(path)
        return path

    def add(
        self,
        definition: Definition,
        args: tuple[object, ...],
        kwargs: Mapping[str, object],
        *,
        wait_for: Sequence[Node] = (),
        mapped: bool = False,
        width: int | None = None,
    ) -> Node:
        """A Node for one call."""
        node = Node(
            path=self._path(definition.name),
            definition=self._annotated(definition),
            args=args,
            kwargs=kwargs,
            wait_for=wait_for,
            mapped=mapped,
            width=width,
            adder=self,
        )
        self.nodes.append(node)
        return node

    def _annotated(self, definition: Definition) -> Definition:
        """The definition with what `dask.annotate` says around this call; the task's own options go first."""
        said = settings.dask_annotations()
        if not said or definition.internal:
            return definition
        key = id(definition), repr(sorted(said.items()))
        if key not in self._annotations:
            policy = definition.policy
            workers = said.get("workers") or ()
            changes: dict[str, Any] = {
                "resources": {**said.get("resources", {}), **policy.resources},
                "priority": policy.priority or said.get("priority", 0),
                "workers": policy.workers or ((workers,) if isinstance(workers, str) else tuple(workers)),
                "retries": policy.retries or said.get("retries", 0),
            }
            # The definition is kept with it, so that its id stays its own.
            self._annotations[key] = definition, replace(definition, policy=replace(policy, **changes))
        return self._annotations[key][1]

    @contextmanager
    def group(self, name: str) -> Iterator[None]:
        """Within it, paths lie under one more name: that of an inlined subflow."""
        before = self.prefix
        self.prefix = self._path(name)
        try:
            yield
        finally:
            self.prefix = before

    def finish(self, outputs: object, parameters: Mapping[str, object]) -> Graph:
        """The complete graph.

        Raises
        ------
        GraphClosed
            A Node of another graph was used.
        CycleError
            `wait_for` made a circle.
        TargetError
            Two results would share a path.
        """
        for node in self.nodes:
            node.close()
        own = set(self.nodes)
        for node in self.nodes:
            for upstream in node.upstream:
                if upstream not in own:
                    raise GraphClosed(upstream.path)
        for node in find(outputs, Node):
            if node not in own:
                raise GraphClosed(node.path)
            if node.definition.internal:  # what a flow returns is stored, an operator's value too
                node.definition = replace(node.definition, policy=replace(node.policy, persist=True))
        check_acyclic(self.nodes)
        check_targets(self.nodes, parameters)
        return Graph(flow=self.flow, nodes=tuple(self.nodes), outputs=outputs, parameters=parameters)


@contextmanager
def building(builder: Builder) -> Iterator[Builder]:
    """Make `builder` the one that calls of tasks go to."""
    token = current.set(builder)
    try:
        yield builder
    finally:
        current.reset(token)
