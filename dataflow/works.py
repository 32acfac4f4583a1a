"""What the plan knows of each node: Single for a plain one, Group for mapped ones that run together, Stage parts
within.

An *item* (Single or Group) is the thing that is submitted. It waits for `blockers` other items; those of them that are
on their way in the same fragment (or, where the executor chains fragments, in any) are counted in `joined`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from dataflow import states
from dataflow.node import Flat, Node, Walk, Whole
from dataflow.outcome import Outcome
from dataflow.signals import Answers
from dataflow.structure import LEAVES, find
from dataflow_storage import Reference
from dataflow_storage.references import References

T = TypeVar("T")
Who = tuple[str, int]
Many = list[T] | tuple[()]  # extended by `more`
WAITING, FLYING, HELD, DONE = range(4)  # of an item, and of one index of a group


def more(many: Many[T], one: T) -> list[T]:
    """A list with one more: the same list from the first on.

    >>> names = more((), "a")
    >>> more(names, "b") is names, names
    (True, ['a', 'b'])
    """
    if isinstance(many, tuple):
        return [one]
    many.append(one)
    return many


class Known:
    """How a task run ended, and where its value is.

    Parameters
    ----------
    type, message : str
        The final state.
    reference : Reference, optional
        The committed result.
    key : str, optional
        The Dask key of the task that returned its outcome; it may have been released.
    single : bool
        Under that key lies this one outcome, not a batch.
    number : int, optional
        Under that key lies a bundle, and this is its task run of that number.
    """

    __slots__ = ("_reference", "key", "message", "number", "single", "type")

    def __init__(
        self,
        type: str,
        message: str = "",
        reference: Reference | None = None,
        key: str | None = None,
        *,
        single: bool = True,
        number: int | None = None,
    ) -> None:
        self.type, self.message, self._reference = type, message, reference
        self.key, self.single, self.number = key, single, number

    @property
    def reference(self) -> Reference | None:
        """The committed result."""
        return self._reference

    @property
    def outcome(self) -> Outcome:
        """The outcome without the value: for consumers that load it, or need none."""
        return Outcome(self.type, reference=self.reference, message=self.message)

    def __repr__(self) -> str:
        return f"Known({self.type})"


class KnownTogether(Known):
    """How one of many ended that were told of together: its reference is made when somebody asks."""

    __slots__ = ("_place", "_references")

    def __init__(
        self,
        type: str,
        references: References,
        place: int,
        key: str | None,
        *,
        single: bool = True,
        number: int | None = None,
    ) -> None:
        self.type, self.message, self.key, self.single, self.number = type, "", key, single, number
        self._references, self._place = references, place

    @property
    def reference(self) -> Reference:
        """The committed result."""
        return self._references[self._place]


@dataclass(frozen=True, kw_only=True)
class Memory:
    """What a driver before this one left, by (path, index).

    Parameters
    ----------
    known : mapping
        Task runs that are final already.
    attempts : mapping
        Attempts made so far.
    failures : mapping
        How many of them count as used up; without it none does: a new budget.
    due : mapping
        When a task run is due that must not go before (seconds since the epoch); None: it waits for a person.
    resumed : mapping
        Task runs that somebody let go on, with what was given with that.
    """

    known: Mapping[Who, Known] = field(default_factory=dict)
    attempts: Mapping[Who, int] = field(default_factory=dict)
    failures: Mapping[Who, int] = field(default_factory=dict)
    due: Mapping[Who, float | None] = field(default_factory=dict)
    resumed: Mapping[Who, Answers] = field(default_factory=dict)

    @property
    def is_of_something(self) -> bool:
        """Whether anything is known."""
        return bool(self.known or self.attempts or self.due or self.resumed)


class Item:
    """What single nodes and groups have in common.

    Parameters
    ----------
    order : int
        Build order.
    """

    def __init__(self, order: int) -> None:
        self.order = order
        self.status = WAITING
        self.blockers = 0
        self.joined = 0
        # Most items have none of these; a list of nothing for each would cost more than the item.
        self.consumers: Many[Item] = ()
        self.upstream: Many[Item] = ()  # what the blockers count
        self.pointers: Many[tuple[Group, int]] = ()  # indices of groups that wait for this item
        self.counted = False  # its consumers count it in `joined`
        self.open_consumers = 0
        self.keys: Many[str] = ()  # kept on the executor until the last consumer is done
        self.returned = False
        self.borrowers: Many[Group] = ()  # groups of which some indices need it
        self.pointed_by: Many[Group] = ()  # those among them with an item that has its value in it
        self.is_leaf = True  # nothing follows it
        self.is_end = False  # a deferred subflow that is not done ends as it does
        self.key: str | None = None

    @property
    def is_ready(self) -> bool:
        """Nothing that it waits for is missing."""
        return self.status == WAITING and self.blockers == self.joined


class Single(Item):
    """A node that is not mapped.

    State: `known` once it is final; `number`, its place in the bundle that it went with, if that was one; `attempt`,
    `base` and `failed` count attempts: in all, up to the last retry of the run, and those since that failed;
    `stands_for`, the task runs (a deferred subflow, or a child of a mapped one) that end as this one does.
    """

    def __init__(self, node: Node, order: int) -> None:
        super().__init__(order)
        self.node = node
        self.known: Known | None = None
        self.number: int | None = None
        self.attempt = self.base = self.failed = self.strikes = 0
        self.suspect = False  # it may have killed its worker, and goes alone
        self.resumed = False
        self.answers: Answers = ()
        self.stands_for: Many[Single | tuple[Group, int]] = ()

    def __repr__(self) -> str:
        return f"Single({self.node.path}: {self.known or ('waiting', 'flying', 'held', 'done')[self.status]})"


class Part:
    """One mapped node of a group: what is known of each child."""

    def __init__(self, node: Node, number: int) -> None:
        self.node = node
        self.number = number
        self.known: list[Known | None] = []
        self.whole: Known | None = None  # it ended without children
        self.attempts: dict[int, tuple[int, int]] = {}  # by index: attempts in all, and up to the last retry of the run
        self.bases: dict[int, int] = {}
        self.failed: dict[int, int] = {}  # by index: attempts that failed, since that retry
        self.followers: list[Group] = []  # groups that walk this one index by index
        self.returned = False
        self.is_leaf = True  # nothing follows it

    def base(self, index: int) -> int:
        """Attempts of a child up to the last retry of the run."""
        return self.bases.get(index, 0)

    @property
    def columns(self) -> list[tuple[str | int, Walk | Flat]]:
        """The arguments that are walked, but for mapped nodes walked index by index."""
        named: list[tuple[str | int, object]] = [*enumerate(self.node.args), *self.node.kwargs.items()]
        return [(name, value) for name, value in named if isinstance(value, Walk | Flat) and not is_each(value)]

    @property
    def measured(self) -> list[Walk | Flat]:
        """Those of them that are nodes: their lengths, and what they hold, are known when their values are."""
        return [value for _, value in self.columns if isinstance(value.value, Node)]


def is_each(value: object) -> bool:
    """Whether an argument of a map is a mapped node, walked index by index."""
    return isinstance(value, Walk) and isinstance(value.value, Node) and value.value.mapped


class Group(Item):
    """Mapped nodes over one index.

    State, for each index: `place` (WAITING, FLYING, HELD or DONE), `waits` (how many single task runs it waits for,
    besides the group's own blockers), `strikes`. `ready` holds indices that can go, `fresh` is the first that never
    went and waits for nothing. `measured` is None until the width is known; a group over a node is measured by a Dask
    task of its own (`measure_key`), which then holds what is walked.
    """

    def __init__(self, node: Node, order: int) -> None:
        super().__init__(order)
        self.parts = [Part(node, 0)]
        self.width: int | None = None
        self.place = bytearray()
        self.key_of: list[str | None] = []  # the latest batch that an index went with
        self.item_waits: list[tuple[Item, int]] = []  # items of lists that are nodes, with their index
        self.each: list[Part] = []  # parts of other groups that are walked index by index
        self.waits: dict[int, int] = {}
        self.ready: deque[int] = deque()
        self.fresh = 0
        self.remaining = 0
        self.unsent = 0
        self.measure_key: str | None = None
        self.measuring = False
        self.measures: list[Item] = []  # what it walks that is not a mapped node: the measuring waits for it
        self.passed_on = False  # a batch passed on that an upstream was put off: the word of that is on its way
        self.batches: dict[str, Sequence[int]] = {}
        self.holding: dict[int, float | None] = {}  # deferred: until when; None for a person or a subflow
        self.resumed: dict[tuple[int, int], Answers] = {}  # by part and index, with what was given
        self.strikes: dict[int, int] = {}
        self.suspects: set[int] = set()  # indices that may have killed their worker, and go alone
        self.token: str | None = None
        self.attempt = 0

    @property
    def node(self) -> Node:
        """The first mapped node."""
        return self.parts[0].node

    @property
    def is_ready(self) -> bool:
        """Nothing that it waits for is missing, as far as is known."""
        return super().is_ready and not (self.passed_on and self.blockers)

    def part(self, path: str) -> Part:
        """The part of a mapped node."""
        return next(part for part in self.parts if part.node.path == path)

    def open(self, width: int) -> None:
        """The width is known."""
        self.width = self.remaining = self.unsent = width
        self.place = bytearray(width)
        self.key_of = [None] * width
        for part in self.parts:
            part.known = [None] * width

    def is_final(self, index: int) -> bool:
        """Whether every part has ended at an index."""
        return all(part.known[index] is not None for part in self.parts)

    def next_indices(self, most: int) -> Sequence[int]:
        """Take the next indices that can go, in order, at most so many."""
        width = self.width or 0
        end = min(self.fresh + most, width)
        if not (self.ready or self.waits or self.suspects or any(self.place[self.fresh : end])):  # as most often
            begin, self.fresh = self.fresh, end
            return range(begin, end)
        taken: set[int] = set()
        while self.ready and len(taken) < most:
            index = self.ready.popleft()
            if self._may_go(index):
                taken.add(index)
        while self.fresh < width and len(taken) < most:
            index = self.fresh
            self.fresh += 1
            if self._may_go(index):
                taken.add(index)
        return sorted(taken)

    def _may_go(self, index: int) -> bool:
        return self.place[index] == WAITING and not self.waits.get(index) and index not in self.suspects

    def give_back(self, index: int) -> None:
        """An index that was taken, or had gone, or waited, is to go (again)."""
        if index < self.fresh:  # else it is come to in its turn
            self.ready.append(index)

    def __repr__(self) -> str:
        names = " → ".join(part.node.path for part in self.parts)
        return f"Group({names}: {'?' if self.width is None else f'{self.width - self.remaining}/{self.width}'})"


def nodes_in(value: object) -> list[Node]:
    """The nodes in an argument, of a map or not."""
    return list(find(value.value if isinstance(value, Whole) else value, Node))


def may_join(group: Group, node: Node) -> bool:
    """Whether a mapped node can run in the same batches as a group: it walks that group index by index and nothing
    else, and all else that it waits for, the group waits for already.
    """
    policy, first = node.policy, group.node.policy
    if node.definition.builds or group.node.definition.builds or False in (policy.batch, first.batch):
        return False
    if (policy.batch, policy.resources, policy.workers, policy.priority) != (
        first.batch,
        first.resources,
        first.workers,
        first.priority,
    ):
        return False
    mine = {part.node for part in group.parts}
    named = [*node.args, *node.kwargs.values()]
    if any(isinstance(value, Walk | Flat) and not (is_each(value) and value.value in mine) for value in named):
        return False
    known = {up for part in group.parts for up in part.node.upstream} - mine
    # What is taken whole, or waited for, must be the group's already; that is never one of the group's own nodes.
    whole = [node.wait_for, *(value for value in named if not isinstance(value, Walk | Flat))]
    return all(up in known for value in whole for up in nodes_in(value))


def pointers(group: Group) -> Iterator[tuple[int, Node]]:
    """Nodes in the items of the group's columns, with the items' index."""
    for part in group.parts:
        for _, value in part.columns:
            if isinstance(value.value, Sequence) and not LEAVES.issuperset(map(type, value.value)):
                for index, item in enumerate(value.value):
                    for node in find(item, Node):
                        yield index, node


Owner = Single | tuple[Group, int]  # a task run that can be deferred or expanded


def item_of(owner: Owner) -> Item:
    """The item that a task run belongs to."""
    return owner if isinstance(owner, Single) else owner[0]


def nodes_of(item: Item) -> list[Node]:
    """The nodes of an item."""
    if isinstance(item, Single):
        return [item.node]
    assert isinstance(item, Group)
    return [part.node for part in item.parts]


def group_of(items: Mapping[Node, Item], part: Part) -> Group:
    """The group that a part belongs to."""
    group = items[part.node]
    assert isinstance(group, Group)
    return group


def follows(known: Known) -> Known:
    """How what depends on an ended map ends."""
    if known.type == states.SKIPPED:
        return Known(known.type, known.message)
    return Known(states.TRIGGER_FAILED, f"its upstream is {known.type}: {known.message}")
