"""Bare `distributed` on two processes: `delayed`, futures of `client.map` and `client.submit`. Nothing is durable."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster

from benchmarks.systems import workloads as w
from benchmarks.systems.dask import delayed_workloads, saving, with_files
from benchmarks.systems.harness import main

VARIANTS = ("delayed", "map")
NOT_OFFERED = {"warm": "no durable cache"}


@contextmanager
def cluster() -> Iterator[Any]:
    """A client of two worker processes with one thread each."""
    make: Any = LocalCluster
    options = {"processes": True, "dashboard_address": None}
    with (
        make(n_workers=w.WORKERS, threads_per_worker=1, **options) as made,
        Client(made, set_as_default=False) as client,
    ):
        yield client


def futures(client: Any, folder: Path) -> dict[str, w.Workload]:
    """All that futures offer: `map` where the calls are independent, `submit` elsewhere."""

    def value(build: Callable[[], Any]) -> Any:
        return client.gather(build())

    def mapped(body: Callable[..., Any]) -> w.Workload:
        return lambda items: client.gather(client.map(body, items))

    def nested(items: range) -> object:
        numbers = [n for group in client.gather(client.map(w.ten, items[:: w.TEN])) for n in group]
        return client.submit(w.total, client.map(w.same, numbers)).result()

    def call(body: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *args: client.submit(body, *args)

    offered = w.by_calls(w.Calls.made(call), value) | {
        "fan": mapped(w.same),
        "uneven": mapped(w.nap),
        "map": lambda items: client.submit(w.total, client.map(w.same, items)).result(),
        "nested": nested,
    }
    return with_files(offered, mapped(saving(folder)))


def delayed(client: Any, folder: Path) -> dict[str, w.Workload]:
    """All that `delayed` offers here."""
    return delayed_workloads(folder, lambda build: client.gather(client.compute(build())))


@contextmanager
def opened(variant: str, folder: Path) -> Iterator[Mapping[str, w.Workload]]:
    """The workloads, on a cluster that is up."""
    with cluster() as client:
        yield futures(client, folder) if variant == "map" else delayed(client, folder)


if __name__ == "__main__":
    packages = ["dask", "distributed"]
    main(opened, "benchmarks.systems.distributed", variants=VARIANTS, packages=packages, not_offered=NOT_OFFERED)
