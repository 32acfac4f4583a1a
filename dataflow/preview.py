"""What a run, a resume or a retry would run, and what is there already: said before anything happens."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dataflow import prune, states
from dataflow.board import MADE_AGAIN
from dataflow.events import NO_INDEX
from dataflow.graph import Graph
from dataflow.plan import Plan
from dataflow.recovery import Past, Reopening, recall
from dataflow.session import Job, Session
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
    why : str
        Why something of it need not run, where that is the same for all of it.
    """

    path: str
    runs: int | None
    kept: int
    waits: int
    why: str = ""


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


class _Nobody:
    """Nothing runs, so nobody has anything to tell."""

    def send(self, payload: object) -> None:
        raise AssertionError("nothing runs")

    def is_open(self) -> bool:
        return False


def first(graph: Graph, results: ResultStore, refresh: bool | tuple[str, ...] = False) -> list[NodePreview]:
    """What a new run of a graph would run, and what it would take from the cache or find at its target.

    Of a task run whose inputs are not known yet it shows only then whether the cache has it.

    Parameters
    ----------
    graph : Graph
        What is to run.
    results : ResultStore
        Where.
    refresh : bool or tuple of str
        What must be made anew.
    """
    prune.check(graph, refresh)
    job = Job(
        run_id="preview",
        run_name="preview",
        flow=graph.flow,
        parameters=graph.parameters,
        logical_time=time.time(),
        store=results,
        channel=_Nobody(),
        log_prints=False,
        grace=0.0,
        keyed=prune.is_keyed(graph),
        refresh=refresh,
    )
    known = prune.Pruner(Session("preview", job), graph, {}).prune() if job.keyed else {}
    reasons: dict[str, set[str]] = {}
    for (path, _), one in known.items():
        reasons.setdefault(path, set()).add(one.message)
    kept = Counter(path for path, _ in known)
    found = []
    for node in graph.nodes:
        if node.definition.internal:
            continue
        # A map that nobody needs is one whole, whatever its width.
        whole = (node.path, NO_INDEX) in known
        width = node.width if node.mapped and not whole else 1
        why = reasons.get(node.path, set())
        found.append(
            NodePreview(
                path=node.path,
                runs=None if width is None else width - kept[node.path],
                kept=kept[node.path],
                waits=0,
                why=why.pop() if len(why) == 1 else "",
            )
        )
    return found


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
