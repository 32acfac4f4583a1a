"""Plain task runs that go together: calls of one task that nothing tells apart, and what follows each of them alone.

A *bundle* is some of them as one Dask task. It begins with its heads; what waits for nothing but task runs of the
bundle, and is all that waits for them, goes with it: a chain of calls is a bundle with one head.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from dataflow.node import Node
from dataflow.pace import Pace, Paces
from dataflow.triggers import Manual
from dataflow.works import DONE, WAITING, Group, Item, Single

MOST = 2_000  # task runs in a bundle
FEW = 32  # so many calls go at once, each by itself


@dataclass
class Fan:
    """The calls of one task.

    State: `pace`; `queues`, those that could go, by what they wait for; `flying`, the heads of each bundle in flight.
    """

    pace: Pace
    queues: dict[Hashable, deque[Single]] = field(default_factory=dict)
    flying: dict[str, int] = field(default_factory=dict)


class Fans:
    """The calls that could go, by task.

    Parameters
    ----------
    slots : int
        Worker threads.
    batch : "auto" or int
        How many heads a bundle has, where their task does not say.
    paces : Paces
        Of their tasks.
    """

    def __init__(self, slots: int, batch: str | int, paces: Paces) -> None:
        self._slots, self._batch, self._paces = slots, batch, paces
        self._fans: dict[int, Fan] = {}
        self._open: dict[int, Fan] = {}  # those with something in a queue
        self._of: dict[str, Fan] = {}  # by the key of a bundle in flight

    @property
    def is_empty(self) -> bool:
        """Whether nothing waits."""
        return not self._open

    def take(self, item: Single) -> bool:
        """Put a call that could go with its like; False where it must go alone."""
        if not self.may_share(item.node):
            return False
        number = id(item.node.definition)
        fan = self._fans.setdefault(number, Fan(self._paces.of(item.node.definition)))
        waits = tuple(_source(up) for up in item.upstream if up.status != DONE)
        fan.queues.setdefault(waits, deque()).append(item)
        self._open[number] = fan
        return True

    def next(self) -> tuple[Fan | None, list[Single]] | None:
        """The heads of the next bundle, and the fan to `send` it for where it is one of many; None: nothing may go."""
        for number, fan in list(self._open.items()):
            for waits, queue in list(fan.queues.items()):
                while queue and not _may_go(queue[0]):  # it went otherwise
                    queue.popleft()
                if not queue:
                    del fan.queues[waits]
                    continue
                size = self._size(queue[0].node)
                few = len(queue) <= FEW
                if few and (_waits(queue[0].node) or (size == "auto" and fan.pace.seconds_each is None)):
                    return None, [queue.popleft()]
                if len(fan.flying) < fan.pace.window(self._slots):
                    share = fan.pace.share(len(queue), self._slots) if size == "auto" else int(size)
                    if share == 1 and fan.pace.seconds_each is not None and _waits(queue[0].node):
                        return None, [queue.popleft()]
                    return fan, _first(queue, share)
            if not fan.queues:
                del self._open[number]
        return None

    def _size(self, node: Node) -> str | int:
        return self._batch if node.policy.batch == "auto" else node.policy.batch

    def may_share(self, node: Node) -> bool:
        """Whether a node may go in one Dask task with others."""
        size = self._size(node)
        alone = size is False or size == 1 or node.definition.builds
        return not alone and not isinstance(node.policy.trigger, Manual)

    def with_followers(self, heads: Sequence[Single]) -> list[Single]:
        """Heads, and what follows them alone, each after what it waits for."""
        place = _place(heads[0].node)
        bundle = list(heads)
        come: Counter[Single] = Counter()
        for item in bundle if self._may_lead(heads) else ():  # which grows
            if len(bundle) >= MOST or len(item.consumers) != 1 or item.open_consumers != 1:
                continue
            if item.returned and not item.node.policy.persist:  # its value is fetched at the end
                continue
            follower = item.consumers[0]
            if not isinstance(follower, Single) or follower.status != WAITING or follower.suspect:
                continue
            come[follower] += 1
            alike = self.may_share(follower.node) and _place(follower.node) == place
            if come[follower] == follower.blockers and alike and (len(heads) > 1 or not _waits(follower.node)):
                bundle.append(follower)
        return bundle

    def _may_lead(self, heads: Sequence[Single]) -> bool:
        return self.may_share(heads[0].node) and (len(heads) > 1 or not _waits(heads[0].node))

    def sent(self, fan: Fan, key: str, heads: int) -> None:
        """A bundle of a fan is on its way."""
        fan.flying[key] = heads
        self._of[key] = fan

    def split(self, key: str, numbers: Sequence[int]) -> None:
        """A bundle gave these up."""
        fan = self._of.get(key)
        if fan is not None:
            heads = fan.flying[key]
            fan.flying[key] -= sum(number < heads for number in numbers)

    def done(self, key: str, seconds: float | None = None) -> None:
        """A bundle is through, in so many seconds; or it was lost."""
        fan = self._of.pop(key, None)
        if fan is not None:
            heads = fan.flying.pop(key)
            if seconds is not None:
                fan.pace.learn(seconds, heads)


def _first(queue: deque[Single], count: int) -> list[Single]:
    heads: dict[Single, None] = {}
    while queue and len(heads) < count:
        item = queue.popleft()
        if _may_go(item):
            heads[item] = None
    return list(heads)


def _may_go(item: Single) -> bool:
    return item.is_ready and not item.suspect


def _waits(node: Node) -> bool:
    """Whether a call waits while another run computes the same; of many short ones, as of children, none does."""
    return node.policy.cache is not None


def _source(up: Item) -> Hashable:
    return id(up) if isinstance(up, Group) else up.key


def _place(node: Node) -> tuple[object, ...]:
    policy = node.policy
    return policy.resources, policy.workers, policy.priority
