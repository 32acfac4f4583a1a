"""A run's nodes as they turned out: a deferred subflow that is known gives way to what it built."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from dataflow import states
from dataflow.draw.shape import Item
from dataflow_storage.rows import NodeRow


def items_of_record(
    nodes: Sequence[NodeRow], returned: Collection[str] = (), counts: Mapping[str, Mapping[str, int]] | None = None
) -> list[Item]:
    """The nodes of a run.

    Parameters
    ----------
    nodes : sequence of NodeRow
        In build order.
    returned : collection of str
        Paths of what the flow returns, as far as they are known.
    counts : mapping, optional
        How many task runs of each node, by path, are in each state: what has ended builds nothing any more.
    """
    open_ = {path for path, told in (counts or {}).items() if any(told[one] for one in told if one not in states.FINAL)}
    return expanded(
        [
            Item(
                path=node.path,
                task=node.task,
                upstream=tuple(node.upstream),
                mapped=node.kind == "map",
                width=node.width,
                builds=bool(node.details.get("builds")) and (counts is None or node.path in open_),
                internal=node.kind == "internal",
                returned=node.path in returned,
            )
            for node in nodes
        ]
    )


def expanded(items: Sequence[Item]) -> list[Item]:
    """Items without those that built others: what was before such a one is before what it built, and so with after.

    Examples
    --------
    >>> [(item.path, item.upstream) for item in expanded([
    ...     Item(path="count", task="count"), Item(path="route", task="route", upstream=("count",)),
    ...     Item(path="route/big", task="big"), Item(path="save", task="save", upstream=("route",))])]
    [('count', ()), ('route/big', ('count',)), ('save', ('route/big',))]
    """
    known = {item.path: item for item in items}
    inside: dict[str, list[str]] = {}
    for item in items:
        for above in _above(item.path):
            if above in known:
                inside.setdefault(above, []).append(item.path)
                break
    for path in sorted(inside, key=lambda path: path.count("/")):  # outer before inner
        own = set(inside[path])
        for child in own:
            if own.isdisjoint(known[child].upstream):
                ups = dict.fromkeys((*known[child].upstream, *known[path].upstream))
                known[child] = replace(known[child], upstream=tuple(ups))

    def ends(path: str) -> list[str]:
        """What stands for an item: itself, or the last of what it built."""
        found: dict[str, None] = {}
        left = [path]
        while left:
            one = left.pop()
            if one not in inside:
                found[one] = None
                continue
            used = {up for child in inside[one] for up in known[child].upstream}
            left += [child for child in inside[one] if child not in used]
        return list(found)

    last = {end for path in inside if known[path].returned for end in ends(path)}
    made = []
    for item in items:
        if item.path not in inside:
            ups = dict.fromkeys(end for up in known[item.path].upstream for end in ends(up))
            made.append(replace(known[item.path], upstream=tuple(ups), returned=item.returned or item.path in last))
    return made


def _above(path: str) -> list[str]:
    """The nodes that may have built one, the nearest first.

    >>> _above("route[3]/big/load")
    ['route[3]/big', 'route']
    """
    parts = path.split("/")[:-1]
    found = ["/".join(parts[: n + 1]) for n in range(len(parts))][::-1]
    return [one.rpartition("[")[0] if one.endswith("]") else one for one in found]
