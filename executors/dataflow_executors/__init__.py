"""Where graphs run: executors for Dask graphs, from one thread to any Dask cluster.

Importing this imports neither `dask` nor `distributed`: a graph's own process may never need them.
"""

from dataflow_executors.base import (
    AlreadyStarted,
    Channel,
    ClusterFailed,
    Done,
    Executor,
    ExecutorError,
    Failed,
    Fragment,
    Key,
    Message,
    NoMainGuard,
    NotStarted,
    SchedulerLost,
    Sent,
    Starved,
    UnknownExecutor,
    UnknownKeys,
    Unreachable,
)
from dataflow_executors.blobs import BlobMissing
from dataflow_executors.choose import choose
from dataflow_executors.cluster import DaskExecutor
from dataflow_executors.sync import SyncExecutor
from dataflow_executors.threads import ThreadExecutor

__all__ = [
    "AlreadyStarted",
    "BlobMissing",
    "Channel",
    "ClusterFailed",
    "DaskExecutor",
    "Done",
    "Executor",
    "ExecutorError",
    "Failed",
    "Fragment",
    "Key",
    "Message",
    "NoMainGuard",
    "NotStarted",
    "SchedulerLost",
    "Sent",
    "Starved",
    "SyncExecutor",
    "ThreadExecutor",
    "UnknownExecutor",
    "UnknownKeys",
    "Unreachable",
    "choose",
]
