"""One start of a `DaskExecutor`: fragments as futures of a client.

State: `_flights`, fragments without their `Done` yet, touched in the thread of the client's event loop only; `_held`,
futures of kept keys; `_luggage`, what it has put on the workers; `_comm`, the connection that it began with;
`_stopping`, set by `cancel`; `_still`, set unless cancelled tasks may run; `_starved`, what was last said of a lack of
workers; `_post`, None once it is over.

Coroutines here run in the client's loop, where the client's public calls are awaitable.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import CancelledError
from typing import Any, cast

import dask
from dask.highlevelgraph import HighLevelGraph, MaterializedLayer
from distributed import Scheduler

from dataflow_executors.base import (
    Done,
    Failed,
    Fragment,
    Key,
    Message,
    SchedulerLost,
    Sent,
    Starved,
    UnknownKeys,
)
from dataflow_executors.connect import Connection
from dataflow_executors.flight import UNFINISHED, Flight, Pending
from dataflow_executors.luggage import Luggage, take_off, unclaimed
from dataflow_executors.worker import TopicChannel, shut

TICK_SECONDS = 0.1  # how often finished leaves are given up, and the connection is looked at
STILL_SECONDS = 0.05  # how often workers are asked what they run, after a cancel
STARVED_SECONDS = 1.0  # how often the scheduler is asked whether it has workers
SLOTS_SECONDS = 1.0  # how long the number of slots is believed
LEAVE_SECONDS = 5.0  # for the farewell to a cluster that stays
FORGET_BYTES = 32_000_000  # of payloads, after which the scheduler is told to drop its copies

_config = threading.Lock()  # two that change and restore Dask's configuration crosswise would leave it changed
log = logging.getLogger("dataflow.executors")


class Session:
    """A `DaskExecutor` between `start` and `close`.

    Parameters
    ----------
    connection
        Closed with the session.
    post
        Takes the messages.
    left
        Topics of sessions before it that may be on the workers still.
    """

    def __init__(self, connection: Connection, post: Callable[[Message], None], left: tuple[str, ...] = ()) -> None:
        self._connection = connection
        self._client = cast(Any, connection.client)  # its methods have no annotations
        self._post: Callable[[Message], None] | None = post
        self._flights: dict[int, Flight] = {}
        self._held: dict[Key, Pending] = {}
        self._stopping = False
        self._still = asyncio.Event()
        self._still.set()
        self._received = 0
        self._slots = 1
        self._slots_until = 0.0
        self._starved = ""
        self._comm = self._client.scheduler_comm
        self._luggage = Luggage(self._client, connection.address)
        self._topic = self._luggage.topic
        self.left = (*left, self._topic)
        self.channel = TopicChannel(self._topic)
        self._ask(self._luggage.bring)
        self._client.subscribe_topic(self._topic, _receiver(self))
        self._in_loop(self._tick)
        self._in_loop(self._watch_workers)
        self._in_loop(self._tidy_up, left)

    def slots(self) -> int:
        """Worker threads now; at least 1."""
        if time.monotonic() >= self._slots_until:
            self._slots = max(1, sum(self._ask(self._client.nthreads).values()))
            self._slots_until = time.monotonic() + SLOTS_SECONDS
        return self._slots

    def ship(self, blobs: Mapping[str, bytes]) -> None:
        """Send blobs to the workers, and to those that will come."""
        self._ask(self._luggage.ship, blobs)

    def submit(self, fragment: Fragment) -> None:
        """Send a fragment to the scheduler as one graph."""
        self._alive()
        if missing := fragment.inputs() - self._held.keys():
            raise UnknownKeys(fragment.id, missing)
        wanted = list(fragment.leaves() | fragment.keep)
        if self._stopping or not wanted:
            self._say(Done(fragment.id, {key: CancelledError() for key in wanted}))
            return
        # Dask's advice about large graphs is for people who built the graph by hand.
        with _config, dask.config.set({"distributed.admin.large-graph-warning-threshold": "1 TiB"}):
            try:
                futures: list[Pending] = self._client.get(_graph(fragment), wanted, sync=False)
            except Exception as error:
                if self._broken():
                    raise self._lost(str(error)) from error
                raise
        flight = Flight(
            id=fragment.id,
            keys=frozenset(fragment.tasks),
            keep=set(fragment.keep),
            pending=dict(zip(wanted, futures, strict=True)),
        )
        self._held.update((key, flight.pending[key]) for key in fragment.keep)
        self._in_loop(self._watch, flight)

    def cancel(self) -> None:
        """Drop what is queued; flights land when what runs has finished."""
        self._stopping = True
        self._in_loop(self._drain)

    def fetch(self, keys: Iterable[Key]) -> dict[Key, object]:
        """Values of kept keys that are finished."""
        ready = {key: self._held[key] for key in keys if key in self._held}
        ready = {key: future for key, future in ready.items() if future.status in ("finished", "lost")}
        values: dict[Key, object] = self._ask(self._client.gather, ready, errors="skip")
        return {key: value for key, value in values.items() if ready[key].status == "finished"}

    def release(self, keys: Iterable[Key]) -> None:
        """Give up the futures of kept keys."""
        futures = {key: self._held.pop(key) for key in keys if key in self._held}
        if futures and self._post is not None:
            self._in_loop(self._let_go, futures)

    def close(self, now: bool) -> None:
        """End everything; the session is of no use afterwards."""
        self._stopping = True
        if now:
            shut(self._topic)
        lost = self._broken()
        if not lost and (now or self._post is None):
            self._in_loop(self._drain)  # on a cluster that stays, nothing more should start
        elif not lost:
            try:
                self._client.sync(self._land_all)
            except BaseException:  # Ctrl-C: no patience left
                self.close(now=True)
                raise
        self._post = None
        if not lost and (self._connection.cluster is None or (now and not self._connection.kills)):
            try:
                self._client.sync(self._leave, callback_timeout=LEAVE_SECONDS)
                self.left = ()
            except Exception as error:  # farewell to a cluster that may be going down itself
                log.warning("Blobs of a run may stay on the workers of %s: %s", self._connection.address, error)
        for future in self._held.values():
            future.release()
        self._held = {}
        self._luggage.drop()
        if self._connection.cluster is not None:  # its workers go with it
            self.left = ()
        self._connection.close(now, lost)

    # In the client's loop

    async def _watch(self, flight: Flight) -> None:
        """Land a flight when all that it waits for is finished."""
        self._flights[flight.id] = flight
        if self._stopping:
            self._in_loop(self._drain)
        for key, future in list(flight.pending.items()):
            while key in flight.pending and future.status in UNFINISHED:
                await future.exception()  # returns when it is finished, however it ended
            await flight.settle(key)
        await self._still.wait()
        if self._broken():
            self._fail(self._lost("the connection closed"))
        else:
            self._tell("")
            self._say(Done(flight.id, flight.lost))
        del self._flights[flight.id]

    async def _tick(self) -> None:
        """Free what has finished early, and notice when the scheduler is gone though nobody waits for anything."""
        pause = TICK_SECONDS
        while self._post is not None:
            await asyncio.sleep(pause)
            if self._post is not None and self._broken():
                self._fail(self._lost("the connection closed"))
            begin = time.perf_counter()
            for flight in list(self._flights.values()):
                await flight.sweep()
            pause = max(TICK_SECONDS, 20 * (time.perf_counter() - begin))

    async def _watch_workers(self) -> None:
        """Say when fragments in flight have no worker to run on, and when they have one again."""
        while self._post is not None:
            await asyncio.sleep(STARVED_SECONDS)
            if not self._flights or self._stopping:
                continue
            self._connection.restock()
            try:
                reason = "" if await self._client.nthreads() else "no workers"
            except OSError:  # the connection is on its way down, which is told elsewhere
                continue
            if not self._broken():
                self._tell(reason)

    def _tell(self, starved: str) -> None:
        if starved != self._starved:
            self._starved = starved
            self._say(Starved(starved))

    async def _drain(self) -> None:
        """Cancel what is not finished, and wait until no worker runs any of it."""
        if not self._still.is_set() or not any(flight.waiting() for flight in self._flights.values()):
            return  # it is being done already, and goes for flights that come meanwhile, too
        self._still.clear()
        try:
            # Twice, since the scheduler's word to its workers may be slower than the first question.
            quiet = 0
            while quiet < 2 and not self._broken():
                if waiting := [future for flight in self._flights.values() for future in flight.waiting()]:
                    await self._client.cancel(waiting, reason="cancelled", msg="The run was cancelled.")
                    keys = frozenset[Key]().union(*(flight.keys for flight in self._flights.values()))
                await asyncio.sleep(STILL_SECONDS)
                quiet = 0 if waiting or await self._any_running(keys) else quiet + 1
        finally:
            self._still.set()

    async def _any_running(self, keys: frozenset[Key]) -> bool:
        try:
            stacks = await self._client.call_stack()
        except OSError:
            return True  # a worker left during the question: ask again
        return any(not keys.isdisjoint(running) for running in stacks.values())

    async def _land_all(self) -> None:
        await self._drain()
        while self._flights and not self._broken():
            await asyncio.sleep(STILL_SECONDS / 5)

    async def _let_go(self, futures: Mapping[Key, Pending]) -> None:
        for key, future in futures.items():
            unfinished = False
            for flight in self._flights.values():
                flight.keep.discard(key)
                unfinished = unfinished or flight.pending.get(key) is future
            if not unfinished:
                future.release()

    async def _leave(self) -> None:
        """Take everything of this session off a cluster that stays."""
        await self._luggage.leave()
        self._client.unsubscribe_topic(self._topic)
        await self._forget()

    async def _tidy_up(self, left: tuple[str, ...]) -> None:
        """Take off what drivers that died, or lost their scheduler, have left on the workers."""
        try:
            names = await self._client.run_on_scheduler(unclaimed, left)
        except Exception as error:  # some schedulers run nothing for clients
            log.info("What others left on the cluster at %s stays: %s", self._connection.address, error)
        else:
            await take_off(self._client, names)

    async def _forget(self) -> None:
        """Have the scheduler drop its copies of the payloads, which it keeps for people who subscribe late."""
        self._received = 0
        try:
            await self._client.run_on_scheduler(_forget_topic, self._topic)
        except Exception as error:  # some schedulers run nothing for clients; the run goes on all the same
            log.info("The scheduler at %s keeps copies of what tasks sent: %s", self._connection.address, error)

    def receive(self, event: tuple[float, bytes]) -> None:
        """Post a payload that arrived under the topic."""
        _, data = event
        try:
            payload = pickle.loads(data)
        except Exception as error:  # a payload that is lost must not be lost silently
            self._fail(error)
            return
        self._say(Sent(payload))
        self._received += len(data)
        if self._received > FORGET_BYTES:
            self._in_loop(self._forget)

    # Helpers for any thread

    def _ask(self, call: Callable[..., Any], *args: object, **options: object) -> Any:
        self._alive()
        try:
            return call(*args, **options)
        except Exception as error:
            if isinstance(error, OSError) or self._broken():
                raise self._lost(str(error)) from error
            raise

    def _in_loop(self, call: Callable[..., Awaitable[None]], *args: object) -> None:
        self._client.loop.add_callback(self._guarded, call, *args)

    async def _guarded(self, call: Callable[..., Awaitable[None]], *args: object) -> None:
        try:
            await call(*args)
        except Exception as error:  # the loop would only log it, and the driver wait for ever
            self._fail(self._lost(f"{type(error).__name__}: {error}") if self._broken() else error)

    def _say(self, message: Message) -> None:
        if (post := self._post) is not None:
            post(message)

    def _fail(self, error: BaseException) -> None:
        post, self._post = self._post, None
        if post is not None:
            post(Failed(error))

    def _broken(self) -> bool:
        """Whether the connection is not the one that all futures and the subscription came from."""
        return self._client.status != "running" or self._client.scheduler_comm is not self._comm

    def _alive(self) -> None:
        if self._broken():
            raise self._lost("the connection closed")

    def _lost(self, reason: str) -> SchedulerLost:
        return SchedulerLost(self._connection.address, reason)

    def __repr__(self) -> str:
        return f"started scheduler={self._connection.address} flights={len(self._flights)} kept={len(self._held)}"


def _receiver(session: Session) -> Callable[[tuple[float, bytes]], None]:
    """A handler that does not keep the session alive, since clients never drop a handler."""
    ref = weakref.ref(session)

    def receive(event: tuple[float, bytes]) -> None:
        if (alive := ref()) is not None:
            alive.receive(event)

    return receive


def _forget_topic(topic: str, dask_scheduler: Scheduler) -> None:
    """Runs on the scheduler."""
    dask_scheduler._broker.truncate(topic)


def _graph(fragment: Fragment) -> dict[Key, Any] | HighLevelGraph:
    """The fragment as Dask takes it; annotations need a layer, which looks them up by key."""
    tasks = dict(fragment.tasks)
    by_name: dict[str, dict[Key, object]] = {}
    for key, noted in fragment.annotations.items():
        for name, value in noted.items():
            by_name.setdefault(name, {})[key] = value
    if not by_name:
        return tasks
    layer = MaterializedLayer(tasks, annotations={name: values.get for name, values in by_name.items()})
    return HighLevelGraph({"fragment": layer}, {"fragment": set()})
