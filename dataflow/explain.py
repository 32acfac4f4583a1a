"""Why did this run again? Which part of a cache key differs from the nearest earlier one, or which rule said no."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dataflow import keys, states
from dataflow.cached import NO_RESULT, told
from dataflow.events import NO_INDEX, label
from dataflow.run import Run
from dataflow_storage import CacheIndex, Entry, Reference
from dataflow_storage.rows import NodeRow, TaskRunRow


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why a task run ran, or did not.

    Parameters
    ----------
    task : str
        The task run, such as ``clean[3]``.
    state : str
        Its state.
    reuse : str
        What could have served it: ``"cache"``, ``"target"``, or nothing.
    verdict : str
        What happened, in a sentence.
    earlier : str
        The nearest earlier result of the task; empty where there is none, or where it was used.
    differences : tuple of str
        What differs from that one.
    """

    task: str
    state: str
    reuse: str
    verdict: str
    earlier: str = ""
    differences: tuple[str, ...] = ()


def explain(run: Run, path: str, index: int = NO_INDEX) -> Explanation:
    """Say why a task run ran, or why it did not.

    Parameters
    ----------
    run : Run
        The run.
    path : str
        The node's path.
    index : int
        The child of a mapped node; -1: it is none.

    Raises
    ------
    LookupError
        The run has no such node.
    """
    node = next((node for node in run._store.nodes(run.id) if node.path == path), None)
    if node is None:
        raise LookupError(f"run {run.name} has no task {path!r}")
    row = next(iter(run._store.task_runs(run.id, path=path, idx=index)), None)
    if row is None:
        return Explanation(
            task=label(path, index), state=states.PENDING, reuse=_reuse(node), verdict="it has not started"
        )
    return Explainer(run).one(node, row)


def explain_all(run: Run, path: str | None = None) -> list[Explanation]:
    """Say it of all task runs of a run, or of one node.

    Parameters
    ----------
    run : Run
        The run.
    path : str, optional
        The node's path; by default all but operators.
    """
    explainer = Explainer(run)
    nodes = [
        node for node in run._store.nodes(run.id) if path == node.path or (path is None and node.kind != "internal")
    ]
    return [explainer.one(node, row) for node in nodes for row in run._store.task_runs(run.id, path=node.path)]


def _reuse(node: NodeRow) -> str:
    return str(node.details.get("reuse", ""))


class Explainer:
    """Explains task runs of one run, and reads each task's part of the cache once."""

    def __init__(self, run: Run) -> None:
        self._run, self._results = run, run._results
        self._index = CacheIndex(self._results)
        self._entries: dict[str, list[tuple[Mapping[str, object], Entry]]] = {}

    def one(self, node: NodeRow, row: TaskRunRow) -> Explanation:
        """Say why a task run ran, or why it did not."""
        reuse, why, earlier = _reuse(node), "", ""
        differences: Sequence[str] = ()
        if row.state not in (states.SUCCESS, states.CACHED):
            verdict = f"it is {row.state.lower()}{f': {row.message}' if row.message else ''}"
        elif row.state == states.CACHED:
            verdict = f"it did not run: {row.message}"
        elif row.message == "committed before":
            verdict = "it ran in an earlier attempt of this run, and was not repeated"
        else:
            if reuse == "cache":
                why, earlier, differences = self._by_cache(node.task, label(row.path, row.idx))
            elif reuse == "target":
                meta = self._results.meta(Reference.from_dict(row.reference)) if row.reference else {}
                why = str(meta.get("why") or "its target was not there")
            elif node.details.get("builds"):
                why = "a subflow is built in every run"
            verdict = f"it ran: {why or 'it has no cache and no target'}"
        return Explanation(
            task=label(row.path, row.idx),
            state=row.state,
            reuse=reuse,
            verdict=verdict,
            earlier=earlier,
            differences=tuple(differences),
        )

    def _by_cache(self, task: str, who: str) -> tuple[str, str, Sequence[str]]:
        """Why the cache had nothing, the nearest that it had, and what differs from that."""
        entries = self._entries_of(task)
        mine = next((found for found in entries if found[1].run == self._run.id and found[1].path == who), None)
        if mine is None:
            return "the cache has forgotten its result since, and why it was made", "", ()
        identity, entry = mine
        if entry.why != NO_RESULT:  # there was one, and a rule denied it
            return entry.why, "", ()
        before = [found for found in entries if found[1].created < entry.created and found[1].run != self._run.id]
        if not before:
            return "it is the first result of this task", "", ()
        near_identity, near = max(before, key=lambda found: _nearness(found, identity, entry))
        return entry.why, told(near), keys.differences(near_identity, near.inputs, identity, entry.inputs)

    def _entries_of(self, task: str) -> list[tuple[Mapping[str, object], Entry]]:
        if task not in self._entries:
            self._entries[task] = [
                (identity, entry)
                for folder in self._index.folders(task)
                for identity in [self._index.identity(folder)]
                for entry in self._index.entries(folder)
            ]
        return self._entries[task]


def _nearness(
    found: tuple[Mapping[str, object], Entry], identity: Mapping[str, object], entry: Entry
) -> tuple[int, bool, bool, float]:
    """The more parts agree the nearer; then the same place in a flow; then the latest."""
    other, theirs = found
    same = sum(theirs.inputs.get(name) == digest for name, digest in entry.inputs.items())
    return same, other.get("stands") == identity.get("stands"), theirs.path == entry.path, theirs.created
