"""Dagster in one process, with an instance on SQLite and files for values: states and results are durable."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dagster import (
    DagsterInstance,
    DynamicOut,
    DynamicOutput,
    FilesystemIOManager,
    GraphDefinition,
    In,
    OpDefinition,
    graph,
    op,
)

from benchmarks.systems import workloads as w
from benchmarks.systems.harness import main

NOT_OFFERED = {"warm": "no cache of ops"}
QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
numbered = itertools.count()


def bound(body: Callable[..., Any], *args: Any) -> Any:
    """A call as an op of its own: plain numbers are fixed, what other ops give are inputs."""
    places = [i for i, arg in enumerate(args) if not isinstance(arg, int)]

    def compute(**inputs: Any) -> Any:
        filled = [inputs[f"x{i}"] if i in places else arg for i, arg in enumerate(args)]
        return body(*filled)

    made = op(name=f"{body.__name__}_{next(numbered)}", ins={f"x{i}": In() for i in places})(compute)
    return made(**{f"x{i}": args[i] for i in places})


def children(name: str, of: Callable[..., list[int]], **ins: In) -> OpDefinition:
    """An op whose numbers become the children of a map."""

    @op(name=name, out=DynamicOut(), ins=ins)
    def dynamic(**inputs: Any) -> Iterator[DynamicOutput[int]]:
        for x in of(*inputs.values()):
            yield DynamicOutput(x, mapping_key=str(x).replace("-", "_"))

    return dynamic


def single(name: str, body: Callable[..., Any]) -> OpDefinition:
    """A body of one argument as an op."""

    @op(name=name, ins={"x": In()})
    def called(x: Any) -> Any:
        return body(x)

    return called


@contextmanager
def opened(variant: str, folder: Path) -> Iterator[Mapping[str, w.Workload]]:
    """The workloads."""
    stored = FilesystemIOManager(base_dir=str(folder / "values"))
    (folder / "instance").mkdir(exist_ok=True)
    instance = DagsterInstance.local_temp(str(folder / "instance"))

    def run(shape: GraphDefinition) -> Any:
        job = shape.to_job(resource_defs={"io_manager": stored}, config=QUIET)
        done = job.execute_in_process(instance=instance)
        assert done.success
        return done

    def evaluate(build: Callable[[], Any]) -> Any:
        names: list[str] = []

        @graph(name=f"bench_{next(numbered)}")
        def shape() -> None:
            handles = build()
            names.extend(handle.node_name for handle in (handles if isinstance(handles, list) else [handles]))
            names.append("" if isinstance(handles, list) else "one")

        done = run(shape)
        values = [done.output_for_node(name) for name in names[:-1]]
        return values[0] if names[-1] else values

    def mapped(items: range) -> object:
        numbers, same, total = (
            children("numbers", lambda: list(items)),
            single("same", w.same),
            single("total", w.total),
        )

        @graph(name=f"map_{next(numbered)}")
        def shape() -> None:
            total(numbers().map(same).collect())

        return run(shape).output_for_node("total")

    def nested(items: range) -> object:
        firsts, ten = children("firsts", lambda: list(items[:: w.TEN])), single("ten", w.ten)
        numbers = children("numbers", lambda groups: [n for group in groups for n in group], groups=In())
        same, total = single("same", w.same), single("total", w.total)

        @graph(name=f"nested_{next(numbered)}")
        def shape() -> None:
            total(numbers(firsts().map(ten).collect()).map(same).collect())

        return run(shape).output_for_node("total")

    def call(body: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: bound(body, *args)

    offered = w.by_calls(w.Calls.made(call), evaluate)
    yield offered | {"map": mapped, "nested": nested}


if __name__ == "__main__":
    main(opened, "benchmarks.systems.dagster", packages=["dagster"], not_offered=NOT_OFFERED)
