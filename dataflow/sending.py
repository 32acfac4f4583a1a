"""What is ready becomes the next fragment: single nodes with all that can follow them, maps batch by batch.

Calls of one task that nothing tells apart go as maps do, in bundles of a size that adapts; so does a chain of calls.

One decision, without I/O: `Sender.fragment` returns what must be submitted.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from dask._task_spec import Task as DaskTask

from dataflow.board import Board
from dataflow.encode import Encoder
from dataflow.fans import Fans
from dataflow.node import Node
from dataflow.pace import Pace, Paces
from dataflow.works import FLYING, WAITING, Group, Item, Owner, Single, group_of, nodes_of
from dataflow_executors.base import Fragment

Tasks = dict[str, DaskTask]
Annotations = dict[str, Mapping[str, object]]


@dataclass(kw_only=True)
class Flight:
    """What one fragment in flight holds, by Dask key. `alone`: one task run that may have killed its worker."""

    tasks: Tasks = field(default_factory=dict)
    annotations: Annotations = field(default_factory=dict)
    singles: dict[str, list[Single]] = field(default_factory=dict)  # one, or a bundle
    groups: dict[str, Group] = field(default_factory=dict)  # batches and measurings
    alone: bool = False


class Sender:
    """Makes fragments.

    Parameters
    ----------
    board : Board
        What is known.
    encoder : Encoder
        Makes Dask tasks.
    slots : int
        Worker threads.
    batch : "auto" or int
        How many task runs share a Dask task, where a task does not say.
    paces : Paces
        Of the tasks.
    """

    def __init__(self, board: Board, encoder: Encoder, slots: int, batch: str | int, paces: Paces) -> None:
        self._board, self._encoder, self._slots, self._batch = board, encoder, slots, batch
        self._fans = Fans(slots, batch, paces)
        self._paces = paces

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits to be sent that could go."""
        return not self._board.candidates and self._fans.is_empty

    def batch_done(self, group: Group, seconds: float, children: int) -> None:
        """A batch of a group is through: the next may be larger, or smaller."""
        self._pace(group).learn(seconds, children)

    def bundle_split(self, key: str, numbers: Sequence[int]) -> None:
        """A bundle gave up these of its task runs."""
        self._fans.split(key, numbers)

    def bundle_done(self, key: str, seconds: float | None = None) -> None:
        """A bundle is through, in so many seconds, or was lost: more of its kind may go."""
        self._fans.done(key, seconds)

    def fragment(self, number: int, flight: Flight, suspects: deque[Owner]) -> Fragment | None:
        """The next fragment, noted in `flight`; None where nothing is ready.

        Parameters
        ----------
        number : int
            The fragment's id.
        flight : Flight
            Empty; takes what is sent.
        suspects : deque of Owner
            Where there are any, one of them goes, alone.
        """
        joined: list[Item] = []
        if suspects:
            self._send_suspect(flight, suspects)
        candidates = self._board.candidates
        while not flight.alone:
            while candidates:
                item = candidates.popleft()
                if not item.is_ready or (isinstance(item, Single) and item.suspect):
                    continue
                if isinstance(item, Single):
                    if not self._fans.take(item):
                        self._send_singles([item], flight)
                        self._join([item], joined)
                    continue
                assert isinstance(item, Group)
                self._send_group(item, flight)
                if item.width is None or item.unsent or not self._may_be_followed(item, flight):
                    continue
                self._join([item], joined)
            found = self._fans.next()
            if found is None:
                break
            fan, heads = found
            bundle = self._fans.with_followers(heads)
            self._send_singles(bundle, flight, measured=fan is not None)
            if fan is not None:
                self._fans.sent(fan, str(heads[0].key), len(heads))
            self._join(bundle, joined)
        return self._seal(number, flight, joined) if flight.tasks else None

    def _may_be_followed(self, group: Group, flight: Flight) -> bool:
        """Whether what waits for a group can have each of its batches: others may go on after one gave up its rest."""
        kept = self._board.live if self._board.chains else ()
        return all(key in flight.groups or key in kept for key in group.batches)

    def _join(self, items: Sequence[Item], joined: list[Item]) -> None:
        """What waits for these may go with them."""
        for item in items:
            self._board.join(item)
        joined += items

    def _seal(self, number: int, flight: Flight, joined: list[Item]) -> Fragment:
        keep: set[str] = set()
        for key, singles in flight.singles.items():
            for single in singles:
                if self._must_keep(single):
                    self._board.hold(single, key)
                    keep.add(key)
        for key, group in flight.groups.items():
            if key == group.measure_key or self._must_keep(group):
                self._board.hold(group, key)
                keep.add(key)
        if not self._board.chains:
            for item in joined:
                item.counted = False
                for consumer in item.consumers:
                    consumer.joined -= 1
        return Fragment(id=number, tasks=flight.tasks, keep=frozenset(keep), annotations=flight.annotations)

    def _must_keep(self, item: Item) -> bool:
        """Whether a value may be needed by a fragment to come."""
        if self._board.must_stay(item) or (isinstance(item, Single) and item.stands_for):
            return True
        unstored = any(not node.policy.persist for node in nodes_of(item))
        if isinstance(item, Group) and unstored and len(item.parts) > 1:
            return True
        if item.open_consumers == 0:
            return False
        if unstored or self._board.deferrable or len(item.consumers) < item.open_consumers:
            return True
        return any(consumer.status != FLYING for consumer in item.consumers)

    def _send_singles(self, items: list[Single], flight: Flight, *, measured: bool = False) -> None:
        """Send them as one Dask task, which tells how long it took where that is to be measured."""
        key = self._encoder.new_key(items[0].node.name)
        bundled = measured or len(items) > 1
        for number, item in enumerate(items):
            item.key, item.number = key, number if bundled else None
        flight.tasks[key] = self._encoder.bundle(key, items) if bundled else self._encoder.single(items[0])
        _annotate(flight.annotations, key, items[0].node)
        flight.singles[key] = items

    def _send_group(self, group: Group, flight: Flight) -> None:
        if group.width is None:
            walked = [group_of(self._board.items, part) for part in group.each]
            if group.measures and not group.measuring and all(other.width is not None for other in walked):
                group.measuring = True
                group.measure_key = self._encoder.new_key(f"{group.node.name}_width")
                flight.tasks[group.measure_key] = self._encoder.measure(group)
                flight.groups[group.measure_key] = group
            return
        while len(group.batches) < self._pace(group).window(self._slots):
            indices = self._next_batch(group)
            if not indices:
                return
            self._send_batch(group, indices, flight)

    def _send_batch(self, group: Group, indices: Sequence[int], flight: Flight) -> None:
        key = self._encoder.new_key(group.node.name)
        for index in indices:
            group.place[index] = FLYING
            group.key_of[index] = key
        group.unsent -= len(indices)
        group.batches[key] = indices
        flight.tasks[key] = self._encoder.batch(group, key, indices)
        _annotate(flight.annotations, key, group.node)
        flight.groups[key] = group

    def _next_batch(self, group: Group) -> Sequence[int]:
        batch = group.node.policy.batch
        batch = self._batch if batch == "auto" else batch
        size = self._pace(group).share(group.unsent, self._slots) if batch == "auto" else int(batch) or 1
        return group.next_indices(size)

    def _pace(self, group: Group) -> Pace:
        """What is known of the tasks whose runs go together in a group."""
        return self._paces.of(*[part.node.definition for part in group.parts])

    def _send_suspect(self, flight: Flight, suspects: deque[Owner]) -> None:
        """One task run alone, with nothing else in flight: if its worker dies again, it is the one.

        One that waits for others yet stays where it is, and they go.
        """
        for owner in list(suspects):
            if isinstance(owner, Single):
                if owner.status == WAITING and not owner.is_ready:
                    continue
                suspects.remove(owner)
                owner.suspect = False
                if owner.is_ready:
                    flight.alone = True
                    self._send_singles([owner], flight)
                    owner.status = FLYING
                    return
            else:
                group, index = owner
                if group.place[index] == WAITING and (not group.is_ready or group.waits.get(index)):
                    continue
                suspects.remove(owner)
                group.suspects.discard(index)
                if group.place[index] == WAITING:
                    flight.alone = True
                    self._send_batch(group, [index], flight)
                    return


def _annotate(annotations: dict[str, Mapping[str, object]], key: str, node: Node) -> None:
    policy = node.policy
    told: dict[str, object] = {}
    if policy.resources:
        told["resources"] = dict(policy.resources)
    if policy.priority:
        told["priority"] = policy.priority
    if policy.workers:
        told["workers"] = list(policy.workers)
    if told:
        annotations[key] = told
