"""What a resume or a retry would run, and what it keeps: said before anything happens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dataflow import states
from dataflow.board import MADE_AGAIN
from dataflow.graph import Graph
from dataflow.plan import Plan
from dataflow.recovery import Past, Reopening, recall
from dataflow.works import Who
from dataflow_storage import ResultStore, RunStore
from dataflow_storage.rows import NodeRow, RunRow


@dataclass(frozen=True, kw_only=True)
class NodePreview:
    """What would happen to the task runs of one node.

    Parameters
    ----------
    path : str
        The node.
    runs : int or None
        How many would run; None: all, and how many that is will be known then.
    kept : int
        How many have ended and stay so.
    waits : int
        How many wait for a person.
    """

    path: str
    runs: int | None
    kept: int
    waits: int


def preview(
    run: RunRow,
    runs: RunStore,
    results: ResultStore,
    how: Reopening,
    graph: Graph | None,
    approved: frozenset[Who] = frozenset(),
) -> list[NodePreview]:
    """What would run, by node, in the order of the graph; `approved` would be. Operators on nodes are left out.

    The graph tells which values that were not stored somebody needs again; None where a driver still holds them.
    """
    past = recall(run, runs, results, how)
    again = _made_again(graph, past) if graph is not None else frozenset()
    kept = Counter(who[0] for who in past.known if who not in again)
    waits = Counter(path for (path, index), due in past.due.items() if due is None and (path, index) not in approved)
    nodes = runs.nodes(run.id)
    return [_node(node, kept[node.path], waits[node.path]) for node in nodes if node.kind != "internal"]


def _made_again(graph: Graph, past: Past) -> frozenset[Who]:
    """What ended well, and would run again for its value."""
    events = Plan(graph, run="preview", memory=past).news().events
    return frozenset((event.path, event.index) for event in events if event.message == MADE_AGAIN)


def _node(node: NodeRow, kept: int, waits: int) -> NodePreview:
    if node.kind != "map":
        return NodePreview(path=node.path, runs=max(0, 1 - kept - waits), kept=kept, waits=waits)
    left = None if node.width is None and not kept else max(0, (node.width or 0) - kept - waits)
    return NodePreview(path=node.path, runs=left, kept=kept, waits=waits)


def open_now(nodes: Sequence[NodeRow], counts: Mapping[str, Mapping[str, int]]) -> list[NodePreview]:
    """What has not ended, by node: what a cancel or a pause would stop."""
    found = []
    for node in nodes:
        told = counts.get(node.path, {})
        ended = sum(n for state, n in told.items() if state in states.FINAL)
        left = None if node.kind == "map" and node.width is None and not told else sum(told.values()) - ended
        if node.kind != "internal":
            found.append(NodePreview(path=node.path, runs=left, kept=ended, waits=told.get(states.PAUSED, 0)))
    return found
