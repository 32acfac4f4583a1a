"""Where a flow's code is, so that another process can build its graph anew; and whether that graph still fits a run."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, cast

from dataflow.errors import CodeGone, DataflowError
from dataflow.graph import Graph
from dataflow.loading import load_file, load_module
from dataflow_storage.rows import NodeRow, RunRow


class Buildable(Protocol):
    """What a flow is here: it has a name, and builds graphs."""

    name: str

    def graph(self, **parameters: object) -> Graph:
        """The graph for these parameters."""
        ...


def address(flow: object) -> dict[str, str] | None:
    """Where a flow's code is: its module, its name there, and the file.

    Returns
    -------
    dict or None
        None for a flow that no module has, such as one that was defined in a function.

    Examples
    --------
    >>> address(object()) is None
    True
    """
    made_in = getattr(getattr(flow, "fn", None), "__module__", None)
    # By itself, not by its function's name: `daily = flow(fn)` has another, and code that was only executed has none.
    # First where its function is from; but it may have been made of that anywhere.
    modules = dict(sys.modules)
    for module in (made_in, *modules) if made_in in modules else modules:
        held = vars(modules[module])
        name = next((name for name, value in list(held.items()) if value is flow), None)
        if name is not None:
            file = held.get("__file__")
            found = {"module": module, "name": name}
            return {**found, "file": os.path.abspath(file)} if isinstance(file, str) else found
    return None


def find_flow(run: RunRow, held: object = None) -> Buildable | None:
    """The flow of a run, by its code as it is now.

    Parameters
    ----------
    run : RunRow
        The run.
    held : Flow, optional
        The flow that this process made the run with; where it has been defined again since, that counts.

    Returns
    -------
    Flow or None
        None where its code never had a place that others can find, and is not in this process.

    Raises
    ------
    CodeGone
        It is not where it was, or raises when it is read.
    """
    told = run.details.get("code")
    where = cast("Mapping[str, str]", told) if isinstance(told, Mapping) else None
    if where is None:
        return cast("Buildable | None", held)
    module, name, file = where["module"], where["name"], where.get("file")
    present = sys.modules.get(module)
    if present is not None and getattr(present, "__file__", None) in (file, None):
        found = getattr(present, name, None)
        if _is_flow(found, run.flow):
            return cast(Buildable, found)
    if held is not None:
        return cast(Buildable, held)
    if file is None:  # a notebook's
        return None
    return _read(run.flow, module, name, file)


def _read(flow: str, module: str, name: str, file: str) -> Buildable:
    try:
        found = getattr(load_module(module) if _is_importable(module, file) else load_file(file), name, None)
    except DataflowError as error:
        raise CodeGone(flow, str(error).rstrip(".")) from error
    if not _is_flow(found, flow):
        raise CodeGone(flow, f"{file} has no flow {name!r}")
    return cast(Buildable, found)


def _is_importable(module: str, file: str) -> bool:
    """Whether Python finds this very file by the module's name."""
    if module == "__main__":
        return False
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return False
    return spec is not None and spec.origin is not None and Path(spec.origin).resolve() == Path(file).resolve()


def _is_flow(found: object, name: str) -> bool:
    return callable(getattr(found, "graph", None)) and getattr(found, "name", None) == name


def difference(graph: Graph, recorded: Sequence[NodeRow]) -> str | None:
    """The first thing in which a graph is not the one on record; None where it fits.

    Compared are the nodes that a flow's body makes: their paths, tasks, kinds, widths and upstreams. What deferred
    subflows made is built again from what they are given.
    """
    if not recorded:  # its driver died before it had put down anything
        return None
    subflows = {row.path for row in recorded if row.details.get("builds")}
    before = {row.path: row for row in recorded if not _is_within(row.path, subflows)}
    for node in graph.nodes:
        row = before.pop(node.path, None)
        if row is None:
            return f"{node.path!r} is new"
        now = (node.name, "map" if node.mapped else "internal" if node.definition.internal else "task")
        if now != (row.task, row.kind):
            return f"{node.path!r} was a {row.kind} of {row.task!r} and is a {now[1]} of {now[0]!r}"
        above = [up.path for up in node.upstream]
        if above != list(row.upstream):
            return f"{node.path!r} followed {list(row.upstream)} and follows {above}"
        if node.mapped and None not in (node.width, row.width) and node.width != row.width:
            return f"{node.path!r} had {row.width} children and has {node.width}"
    gone = next(iter(before), None)
    return None if gone is None else f"{gone!r} is gone"


def _is_within(path: str, subflows: set[str]) -> bool:
    """Whether a path lies below one of these, or of their children."""
    while path := path.rpartition("/")[0]:
        if path in subflows or path.rpartition("[")[0] in subflows:
            return True
    return False
