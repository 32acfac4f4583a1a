"""Nodes become items of the plan: which maps run together, who waits for whom."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dataflow.definition import Definition, Policy
from dataflow.encode import wanted_by
from dataflow.graph import Graph
from dataflow.node import Flat, Node
from dataflow.works import DONE, Group, Item, Part, Single, is_each, may_join, more, pointers


def wire(nodes: Sequence[Node], items: dict[Node, Item], parts: dict[Node, Part], start: int) -> list[Item]:
    """Make items of nodes, add them to `items` and `parts`, and connect them.

    Parameters
    ----------
    nodes : sequence of Node
        Nodes that join; their upstreams are among them or were wired before.
    items, parts : dict
        What each Node became; extended.
    start : int
        The first item's place in build order.

    Returns
    -------
    list of Item
        The new items in build order.
    """
    made: list[Item] = []
    for node in nodes:
        group = _group_for(node, items)
        if group is not None:
            part = Part(node, len(group.parts))
            group.parts.append(part)
            for up in node.upstream:
                if items[up] is group:
                    parts[up].is_leaf = False
            items[node], parts[node] = group, part
        elif node.mapped:
            group = Group(node, start + len(made))
            items[node], parts[node] = group, group.parts[0]
            made.append(group)
        else:
            items[node] = Single(node, start + len(made))
            made.append(items[node])
    for item in made:
        if isinstance(item, Single):
            _connect(item, item.node.upstream, items, parts)
        else:
            assert isinstance(item, Group)
            _connect_group(item, items, parts)
    return made


def _group_for(node: Node, items: Mapping[Node, Item]) -> Group | None:
    """The group that a mapped node can join: that of the one map that it walks."""
    if not node.mapped:
        return None
    walked = {items[value.value] for value in (*node.args, *node.kwargs.values()) if is_each(value)}  # type: ignore[attr-defined]
    if len(walked) != 1:
        return None
    (group,) = walked
    assert isinstance(group, Group)
    fresh = group.width is None and group.status != DONE
    return group if fresh and may_join(group, node) else None


def _connect(item: Item, upstream: Sequence[Node], items: Mapping[Node, Item], parts: Mapping[Node, Part]) -> None:
    for node in upstream:
        _follow(node, items, parts)
    for up in dict.fromkeys(items[node] for node in upstream):
        item.upstream = more(item.upstream, up)
        up.consumers = more(up.consumers, item)
        up.open_consumers += 1
        if up.status != DONE:
            item.blockers += 1


def _follow(node: Node, items: Mapping[Node, Item], parts: Mapping[Node, Part]) -> None:
    """Something follows a node: it does not decide the run's state by itself."""
    if node in parts:
        parts[node].is_leaf = False
    else:
        items[node].is_leaf = False


def _connect_group(group: Group, items: Mapping[Node, Item], parts: Mapping[Node, Part]) -> None:
    whole: list[Node] = []
    for up, each in wanted_by(group):
        if not each:
            whole.append(up)
            continue
        group.each.append(parts[up])
        parts[up].followers.append(group)
        _lend(up, group, items, parts)
    for part in group.parts:
        for _, value in part.columns:
            if isinstance(value.value, Node):
                whole.append(value.value)
                group.measures.append(items[value.value])
            elif isinstance(value, Flat) or not isinstance(value.value, Sequence):
                raise AssertionError(f"{part.node.path}: a column that is neither a list nor a node")
    for index, node in pointers(group):
        group.item_waits.append((items[node], index))
        if group not in items[node].pointed_by[-1:]:
            items[node].pointed_by = more(items[node].pointed_by, group)
        _lend(node, group, items, parts)
    _connect(group, whole, items, parts)


def _lend(node: Node, group: Group, items: Mapping[Node, Item], parts: Mapping[Node, Part]) -> None:
    """A group needs a node's value for some of its indices."""
    _follow(node, items, parts)
    items[node].borrowers = more(items[node].borrowers, group)
    items[node].open_consumers += 1
    group.upstream = more(group.upstream, items[node])


def _as_they_are(outputs: object) -> object:
    return outputs


_RETURN = Definition(name="return", fn=_as_they_are, policy=Policy(), internal=True)


def return_node(graph: Graph, path: str) -> Node:
    """The node that a deferred subflow ends as: the one that it returned, else one that has the shape that it returned.

    Parameters
    ----------
    graph : Graph
        What the subflow built.
    path : str
        The subflow's own path.
    """
    if isinstance(graph.outputs, Node) and not graph.outputs.mapped:
        return graph.outputs
    node = Node(
        path=f"{path}/return",
        definition=_RETURN,
        args=(graph.outputs,),
        kwargs={},
        wait_for=(),
        mapped=False,
        width=None,
        adder=None,
    )
    node.close()
    return node
