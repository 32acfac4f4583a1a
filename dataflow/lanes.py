"""What is committed together: the places of task runs in lanes, and the successes that wait for their commit."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from dataflow.calls import Unit
from dataflow.outcome import Outcome
from dataflow.results import policy_caches
from dataflow_storage import Encoded
from dataflow_storage.packing import Packer


class Place(NamedTuple):
    """A lane, and a number in it."""

    lane: str
    number: int


class Who(NamedTuple):
    """A task run."""

    path: str
    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks for


class Made:
    """The successes of a lane that are not committed yet.

    State: `packer`, their bytes, and `outcomes`, by number; `one`, the first of the task runs; `attempts`, of those
    that took more than one; `units`, the task runs that the cache must hear of. So there are few objects for each.
    """

    __slots__ = ("attempts", "one", "outcomes", "packer", "units")

    def __init__(self) -> None:
        self.packer = Packer()
        self.outcomes: dict[int, Outcome] = {}
        self.one: Unit | None = None
        self.attempts: dict[int, int] = {}
        self.units: dict[int, Unit] = {}

    def add(self, number: int, unit: Unit, outcome: Outcome, encoded: Encoded) -> None:
        """A body has returned."""
        self.packer.add(number, encoded)
        self.outcomes[number] = outcome
        self.one = self.one or unit
        if unit.attempt > 1:
            self.attempts[number] = unit.attempt
        if policy_caches(unit):
            self.units[number] = unit

    def drop(self, numbers: Iterable[int]) -> None:
        """These do not count."""
        for number in numbers:
            del self.outcomes[number]
            self.units.pop(number, None)
        self.packer = Packer() if not self.outcomes else self.packer.without({*self.packer.items} - {*self.outcomes})
