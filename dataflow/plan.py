"""The plan: a graph and what is known of it, and from both the next fragment of Dask tasks. No I/O, no clock, no
threads.

`take` returns what must be submitted, `fold` learns what happened. Resume, retry, pause, recovery and expansion are
all this: what is known is left out, the rest runs.

State: `_board`, what is known of every item; `_timers`, deferred task runs with a due time; `_paused`, those that wait
for a person; `_flying`, what is in flight by fragment; `_strikes`, what was lost, and may have killed its worker: each
to run alone; `_expanded`, subflows whose nodes have joined.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from dataflow import ends, states
from dataflow.board import Board
from dataflow.dispatch import Dispatch, News
from dataflow.encode import Encoder
from dataflow.errors import TargetError
from dataflow.events import NO_INDEX, BatchDone, Event, Expanded, LogLine, Measured, Several, Split, TaskEvent, label
from dataflow.graph import Graph
from dataflow.node import Node
from dataflow.pace import Paces
from dataflow.sending import Flight, Sender
from dataflow.signals import Answers
from dataflow.strikes import Strikes
from dataflow.wiring import return_node
from dataflow.works import DONE, FLYING, HELD, WAITING, Group, Item, Known, Memory, Owner, Single, item_of, more

NOTHING = Memory()


class Plan:
    """What is known of a run, and what is next.

    Parameters
    ----------
    graph : Graph
        What to run.
    run : str
        The run's token; part of every Dask key.
    chains : bool
        The executor takes fragments that depend on fragments in flight.
    slots : int
        Worker threads.
    memory : Memory
        What a driver before this one left.
    batch : "auto" or int
        How many task runs share a Dask task, where a task does not say.
    paces : mapping
        How long task runs take, as an earlier run `learned` it.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        run: str,
        chains: bool = False,
        slots: int = 1,
        memory: Memory = NOTHING,
        batch: str | int = "auto",
        paces: Mapping[str, float] = MappingProxyType({}),
    ) -> None:
        self._board = Board(graph, chains=chains, memory=memory)
        self._encoder = Encoder(run, self._board.items, self._board.parts, self._board.live)
        self._paces = Paces(paces)
        self._sender = Sender(self._board, self._encoder, slots, batch, self._paces)
        self._timers: list[tuple[float, int, Owner]] = []
        self._paused: dict[tuple[str, int], Owner] = {}
        self._flying: dict[int, Flight] = {}
        self._strikes = Strikes(self._board)
        self._expanded: set[tuple[str, int]] = set()
        self._sequence = 0

    # Deciding ---------------------------------------------------------------------------------------------------------

    def take(self, now: float) -> Dispatch:
        """What must be done now, at `now` in seconds since the epoch."""
        self._wake(now)
        fragment = None
        # A suspect goes when nothing else is in flight, and nothing goes beside it.
        alone = any(flight.alone for flight in self._flying.values())
        if not alone and not (self._strikes.suspects and self._flying):
            self._sequence += 1
            flight = Flight()
            fragment = self._sender.fragment(self._sequence, flight, self._strikes.suspects)
            if fragment is not None:
                self._flying[fragment.id] = flight
        shipments, self._encoder.shipments = self._encoder.shipments, {}
        released, self._board.released = self._board.released, []
        return Dispatch(fragment=fragment, shipments=shipments, released=released)

    def news(self) -> News:
        """For the record, each once: what the plan decided or learned."""
        board = self._board
        news = News(events=board.events, nodes=board.nodes, widths=board.widths)
        board.events, board.nodes, board.widths = [], [], []
        return news

    # Learning ---------------------------------------------------------------------------------------------------------

    def fold(self, event: Event) -> None:
        """Learn what happened."""
        if isinstance(event, LogLine):
            return
        if isinstance(event, BatchDone):
            self._batch_done(event)
            return
        if isinstance(event, Split):
            self._split(event)
            return
        if isinstance(event, Several):
            self._board.learn_several(event)
            return
        item = self._board.by_path.get(event.path)
        if item is None or item.status == DONE:
            return
        if isinstance(event, Measured):
            if isinstance(item, Group) and item.width is None:
                self._board.measured(item, event.width, event.key)
        elif isinstance(event, Expanded):
            assert isinstance(event.graph, Graph)
            if (event.path, event.index) in self._expanded:
                return  # Dask ran it again: what it built has joined already
            self._expanded.add((event.path, event.index))
            self._expand(item if isinstance(item, Single) else (_as_group(item), event.index), event.graph)
        elif isinstance(item, Single):
            self._fold_single(item, event)
        else:
            self._fold_child(_as_group(item), event)

    def _fold_single(self, item: Single, event: TaskEvent) -> None:
        item.attempt = max(item.attempt, event.attempt)
        item.failed += event.type == states.RETRYING
        if event.type in states.FINAL:
            self._board.finish(item, Known(event.type, event.message, event.reference, item.key, number=item.number))
        elif event.type == states.PAUSED or (event.type == states.RETRYING and event.due is not None):
            self._board.put_back(item, HELD)
            self._defer(item, event)

    def _fold_child(self, group: Group, event: TaskEvent) -> None:
        part, index = group.part(event.path), event.index
        if index == NO_INDEX:  # the map as a whole: it could not be measured
            if event.type in states.FINAL:
                self._board.end_whole(group, Known(event.type, event.message))
            return
        if group.width is None or part.known[index] is not None:
            return
        if event.attempt > 1 or event.type in (states.RETRYING, states.PAUSED):
            failed = part.failed[index] = part.failed.get(index, 0) + (event.type == states.RETRYING)
            part.attempts[index] = (event.attempt, max(part.base(index), event.attempt - failed))
        if event.type in states.FINAL:
            self._board.learn_child(
                group, part, index, Known(event.type, event.message, event.reference, group.key_of[index], single=False)
            )
            self._board.settle(group)
        elif event.type == states.PAUSED or (event.type == states.RETRYING and event.due is not None):
            group.holding[index] = event.due
            if event.type == states.PAUSED:
                self._paused[group.part(event.path).node.path, index] = (group, index)

    def _defer(self, item: Single, event: TaskEvent) -> None:
        if event.due is None:
            self._paused[item.node.path, NO_INDEX] = item
        else:
            self._set_timer(event.due, item)

    def _set_timer(self, due: float, owner: Owner) -> None:
        self._sequence += 1
        heapq.heappush(self._timers, (due, self._sequence, owner))

    def _wake(self, now: float) -> None:
        """What was deferred and is due goes again."""
        delayed, self._board.delayed = self._board.delayed, []
        for who, owner in delayed:
            due = self._board.memory.due[who]
            if due is None:
                self._paused[who] = owner
            else:
                self._set_timer(due, owner)
        while self._timers and self._timers[0][0] <= now:
            self._release(heapq.heappop(self._timers)[2])

    def _release(self, owner: Owner) -> None:
        if isinstance(owner, Single):
            if owner.status == HELD:
                owner.status = WAITING
                self._board.candidates.append(owner)
        else:
            group, index = owner
            if group.place[index] == HELD:
                group.place[index] = WAITING
                group.holding.pop(index, None)
                group.give_back(index)
                self._board.candidates.append(group)

    @property
    def paused(self) -> frozenset[tuple[str, int]]:
        """Task runs that wait for a person."""
        return frozenset(self._paused)

    def resume(self, answers: Mapping[tuple[str, int], Answers]) -> list[tuple[str, int]]:
        """Let these go on, as far as they wait for a person. Returns which task runs.

        Parameters
        ----------
        answers : mapping
            By (path, index), all that was ever given with approvals of that task run.
        """
        resumed = [who for who in answers if who in self._paused]
        for path, index in resumed:
            owner = self._paused.pop((path, index))
            given = answers[path, index]
            if isinstance(owner, Single):
                owner.resumed, owner.answers = True, given
                self._release(owner)
            else:
                group = owner[0]
                group.resumed[group.part(path).number, index] = given
                if group.place[index] == HELD:
                    self._release(owner)
                else:  # its batch still runs: it goes again as soon as that is through
                    group.holding[index] = 0.0
        return resumed

    def _batch_done(self, event: BatchDone) -> None:
        group = next((g for f in self._flying.values() if (g := f.groups.get(event.key)) is not None), None)
        if group is None or event.key not in group.batches:
            self._sender.bundle_done(event.key, event.seconds)
            return
        indices = group.batches.pop(event.key)
        self._sender.batch_done(group, event.seconds, len(indices))
        group.passed_on = any(group.place[index] == FLYING and index not in group.holding for index in indices)
        self._take_back(group, indices)

    def _split(self, event: Split) -> None:
        """A Dask task gave up a part of what it was to run, which goes again."""
        for flight in self._flying.values():
            group = flight.groups.get(event.key)
            if group is not None and event.key in group.batches:
                indices, given_up = group.batches[event.key], frozenset(event.numbers)
                group.batches[event.key] = [index for index in indices if index not in given_up]
                self._take_back(group, [index for index in indices if index in given_up])
            singles = flight.singles.get(event.key)
            for item in [singles[number] for number in event.numbers] if singles else ():
                if item.status == FLYING and item.key == event.key:
                    self._board.put_back(item, WAITING)
                    self._board.candidates.append(item)
        self._sender.bundle_split(event.key, event.numbers)

    def _take_back(self, group: Group, indices: Sequence[int]) -> None:
        """What of a batch did not end waits for its time, or is to go again."""
        open_ = [index for index in indices if group.place[index] == FLYING]
        for index in open_:
            group.unsent += 1
            if index in group.holding:
                group.place[index] = HELD
                due = group.holding[index]
                if due is not None:
                    self._set_timer(due, (group, index))
            else:
                group.place[index] = WAITING
                group.give_back(index)
        if open_ and group.status == FLYING:
            self._board.put_back(group, WAITING, open_)
        if group.status != DONE:
            self._board.candidates.append(group)

    def _expand(self, owner: Owner, graph: Graph) -> None:
        """A deferred subflow built its graph: the nodes join, and the subflow ends as what it returned ends."""
        if isinstance(owner, Single):
            self._board.put_back(owner, HELD)
            path = owner.node.path
        else:
            owner[0].holding[owner[1]] = None
            path = label(owner[0].node.path, owner[1])
        final = return_node(graph, path)
        nodes = graph.nodes if isinstance(graph.outputs, Node) and final is graph.outputs else (*graph.nodes, final)
        try:
            self._board.add(nodes, [final] if item_of(owner).returned else [], end=final)
        except TargetError as error:
            self._end(owner, Known(states.FAILED, str(error)))
            return
        last = self._board.items[final]
        assert isinstance(last, Single)
        last.is_leaf = False
        if last.known is None:
            last.stands_for = more(last.stands_for, owner)
        else:
            self._end(owner, last.known)

    def _end(self, owner: Owner, end: Known) -> None:
        """A subflow is final."""
        if self._board.end_owner(owner, end) and isinstance(owner, Single):
            self._board.finish(owner, end)

    # Losses -----------------------------------------------------------------------------------------------------------

    def fragment_done(self, fragment: int) -> bool:
        """Dask is through with a fragment. Whether everything in it is accounted for."""
        flight = self._flying.get(fragment)
        if flight is not None and not any(self._missing(flight)):
            self.forget(fragment)
        return fragment not in self._flying

    def forget(self, fragment: int) -> None:
        """A fragment of which nothing more is expected."""
        flight = self._flying.pop(fragment, None)
        for key in flight.singles if flight else ():
            self._sender.bundle_done(key)

    def _missing(self, flight: Flight) -> Iterator[tuple[str, Item]]:
        for key, singles in flight.singles.items():
            yield from ((key, single) for single in singles if single.status == FLYING and single.key == key)
        for key, group in flight.groups.items():
            if key in group.batches or (key == group.measure_key and group.width is None and group.status != DONE):
                yield key, group

    def audit(self, fragment: int, blamed: Mapping[str, str], reason: str) -> None:
        """What Dask is through with, but nobody reported, goes again; what may have killed its worker goes alone.

        Parameters
        ----------
        fragment : int
            A fragment that Dask is through with.
        blamed : mapping
            Keys whose worker died, with the reason.
        reason : str
            For a task run that is lost again and again.
        """
        flight = self._flying.get(fragment)
        if flight is None:
            return
        # What killed its worker may be of a fragment before this one, of which Dask tells in a moment: it is lost now,
        # or what waits for it here would be sent again, and lost again, until it counts as crashed.
        for other in self._flying.values():
            if other is not flight:
                self._lose(other, [one for one in self._missing(other) if one[0] in blamed], blamed, reason)
        self.forget(fragment)
        self._lose(flight, list(self._missing(flight)), blamed, reason)

    def _lose(self, flight: Flight, lost: Sequence[tuple[str, Item]], blamed: Mapping[str, str], reason: str) -> None:
        for key, item in lost:
            why = blamed.get(key)
            if isinstance(item, Single):
                self._strikes.single(item, why, reason, alone=flight.alone)
                continue
            group = _as_group(item)
            if key == group.measure_key:
                self._strikes.measuring(group, why or reason)
            elif key in group.batches:  # else a measuring that went with its upstream, and was put back with it
                indices = group.batches.pop(key)
                gone = [index for index in indices if group.place[index] == FLYING]
                self._take_back(group, indices)
                self._strikes.children(group, gone, why, reason, alone=flight.alone)

    # Looking ----------------------------------------------------------------------------------------------------------

    @property
    def learned(self) -> Mapping[str, float]:
        """How long task runs take, for the next run."""
        return self._paces.learned()

    @property
    def is_done(self) -> bool:
        """Every task run is final."""
        return self._board.open == 0

    @property
    def is_stuck(self) -> bool:
        """Something is not done, and nothing will ever happen: a defect of ours."""
        waits = self._flying or self._timers or self._strikes.suspects or self._paused or not self._sender.is_empty
        return not waits and not self.is_done

    @property
    def in_flight(self) -> int:
        """Fragments that Dask has not finished."""
        return len(self._flying)

    @property
    def next_due(self) -> float | None:
        """When the next deferred task run is due."""
        return self._timers[0][0] if self._timers else None

    @property
    def is_paused(self) -> bool:
        """Nothing can go on until a person says so."""
        suspects = any(item_of(owner).is_ready for owner in self._strikes.suspects)
        return bool(self._paused) and not self._flying and not self._timers and not suspects

    def is_live(self, key: str | None) -> bool:
        """Whether the executor keeps a key."""
        return key in self._board.live

    def unfinished(self) -> Iterator[tuple[str, int]]:
        """Every task run that is not final."""
        return ends.unfinished(self._board.all)

    def deciding(self) -> Counter[str]:
        """The types of what decides the run's state: what was returned, and what nothing follows."""
        return ends.deciding(self._board.all)

    def known_of(self, node: Node) -> Known | list[Known | None] | None:
        """What is known of a node: one, or of a mapped one its children."""
        return self._board.known_of(node)


def _as_group(item: Item) -> Group:
    assert isinstance(item, Group), item
    return item
