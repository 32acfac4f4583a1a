"""What a session puts on the workers, and takes off again: its channel and its blobs.

They are plugins, which the scheduler hands to workers that come later, too.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Mapping
from typing import Any

from distributed import Scheduler, WorkerPlugin

from dataflow_executors import blobs as table
from dataflow_executors.base import ClusterFailed
from dataflow_executors.worker import BlobPlugin, ChannelPlugin, opened, shut

PREFIX = "dataflow"  # of names: dataflow/<client>/<session>, and /<part> for blobs
log = logging.getLogger("dataflow.executors")


class Luggage:
    """The plugins of one session.

    State: `topic`, the name of the channel, with which the names of all plugins begin; `_shipped`, digests of blobs
    that are held here; `_parts`, plugins that hold blobs on the workers, and their blobs.

    Parameters
    ----------
    client
        A `distributed.Client`, connected.
    address
        Of its scheduler, for messages.
    """

    def __init__(self, client: Any, address: str) -> None:
        self._client = client
        self._address = address
        self._shipped: set[str] = set()
        self._parts: list[tuple[str, dict[str, bytes]]] = []
        self.topic = f"{PREFIX}/{client.id}/{uuid.uuid4().hex[:8]}"

    def bring(self) -> None:
        """Open the channel.

        Raises
        ------
        OSError, ClusterFailed
        """
        self._register(self.topic, ChannelPlugin(self.topic))
        opened(self.topic)

    def ship(self, blobs: Mapping[str, bytes]) -> None:
        """Send blobs to the workers, and to those that will come.

        Raises
        ------
        OSError, ClusterFailed
        """
        new = {digest: data for digest, data in blobs.items() if digest not in self._shipped}
        if not new:
            return
        self._shipped.update(new)
        table.add(new)
        # Each worker walks through its plugins at each step of a task, so they must stay few: a new part takes up the
        # ones before it that are not larger. A blob is sent again a few times at most.
        merged = dict(new)
        old: list[str] = []
        while self._parts and _size(self._parts[-1][1]) <= _size(merged):
            name, part = self._parts.pop()
            old.append(name)
            merged.update(part)
        name = f"{self.topic}/{uuid.uuid4().hex[:8]}"
        self._register(name, BlobPlugin(merged))
        self._parts.append((name, merged))
        for name in old:
            try:
                self._client.unregister_worker_plugin(name)
            except Exception as error:  # of a worker that came or went just now
                log.info("Plugin %s may stay on a worker of %s: %s", name, self._address, error)

    async def leave(self) -> None:
        """Take everything off the workers, all at once; runs in the client's loop."""
        names = [self.topic, *(name for name, _ in self._parts)]
        await take_off(self._client, names)

    def drop(self) -> None:
        """Shut the channel in this process, and free what is held here."""
        shut(self.topic)
        shipped, self._shipped = self._shipped, set()
        table.discard(shipped)

    def _register(self, name: str, plugin: WorkerPlugin) -> None:
        for attempt in range(3):
            try:
                self._client.register_plugin(plugin, name=name)
                return
            except OSError:  # a worker died during the broadcast; its successor gets the plugin by itself
                if attempt == 2 or self._client.status != "running":
                    raise
                time.sleep(0.1)
            except Exception as error:  # the worker's own error, often as text only
                advice = f"a worker refused a plugin: {error}. Install dask-dataflow in the environment of its workers."
                raise ClusterFailed(f"The cluster at {self._address}", advice) from error


async def take_off(client: Any, names: list[str]) -> None:
    """Remove plugins from a cluster; a worker that does not answer, or goes just now, keeps none of the others."""
    removed = await asyncio.gather(*(client.unregister_worker_plugin(name) for name in names), return_exceptions=True)
    for name, error in zip(names, removed, strict=True):
        if isinstance(error, Exception):
            log.info("Plugin %s may stay on a worker: %s", name, error)


def unclaimed(left: tuple[str, ...], dask_scheduler: Scheduler) -> list[str]:
    """Plugins of sessions that are over, but could not take them off; runs on the scheduler.

    Parameters
    ----------
    left
        Topics that are given up, though their client may seem to be there still.
    """
    claimed = tuple(f"{PREFIX}/{client}/" for client in dask_scheduler.clients)
    ours = [name for name in dask_scheduler.worker_plugins if name.startswith(f"{PREFIX}/")]
    return [name for name in ours if name.startswith(left) or not name.startswith(claimed)]


def _size(blobs: Mapping[str, bytes]) -> int:
    return sum(map(len, blobs.values()))
