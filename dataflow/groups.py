"""Task runs in groups, one line for each: a node, or what is alike of the nodes of a loop or a mapped subflow."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from dataflow.draw.shape import INDEX, NUMBER, Item, by_name
from dataflow.states import FAILURE, FINAL, SUCCESSFUL
from dataflow_storage.rows import NodeRow

# More nodes than this are folded by the names of their tasks.
MOST = 60


@dataclass(kw_only=True, slots=True)
class Group:
    """Task runs that are told together.

    Parameters
    ----------
    name : str
        What they are called.
    paths : list of str
        Nodes.
    counts : Counter
        How many task runs are in each state.
    mapped, known : bool
        One of the nodes is mapped; the number of task runs is known.
    """

    name: str
    paths: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    mapped: bool = False
    known: bool = True

    @property
    def total(self) -> int:
        """How many task runs there are, as far as is known."""
        return self.counts.total()

    @property
    def done(self) -> int:
        """How many are over."""
        return self.among(FINAL)

    @property
    def successful(self) -> int:
        """How many succeeded, were cached or skipped."""
        return self.among(SUCCESSFUL)

    @property
    def failed(self) -> int:
        """How many failed, in any way."""
        return self.among(FAILURE)

    def among(self, states: Iterable[str]) -> int:
        """How many are in one of these states."""
        return sum(self.counts[state] for state in states)


def group_names(nodes: Sequence[NodeRow], static: int | None = None) -> dict[str, str]:
    """The group of each node, by its path; operators on nodes are in none.

    Parameters
    ----------
    nodes : sequence of NodeRow
        In build order.
    static : int, optional
        How many of the nodes were there when the run began; the rest, which the run built, is folded in any case.
    """
    items = [
        Item(path=node.path, task=node.task, mapped=node.kind == "map") for node in nodes if node.kind != "internal"
    ]
    folded = {path: _flat(place.path) for path, place in by_name(items).items()}
    first = {node.path for node in nodes[: len(nodes) if static is None else static]}
    plain = {item.path: INDEX.sub("", item.path) for item in items}
    if len({plain[path] for path in plain if path in first}) > MOST:
        return folded
    return {path: plain[path] if path in first else folded[path] for path in plain}


def grouped(
    nodes: Sequence[NodeRow], counts: Mapping[str, Mapping[str, int]], names: Mapping[str, str]
) -> dict[str, Group]:
    """The groups with their counts, in build order."""
    groups: dict[str, Group] = {}
    for node in nodes:
        name = names.get(node.path)
        if name is None:
            continue
        group = groups.setdefault(name, Group(name=name))
        group.paths.append(node.path)
        group.mapped |= node.kind == "map"
        # A map whose width nobody knows yet has no counts.
        group.known &= node.path in counts or node.width == 0
        group.counts.update(counts.get(node.path, {}))
    return groups


def _flat(path: str) -> str:
    """Recursion is one group: `poll/poll/check` is `poll/check`.

    >>> _flat("poll/poll-2/poll/check")
    'poll/check'
    """
    return "/".join(
        name for name, _ in groupby(NUMBER.sub("", part) if "/" in path else part for part in path.split("/"))
    )
