"""Finds flows in files and modules, as the command line and schedules name them: "FILE[:FLOW]" or "module[:FLOW]"."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType

from dataflow.errors import FlowNotFound, did_you_mean
from dataflow.flow import Flow
from dataflow.loading import FlowNotLoaded, is_file, load_file, load_module

__all__ = ["AnyFlow", "FlowNotLoaded", "flows_in", "load", "split"]

AnyFlow = Flow[..., object]


def load(spec: str) -> AnyFlow:
    """The flow that a person names.

    A file is read under its own name, with its folder on `sys.path`, as Python does for a script; what stands under
    `if __name__ == "__main__"` does not run. Its functions, and those of its neighbours that it imports, travel to
    workers by value: a worker need not have the file.

    Parameters
    ----------
    spec : str
        `"etl.py"`, `"etl.py:daily"`, `"package.flows"` or `"package.flows:daily"`. The flow may be left out where there
        is only one.

    Raises
    ------
    FlowNotFound
        There is no such file, module or flow; or several flows, and none was named.
    FlowNotLoaded
        The file or module raised.
    """
    where, name = split(spec)
    module = load_file(where) if is_file(where) else load_module(where)
    return _choose(where, flows_in(module), name)


def split(spec: str) -> tuple[str, str | None]:
    """Where the flow is, and its name.

    >>> split("flows/etl.py:daily"), split("package.flows")
    (('flows/etl.py', 'daily'), ('package.flows', None))
    """
    where, colon, name = spec.rpartition(":")
    return (where, name or None) if colon and where else (spec, None)


def flows_in(module: ModuleType) -> dict[str, AnyFlow]:
    """The flows of a module by the names that they go by; those that it only imported where it has none of its own."""
    found = {name: value for name, value in vars(module).items() if isinstance(value, Flow)}
    own = {name: value for name, value in found.items() if getattr(value.fn, "__module__", None) == module.__name__}
    return own or found


def _choose(where: str, flows: Mapping[str, AnyFlow], name: str | None) -> AnyFlow:
    distinct = {id(value): value for value in flows.values()}
    names = sorted(value.name for value in distinct.values())
    if name is None:
        if len(distinct) == 1:
            return next(iter(distinct.values()))
        if not distinct:
            raise FlowNotFound(f"{where} has no flow. Mark a function with @flow.")
        raise FlowNotFound(f"{where} has {len(distinct)} flows: {', '.join(names)}. Say which: {where}:{names[0]}.")
    for value in distinct.values():
        if value.name == name:
            return value
    if name in flows:
        return flows[name]
    hint = did_you_mean(name, [*names, *flows]) or (f" It has: {', '.join(names)}." if names else " It has none.")
    raise FlowNotFound(f"{where} has no flow {name!r}.{hint}")
