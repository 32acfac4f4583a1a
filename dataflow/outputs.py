"""A graph and the shape of its outputs as bytes for the record."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from itertools import repeat
from typing import NamedTuple

from dataflow.graph import Graph
from dataflow.node import Node
from dataflow.structure import is_list_of, replace


class OutputRef(NamedTuple):
    """In a stored output: the value of a node."""

    path: str
    mapped: bool


def stored_graph(graph: Graph) -> bytes | None:
    """The graph pickled, so that the run can be taken up by another process; None where it cannot be."""
    from dataflow.pickles import dumps

    try:
        return dumps(Graph(flow=graph.flow, nodes=graph.nodes, outputs=graph.outputs, parameters=graph.parameters))
    except Exception:
        # A constant that cannot be pickled: the run goes on here, and cannot be taken up in another process; resume
        # says so.
        return None


def stored_arguments(graph: Graph) -> bytes | None:
    """The values of the flow's parameters, so that its code can build the graph again; None where that cannot be."""
    from dataflow.pickles import dumps

    try:
        return dumps(dict(graph.parameters))
    except Exception:  # a lock among them, say: then the graph as it is stored counts, or resume says what is missing
        return None


def by_path(outputs: object) -> object:
    """What a flow returned, with the Nodes in it by path."""

    def reference(node: Node) -> OutputRef:
        return OutputRef(node.path, node.mapped)

    return replace(outputs, Node, reference)


def stored_outputs(graph: Graph) -> dict[str, object] | None:
    """What the flow returned as JSON around a pickle, for it may hold any value; None where one cannot be pickled."""
    from dataflow.pickles import dumps

    if is_list_of(graph.outputs, Node) and not any(node.mapped for node in graph.outputs):
        return {"paths": [node.path for node in graph.outputs]}
    try:
        return {"pickle": base64.b64encode(dumps(by_path(graph.outputs))).decode()}
    except Exception:
        # A constant such as a lock: this process still has it, and run.result() says so elsewhere.
        return None


def loaded_outputs(stored: Mapping[str, object]) -> object:
    """What `stored_outputs` stored."""
    import cloudpickle

    if isinstance(paths := stored.get("paths"), list):
        return list(map(OutputRef, paths, repeat(False)))
    outputs: object = cloudpickle.loads(base64.b64decode(str(stored["pickle"])))
    return outputs
