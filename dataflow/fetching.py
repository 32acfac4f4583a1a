"""Outputs that were not stored are fetched at the end: nobody else has them once the executor is closed."""

from __future__ import annotations

from collections.abc import Iterable

from dataflow import states
from dataflow.events import NO_INDEX
from dataflow.node import Node
from dataflow.outcome import ABSENT, Batch, Bundle, Outcome
from dataflow.plan import Plan
from dataflow_executors import Executor


def fetched(plan: Plan, executor: Executor, returned: Iterable[Node]) -> dict[tuple[str, int], object]:
    """Values of outputs that were not stored, by path and index."""
    wanted: dict[str, list[tuple[str, int, int | None]]] = {}
    for node in returned:
        known = plan.known_of(node)
        pairs = enumerate(known) if isinstance(known, list) else [(NO_INDEX, known)]
        for index, one in pairs:
            if one is not None and plan.is_live(one.key) and one.reference is None and one.type in states.WITH_VALUE:
                wanted.setdefault(str(one.key), []).append((node.path, index, one.number))
    values: dict[tuple[str, int], object] = {}
    for key, found in executor.fetch(wanted).items() if wanted else ():
        for path, index, number in wanted[key]:
            outcome: object = found
            if isinstance(found, Bundle) and number is not None:
                outcome = found.outcomes[number]
            if isinstance(found, Batch):
                outcome = found.outcomes[path][found.indices.index(index)]
            if isinstance(outcome, Outcome) and outcome.value is not ABSENT:
                values[path, index] = outcome.value
    return values
