"""What the plan answers: what must be done now, and what the record does not know yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dataflow.events import TaskEvent
from dataflow.node import Node
from dataflow_executors.base import Fragment


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """What must be done now.

    Parameters
    ----------
    fragment : Fragment or None
        What must be submitted.
    shipments : mapping
        What must be shipped before it, by token.
    released : sequence of str
        Keys that nobody needs any more.
    """

    fragment: Fragment | None
    shipments: Mapping[str, object]
    released: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class News:
    """What the record does not know yet.

    Parameters
    ----------
    events : sequence of TaskEvent
        Task runs that ended because another did; their times are not set.
    nodes : sequence of Node
        Nodes that joined.
    widths : sequence of (str, int)
        How many children maps have whose width was not known when they were built.
    """

    events: Sequence[TaskEvent]
    nodes: Sequence[Node]
    widths: Sequence[tuple[str, int]]
