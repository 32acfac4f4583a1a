"""The board: what is known of every item of a run, and what follows from one thing for the others. No decisions, no
I/O.

An item that ends unblocks its consumers; one that is put back takes what was to follow it along; a value is held on the
executor while somebody may need it.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence

from dataflow import states
from dataflow.errors import MapError
from dataflow.events import NO_INDEX, Several, TaskEvent
from dataflow.graph import Graph, check_targets
from dataflow.node import Node
from dataflow.task import STRICT
from dataflow.walking import common_length
from dataflow.wiring import wire
from dataflow.works import (
    DONE,
    FLYING,
    HELD,
    WAITING,
    Group,
    Item,
    Known,
    KnownTogether,
    Memory,
    Owner,
    Part,
    Single,
    follows,
    group_of,
    item_of,
    more,
    nodes_of,
)

MADE_AGAIN = "its value was not stored, and is needed"


class Board:
    """What is known of a run.

    Parameters
    ----------
    graph : Graph
        What to run.
    chains : bool
        The executor takes fragments that depend on fragments in flight.
    memory : Memory
        What a driver before this one left.

    State: `items` and `parts` by Node, `by_path`, and `all` in build order; `open`, how many items are not done;
    `candidates`, items that may be ready; `live`, the keys that the executor keeps, each counted in `holds`, and
    `released`, those that nobody needs any more; `events`, what ended because something else did, and `nodes`, what
    joined, and `widths`, what was learned, for the record; `deferrable`, whether something may have to go again;
    `targets`, which node writes what; `delayed`, what has to wait for its time, for the plan to take.
    """

    def __init__(self, graph: Graph, *, chains: bool, memory: Memory) -> None:
        self.chains = chains
        self.memory = memory
        self.delayed: list[tuple[tuple[str, int], Owner]] = []
        self.items: dict[Node, Item] = {}
        self.parts: dict[Node, Part] = {}
        self.by_path: dict[str, Item] = {}
        self.all: list[Item] = []
        self.open = 0
        self.candidates: deque[Item] = deque()
        self.live: set[str] = set()
        self.holds: Counter[str] = Counter()
        self.released: list[str] = []
        self.events: list[TaskEvent] = []
        self.nodes: list[Node] = []
        self.widths: list[tuple[str, int]] = []
        self.deferrable = False
        self.parameters = graph.parameters
        self.targets: dict[str, str] = {}
        self.add(graph.nodes, graph.returned)

    # Growing ----------------------------------------------------------------------------------------------------------

    def add(self, nodes: Sequence[Node], returned: Iterable[Node], end: Node | None = None) -> None:
        """Nodes join the run: at its start, and with each deferred subflow, which ends as `end` does.

        Raises
        ------
        TargetError
            A result would be written where another one is; nothing has joined.
        """
        if any(node.policy.target is not None for node in nodes):
            self.targets = check_targets(nodes, self.parameters, self.targets)
        items = wire(nodes, self.items, self.parts, len(self.all))
        self.deferrable = self.deferrable or any(
            node.policy.may_defer or node.definition.builds or (node.mapped and node.width is None) for node in nodes
        )
        self.nodes += nodes
        self.all += items
        self.open += len(items)
        for item in items:
            for node in nodes_of(item):
                self.by_path[node.path] = item
        for node in returned:
            self.items[node].returned = True
            if node in self.parts:
                self.parts[node].returned = True
        if end is not None:
            self.items[end].is_end = True
        for item in reversed(items):
            self._recall(item)
        for item in items:
            if item.status == WAITING:
                if isinstance(item, Group):
                    self.try_open(item)
                self.candidates.append(item)

    def _recall(self, item: Item) -> None:
        """What an earlier driver knew of an item. From the last to the first: a value that was not stored is made again
        only where something that is not done needs it."""
        if isinstance(item, Single):
            where = (item.node.path, NO_INDEX)
            item.attempt = item.base = self.memory.attempts.get(where, 0)
            item.failed = self.memory.failures.get(where, 0)
            item.base -= item.failed
            item.resumed, item.answers = where in self.memory.resumed, self.memory.resumed.get(where, ())
            known = self.memory.known.get(where)
            if known is not None and self._serves(item.node, known, item):
                self.finish(item, known)
            elif known is not None:
                self.note(*where, Known(states.PENDING, MADE_AGAIN))
            elif where in self.memory.due:
                item.status = HELD
                self.delayed.append((where, item))
        else:
            assert isinstance(item, Group)
            for part in item.parts:
                whole = self.memory.known.get((part.node.path, NO_INDEX))
                if whole is not None and part.number == 0 and whole.type not in states.WITH_VALUE:
                    self.end_whole(item, whole)
                    return

    def _serves(self, node: Node, known: Known, item: Item) -> bool:
        stored = known.reference is not None or known.type not in states.WITH_VALUE
        users = (*item.consumers, *item.borrowers)
        needed = item.returned or item.is_end or any(user.status != DONE for user in users)
        return stored or not needed

    def _recall_child(self, group: Group, part: Part, index: int) -> None:
        where = (part.node.path, index)
        attempt = self.memory.attempts.get(where)
        if attempt:
            failed = self.memory.failures.get(where, 0)
            part.attempts[index] = (attempt, attempt - failed)
            part.bases[index] = attempt - failed
            part.failed[index] = failed
        if where in self.memory.resumed:
            group.resumed[part.number, index] = self.memory.resumed[where]
        known = self.memory.known.get(where)
        if known is None:
            if where in self.memory.due and group.place[index] == WAITING:
                group.place[index] = HELD
                group.holding[index] = self.memory.due[where]
                self.delayed.append((where, (group, index)))
            return
        stored = known.reference is not None or known.type not in states.WITH_VALUE
        if not stored:
            # Made again only for somebody who needs it: a later part, a follower, or a consumer of the whole map.
            later = all(other.known[index] is not None for other in group.parts[part.number + 1 :])
            followed = all((follower.node.path, index) in self.memory.known for follower in part.followers)
            consumed = all(consumer.status == DONE for consumer in group.consumers)
            pointed = any(other.status != DONE for other in group.pointed_by)
            stored = later and followed and consumed and not pointed and not part.returned
        if stored:
            self.learn_child(group, part, index, known)
        else:
            self.note(*where, Known(states.PENDING, MADE_AGAIN))

    def try_open(self, group: Group) -> None:
        """Open a group whose width is known without measuring: by its lists, and by the maps that it walks."""
        if group.width is not None or group.status == DONE:
            return
        failed = next((part.whole for part in group.each if part.whole is not None), None)
        if failed is not None:
            self.end_whole(group, follows(failed))
            return
        if group.measures:
            return
        widths = {
            part.node.path: len(part.known) for part in group.each if group_of(self.items, part).width is not None
        }
        if len(widths) < len(group.each):
            return
        lengths = {value.name: len(value.value) for _, value in group.parts[0].columns}  # type: ignore[arg-type]
        try:
            width = common_length(group.node.name, {**lengths, **widths}, strict=STRICT not in group.node.kwargs)
        except MapError as error:
            self.end_whole(group, Known(states.FAILED, str(error)))
            return
        self.open_group(group, width)

    def measured(self, group: Group, width: int, key: str) -> None:
        """The width of a group is known from a Dask task: not always the last that was sent to measure it."""
        group.measure_key = key
        self.drop(group, [other for other in group.keys if other != key])
        self.open_group(group, width)

    def open_group(self, group: Group, width: int) -> None:
        group.open(width)
        self.widths += [(part.node.path, width) for part in group.parts if part.node.width is None]
        for part in group.each:
            for index in range(width):
                if part.known[index] is None:
                    group.waits[index] = group.waits.get(index, 0) + 1
        for item, index in group.item_waits:
            if item.status != DONE and index < width:
                group.waits[index] = group.waits.get(index, 0) + 1
                item.pointers = more(item.pointers, (group, index))
        for part in reversed(group.parts) if self.memory.is_of_something else ():
            for index in range(width):
                self._recall_child(group, part, index)
        for part in group.parts:
            for follower in part.followers:
                self.try_open(follower)
        self.candidates.append(group)
        self.settle(group)

    def hold(self, item: Item, key: str) -> None:
        item.keys = more(item.keys, key)
        self.holds[key] += 1
        self.live.add(key)

    def drop(self, item: Item, keys: Sequence[str] | None = None) -> None:
        """Nobody needs these keys of an item any more; without any, all of them."""
        gone = item.keys if keys is None else keys
        item.keys = [key for key in item.keys if key not in gone] if keys is not None else ()
        for key in gone:
            self.holds[key] -= 1
            if not self.holds[key]:
                del self.holds[key]
                self.live.discard(key)
                self.released.append(key)

    def join(self, item: Item) -> None:
        """An item is on its way: what waits for it may go with it."""
        item.status = FLYING
        item.counted = True
        for consumer in item.consumers:
            consumer.joined += 1
            if consumer.is_ready:
                self.candidates.append(consumer)

    def put_back(self, item: Item, status: int, indices: Sequence[int] = ()) -> None:
        """An item that was on its way is not: neither is what was to follow it. Of a group, it may be some indices."""
        stack = [item]
        item.status = status
        while stack:
            one = stack.pop()
            counted, one.counted = one.counted, False
            for consumer in one.consumers:
                if counted and self.chains:
                    consumer.joined -= 1
                if indices and one is item and not self._needs(consumer, one, indices):
                    continue
                if isinstance(consumer, Group):
                    consumer.passed_on = False
                    if consumer.width is None and one in consumer.measures:
                        consumer.measuring, consumer.measure_key = False, None  # it passes the deferral on
                if consumer.status == FLYING:
                    consumer.status = WAITING
                    stack.append(consumer)
                    self._leave_out(consumer)

    def _leave_out(self, consumer: Item) -> None:
        """It goes again, and what is on its way for it and not kept will not be there then: it has to end first."""
        for up in consumer.upstream if self.chains else ():
            if up.counted and up.status == FLYING and not self._is_kept(up):
                up.counted = False
                for other in up.consumers:
                    other.joined -= 1

    def _is_kept(self, item: Item) -> bool:
        keys = item.batches if isinstance(item, Group) else [item.key]
        return all(key in self.live for key in keys)

    def _needs(self, consumer: Item, group: Item, indices: Sequence[int]) -> bool:
        """Whether an item needs the value of a child at these indices of a group that has not ended."""
        used = {up for node in nodes_of(consumer) for up in node.upstream if self.items[up] is group}
        return any(self.parts[up].known[index] is None for up in used for index in indices)

    def finish(self, item: Single, known: Known) -> None:
        """A single task run is final, and with it all that ends as it does."""
        work: list[tuple[Single, Known]] = [(item, known)]
        while work:  # a loop, not a recursion: a flow may call itself a thousand deep
            one, end = work.pop()
            if one.status == DONE:
                continue
            one.known = end
            owners, one.stands_for = one.stands_for, ()
            work += [(owner, end) for owner in owners if self.end_owner(owner, end) and isinstance(owner, Single)]
            self.close(one)

    def end_owner(self, owner: Owner, end: Known) -> bool:
        """A subflow ends as what it returned; of a mapped one, this settles the child. Whether it had not ended yet."""
        item = item_of(owner)
        if item.status == DONE:
            return False
        if end.key is not None and end.key in self.live:
            self.hold(item, end.key)
        if isinstance(owner, Single):
            self.note(owner.node.path, NO_INDEX, end)
        else:
            group, index = owner
            group.holding.pop(index, None)
            self.note(group.node.path, index, end)
            self.learn_child(group, group.parts[0], index, end)
            self.settle(group)
        return True

    def note(self, path: str, index: int, end: Known) -> None:
        """The record learns of a task run that ended because another did."""
        self.events.append(TaskEvent(path, index, end.type, 0.0, 0, end.message, reference=end.reference))

    def close(self, item: Item) -> None:
        """An item is done: its consumers wait for one less, its upstreams are needed by one less."""
        was_counted, item.counted = item.counted, False
        item.status = DONE
        self.open -= 1
        for consumer in item.consumers:
            consumer.blockers -= 1
            if was_counted and self.chains:
                consumer.joined -= 1
            if consumer.is_ready:
                self.candidates.append(consumer)
        for group, index in item.pointers:
            self.unwait(group, index)
        for upstream in item.upstream:
            upstream.open_consumers -= 1
            if upstream.open_consumers == 0 and upstream.status == DONE and not self.must_stay(upstream):
                self.drop(upstream)
        if item.open_consumers == 0 and not self.must_stay(item):
            self.drop(item)
        elif isinstance(item, Group):  # what it walked, nobody else does
            self.drop(item, [key for key in item.keys if key == item.measure_key])

    def must_stay(self, item: Item) -> bool:
        """An output that is not stored is fetched at the end."""
        if isinstance(item, Group):
            return any(part.returned and not part.whole and not part.node.policy.persist for part in item.parts)
        return item.returned and isinstance(item, Single) and not item.node.policy.persist

    def unwait(self, group: Group, index: int) -> None:
        if index in group.waits:
            group.waits[index] -= 1
            if not group.waits[index]:
                del group.waits[index]
                group.give_back(index)
                self.candidates.append(group)

    def learn_child(self, group: Group, part: Part, index: int, known: Known) -> None:
        if part.known[index] is not None:
            return
        part.known[index] = known
        for follower in part.followers:
            if follower.width is not None:
                self.unwait(follower, index)
        if group.place[index] != DONE and (len(group.parts) == 1 or group.is_final(index)):
            if group.place[index] in (WAITING, HELD):
                group.unsent -= 1
            group.place[index] = DONE
            group.remaining -= 1

    def learn_several(self, event: Several) -> None:
        """Task runs began, or succeeded, in their first attempt."""
        found = event.references
        if event.path is None:
            for place, path in enumerate(event.which):
                item = self.by_path.get(path)
                if isinstance(item, Single) and item.status != DONE:
                    item.attempt = item.attempt or 1
                    if found is not None:
                        self.finish(item, KnownTogether(event.type, found, place, item.key, number=item.number))
        elif found is not None and isinstance(group := self.by_path.get(event.path), Group) and group.width is not None:
            part = group.part(event.path)
            for place, index in enumerate(event.which):
                known = KnownTogether(event.type, found, place, group.key_of[index], single=False)
                self.learn_child(group, part, index, known)
            self.settle(group)

    def settle(self, group: Group) -> None:
        if group.width is not None and group.remaining == 0 and group.status != DONE:
            self.close(group)
            for part in group.parts:
                for follower in part.followers:
                    self.candidates.append(follower)

    def end_whole(self, group: Group, known: Known) -> None:
        """A map ended without children."""
        for part in group.parts:
            part.whole = known if part.number == 0 else follows(known)
            if part.number > 0 or not any(e.path == part.node.path for e in self.events):
                self.note(part.node.path, NO_INDEX, part.whole)
        if group.status != DONE:
            self.close(group)
        for part in group.parts:
            for follower in part.followers:
                self.try_open(follower)

    def known_of(self, node: Node) -> Known | list[Known | None] | None:
        """What is known of a node: one, or of a mapped one its children."""
        item = self.items[node]
        if isinstance(item, Single):
            return item.known
        part = self.parts[node]
        return part.whole or part.known
