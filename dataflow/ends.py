"""How the items of a plan have ended, and which have not."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from dataflow import states
from dataflow.events import NO_INDEX
from dataflow.works import DONE, Group, Item, Single


def unfinished(items: Iterable[Item]) -> Iterator[tuple[str, int]]:
    """Every task run that is not final."""
    for item in items:
        if item.status == DONE:
            continue
        if isinstance(item, Single):
            yield item.node.path, NO_INDEX
        elif isinstance(item, Group):
            for part in item.parts:
                if item.width is None:
                    yield part.node.path, NO_INDEX
                yield from ((part.node.path, index) for index, known in enumerate(part.known) if known is None)


def deciding(items: Iterable[Item]) -> Counter[str]:
    """The types of what decides a run's state: what was returned, and what nothing follows."""
    types: Counter[str] = Counter()
    for item in items:
        if isinstance(item, Single) and (item.is_leaf or item.returned):
            types[item.known.type if item.known else states.PENDING] += 1
        for part in item.parts if isinstance(item, Group) else ():
            if not (part.is_leaf or part.returned):
                continue
            if part.whole is not None:
                types[part.whole.type] += 1
            types.update(known.type if known else states.PENDING for known in part.known)
    return types
