"""A fragment on a cluster, from its submission until all that it waits for is finished.

All of it happens in the thread of the client's event loop.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from dataflow_executors.base import Key

Pending: TypeAlias = Any  # distributed.Future, whose methods have no annotations

UNFINISHED = ("pending", "lost")  # of a future: Dask is (again) at work for it


@dataclass(kw_only=True)
class Flight:
    """A fragment on its way.

    Attributes
    ----------
    id
        Of the fragment.
    keys
        All its tasks.
    keep
        Kept keys: their futures outlive the flight.
    pending
        Futures of leaves and kept keys that are not finished.
    lost
        Those that have no value, with the reasons.
    """

    id: int
    keys: frozenset[Key]
    keep: set[Key]
    pending: dict[Key, Pending]
    lost: dict[Key, BaseException] = field(default_factory=dict)

    async def settle(self, key: Key) -> None:
        """Take note of one finished future, and give it up if nobody keeps it, so that workers free the value."""
        future = self.pending.get(key)
        if future is None:
            return
        error: BaseException | None = None
        if future.status != "finished":
            error = await _reason(future)
        if self.pending.pop(key, None) is None:
            return  # somebody was quicker during the await
        if error is not None:
            self.lost[key] = error
        if key not in self.keep:
            future.release()

    def waiting(self) -> list[Pending]:
        """Futures that Dask is at work for."""
        return [future for future in self.pending.values() if future.status in UNFINISHED]

    async def sweep(self) -> None:
        """Settle everything that has finished."""
        for key in [key for key, future in self.pending.items() if future.status not in UNFINISHED]:
            await self.settle(key)


async def _reason(future: Pending) -> BaseException | None:
    """Why a future that is finished has no value; None if it has one."""
    if not future.cancelled():
        error: BaseException | None = await future.exception()
        return error
    try:
        await future.result()
    except CancelledError as error:
        return error
    return None
