"""Which task runs a person means, and what follows from them: what a retry from some, or of some only, runs again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from dataflow import states
from dataflow.errors import NoSuchTask, NothingToRetry
from dataflow.events import NO_INDEX, label
from dataflow.graph import Graph
from dataflow.node import Flat, Node, Walk, Whole
from dataflow.recovery import Reopening, anew_of
from dataflow.result_keys import split_key
from dataflow.structure import find
from dataflow.works import Who, is_each
from dataflow_storage import RunStore
from dataflow_storage.rows import NodeRow, RunRow, TaskRunRow


def reopening(
    run: RunRow, runs: RunStore, graph: Graph | None, from_: str | Sequence[str] = (), only: str | Sequence[str] = ()
) -> Reopening:
    """How a run is retried.

    Parameters
    ----------
    run, runs
        The run, and the record.
    graph : Graph, optional
        The run's; it tells which children of a map follow which.
    from_ : str or sequence of str
        Task runs such as `clean` or `clean[3]`, to be run again with all that follows from them, also where they
        succeeded.
    only : str or sequence of str
        Of what did not succeed, run again only these, and what follows from them.

    Raises
    ------
    NoSuchTask
        The run has none like that.
    NothingToRetry
        What `only` names has succeeded.
    """
    if not from_ and not only:
        return Reopening(retry=True)
    rows = {(row.path, row.idx): row for row in runs.task_runs(run.id)}
    nodes = {node.path: node for node in runs.nodes(run.id)}
    follow = _Following(nodes, rows, graph)
    redone = follow.closure(_named(run, nodes, rows, from_))
    whole = {who for who, is_whole in redone.items() if is_whole}
    chosen: frozenset[Who] | None = None
    if only:
        named = _named(run, nodes, rows, only)
        if all(_is_done(rows.get(who)) for who in named):
            raise NothingToRetry(run.name, ", ".join(label(*who) for who in named))
        followed = {who for who in follow.closure(named) if not _is_done(rows.get(who))}
        chosen = frozenset(followed | redone.keys())
    before = anew_of(run)
    number = max(before.values(), default=0) + 1
    # Also of what did not succeed by the record: its result may have been committed nevertheless.
    anew = {**before, **dict.fromkeys(_shortly(whole, rows), number)}
    return Reopening(retry=True, redone=frozenset(redone), only=chosen, anew=anew)


def _is_done(row: TaskRunRow | None) -> bool:
    return row is not None and row.state in states.SUCCESSFUL


def _named(
    run: RunRow, nodes: Mapping[str, NodeRow], rows: Mapping[Who, TaskRunRow], names: str | Sequence[str]
) -> set[Who]:
    """The task runs that labels name: all children, where it is a map's."""
    found: set[Who] = set()
    for name in (names,) if isinstance(names, str) else names:
        path, index = (name, NO_INDEX) if name in nodes else split_key(name)[:2]
        node = nodes.get(path)
        width = node.width if node is not None and node.kind == "map" else None
        if node is None or (index != NO_INDEX and (width is None or index >= width)):
            raise NoSuchTask(run.name, name, list(nodes))
        if width is None or index != NO_INDEX:
            found.add((path, index))
            continue
        found |= {(path, each) for each in range(width)}
        whole = rows.get((path, NO_INDEX))  # it ended without children; or did once, before it had some
        if whole is not None and whole.state in states.FINAL:
            found.add((path, NO_INDEX))
    return found


def _shortly(redone: set[Who], rows: Mapping[Who, TaskRunRow]) -> list[str]:
    """Labels of task runs; a node's path, where all its task runs are among them."""
    all_, mine = Counter(path for path, _ in rows), Counter(path for path, _ in redone & rows.keys())
    return sorted({path if all_[path] == mine[path] else label(path, index) for path, index in redone})


def _nodes(value: object) -> Iterable[Node]:
    return find(value.value if isinstance(value, Whole | Walk | Flat) else value, Node)


class _Following:
    """What follows from task runs: by the edges on record, and within subflows."""

    def __init__(self, nodes: Mapping[str, NodeRow], rows: Mapping[Who, TaskRunRow], graph: Graph | None) -> None:
        self._paths = list(nodes)
        self._below: dict[str, list[str]] = {}
        for node in nodes.values():
            for up in node.upstream:
                self._below.setdefault(up, []).append(node.path)
        self._indices: dict[str, list[int]] = {}
        for path, index in rows:
            self._indices.setdefault(path, []).append(index)
        self._built = {node.path: node for node in graph.nodes} if graph is not None else {}
        self._subflows = {path for path, node in nodes.items() if node.details.get("builds")}

    def closure(self, start: set[Who]) -> dict[Who, bool]:
        """These, and all that follows from them; false for a subflow that is only built again, for a part of it."""
        found: dict[Who, bool] = {}
        stack = [(who, True) for who in start]
        while stack:
            who, whole = stack.pop()
            if who in found and (found[who] or not whole):
                continue
            if who not in found:
                stack += self._next(*who)
            if whole and who[0] in self._subflows:
                inside = f"{label(*who)}/"
                stack += [(one, True) for other in self._paths if other.startswith(inside) for one in self._all(other)]
            found[who] = whole
        return found

    def _next(self, path: str, index: int) -> list[tuple[Who, bool]]:
        """What follows directly, and the subflow around it, which ends as what it returned."""
        found: list[tuple[Who, bool]] = []
        for below in self._below.get(path, ()):
            if index != NO_INDEX and self._is_each(below, path):
                found.append(((below, index), True))
            else:
                found += [(who, True) for who in self._all(below)]
        # Subflows between that were built at once have no node of their own.
        above = path.rpartition("/")[0]
        while above and above not in self._subflows and above.rpartition("[")[0] not in self._subflows:
            above = above.rpartition("/")[0]
        if above in self._subflows:
            found += [(who, False) for who in self._all(above)]
        elif above:
            found.append((split_key(above)[:2], False))
        return found

    def _is_each(self, below: str, path: str) -> bool:
        """Whether a map walks another one index by index, and takes nothing else of it."""
        node = self._built.get(below)
        if node is None or not node.mapped:
            return False
        named = [*node.args, *node.kwargs.values()]
        whole = [*node.wait_for, *(up for value in named if not is_each(value) for up in _nodes(value))]
        return not any(up.path == path for up in whole)

    def _all(self, path: str) -> list[Who]:
        return [(path, index) for index in self._indices.get(path, [NO_INDEX])]
