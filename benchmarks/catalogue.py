"""The systems that are compared: how they are installed and started, and what each of them records durably."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class System:
    """A system, in one of the ways that it can run.

    Parameters
    ----------
    name : str
        In the tables.
    script : str
        Of `benchmarks.systems`.
    variant : str
        Which of the script's; "" where it has but one.
    packages : tuple of str
        Installed in an environment of its own; none: it runs in the project's.
    against : str
        The one of ours that it is compared with.
    records : str
        What is still there after the machine has crashed.
    durable : bool
        Whether that is every call's state or result, so that it is a peer.
    note : str
        What one must know to read its figures.
    environment : mapping
        Variables, such as those that switch its telemetry off.
    """

    name: str
    script: str
    variant: str = ""
    packages: tuple[str, ...] = ()
    against: str = "dataflow, threads"
    records: str
    durable: bool = False
    note: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


QUIET = {"DO_NOT_TRACK": "1"}
PREFECT = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
OURS = "each state with its time, attempts, logs, results"
NOTHING = "nothing; the payload's calls write their files themselves"
STATES = "states; results of the payload and of cached calls"
# The newest Prefect that installs with it asks for an argument that later versions of FastAPI took away.
FASTAPI = "fastapi<0.150"

SYSTEMS = (
    System(name="dataflow, threads", script="dataflow", variant="threads", records=OURS, durable=True),
    System(
        name="dataflow, cluster",
        script="dataflow",
        variant="processes",
        against="dataflow, cluster",
        records=OURS,
        durable=True,
        note="a `LocalCluster` of two processes that is up already, as for bare `distributed`",
    ),
    System(name="dask.threaded, graph", script="dask", variant="graph", records=NOTHING, note="a dict built by hand"),
    System(name="dask.threaded, delayed", script="dask", variant="delayed", records=NOTHING),
    System(
        name="distributed, delayed",
        script="distributed",
        variant="delayed",
        against="dataflow, cluster",
        records=NOTHING,
    ),
    System(
        name="distributed, client.map",
        script="distributed",
        variant="map",
        against="dataflow, cluster",
        records=NOTHING,
        note="`client.submit` where a call takes the value of another",
    ),
    System(name="joblib", script="joblib", packages=("joblib",), records="results", durable=True, note="`Memory`"),
    System(
        name="Parsl",
        script="parsl",
        packages=("parsl",),
        records="results, in one file of pickles",
        durable=True,
        note="two threads, a checkpoint at each task's end",
    ),
    System(
        name="Luigi",
        script="luigi",
        packages=("luigi",),
        records="targets",
        durable=True,
        note="one call at a time, with the local scheduler",
    ),
    System(
        name="DBOS, steps",
        script="dbos",
        variant="steps",
        packages=("dbos",),
        records="states and results, in SQLite",
        durable=True,
        note="one call at a time: the steps of one workflow",
    ),
    System(
        name="DBOS, queue",
        script="dbos",
        variant="queue",
        packages=("dbos",),
        records="states and results, in SQLite",
        durable=True,
        note="each call a workflow; polled each millisecond instead of each second",
    ),
    System(
        name="Prefect",
        script="prefect",
        packages=("prefect", FASTAPI),
        records=STATES,
        durable=True,
        note="two threads, a server of its own on SQLite; results are not persisted unless asked for",
        environment=PREFECT,
    ),
    System(
        name="prefect-dask",
        script="prefect_dask",
        packages=("prefect-dask", FASTAPI),
        against="dataflow, cluster",
        records=STATES,
        durable=True,
        note="the same, on a `LocalCluster` of two processes",
        environment=PREFECT,
    ),
    System(
        name="redun",
        script="redun",
        packages=("redun",),
        records="states and results, in SQLite",
        durable=True,
        note="two threads",
    ),
    System(
        name="Dagster",
        script="dagster",
        packages=("dagster",),
        records="events and states, in SQLite; results, in files",
        durable=True,
        note="one call at a time, in process",
        environment={"DAGSTER_DISABLE_TELEMETRY": "1"},
    ),
)

BY_NAME: Mapping[str, System] = {system.name: system for system in SYSTEMS}
