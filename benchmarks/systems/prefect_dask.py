"""Prefect 3 with its Dask task runner on two processes: as durable as on threads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from benchmarks.systems import workloads as w
from benchmarks.systems.harness import main
from benchmarks.systems.prefect import offered, prepare, server


@contextmanager
def opened(variant: str, folder: Path) -> Iterator[Mapping[str, w.Workload]]:
    """The workloads, on a cluster and with a server that are up."""
    prepare(folder)
    from prefect_dask import DaskTaskRunner

    from benchmarks.systems.distributed import cluster

    with server(), cluster() as client:
        yield offered(DaskTaskRunner(address=client.scheduler.address))


if __name__ == "__main__":
    packages = ["prefect", "prefect-dask", "dask", "distributed"]
    main(opened, "benchmarks.systems.prefect_dask", packages=packages)
