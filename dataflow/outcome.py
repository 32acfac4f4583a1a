"""What a task leaves in Dask for the tasks after it: a state, and the value or where it is.

Outcome is one task run's; Batch is those of some children of a map, Bundle those of some other task runs; Missing
stands in for a value that is not there.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from dataflow import states
from dataflow.states import State

if TYPE_CHECKING:
    from dataflow_storage import Reference
    from dataflow_storage.references import References

MEASURED = 64
DEFERRED = "Deferred"  # not a state: this task run is not final, and what follows it passes that on


class _Absent:
    """The value is not here; where it is, the reference says."""

    def __reduce__(self) -> str:
        return "ABSENT"

    def __repr__(self) -> str:
        return "ABSENT"


ABSENT: Final = _Absent()


class Outcome:
    """How a task run ended, for its consumers.

    Parameters
    ----------
    type : str
        A final state's name, or `DEFERRED`.
    value : object
        The value in this worker's memory, or `ABSENT`.
    reference : Reference, optional
        Where the committed copy is.
    message : str
        The state's message.
    stands : bytes, optional
        What the value counts as in cache keys, where that is not its digest: how it was made of others.
    """

    __slots__ = ("_place", "_reference", "message", "stands", "type", "value")

    def __init__(
        self,
        type: str,
        value: object = ABSENT,
        reference: Reference | None = None,
        message: str = "",
        stands: bytes | None = None,
    ) -> None:
        self.type, self.value, self.message, self.stands = type, value, message, stands
        self._reference: Reference | References | None = reference

    @property
    def reference(self) -> Reference | None:
        """Where the committed copy is."""
        found = self._reference
        return found if found is None or isinstance(found, tuple) else found[self._place]

    def refer(self, references: References, place: int) -> None:
        """It was committed with many: its own reference is made when somebody asks."""
        self._place = place  # first: another thread may ask meanwhile
        self._reference = references

    @property
    def state(self) -> State:
        """The state, for those who ask why there is no value."""
        return State(type=self.type, message=self.message)

    def __reduce__(self) -> tuple[object, ...]:
        return Outcome, (self.type, self.value, self.reference, self.message, self.stands)[: 5 if self.stands else 4]

    def __sizeof__(self) -> int:
        # Dask asks for sizes to decide what to spill and where to run what follows.
        from dask.sizeof import sizeof

        return object.__sizeof__(self) + (0 if self.value is ABSENT else int(sizeof(self.value)))

    def __repr__(self) -> str:
        return (
            f"Outcome({self.type}{'' if self.value is ABSENT else ', value'}{', committed' if self._reference else ''})"
        )


DEFERRED_OUTCOME = Outcome(DEFERRED)


class Batch:
    """Outcomes of some children: for each mapped node (by path), one for each index in `indices`."""

    __slots__ = ("indices", "outcomes")

    def __init__(self, indices: Sequence[int], outcomes: Mapping[str, Sequence[Outcome]]) -> None:
        self.indices, self.outcomes = indices, outcomes

    def __reduce__(self) -> tuple[object, ...]:
        return Batch, (self.indices, self.outcomes)

    def __sizeof__(self) -> int:
        return 64 + sum(map(_size_of, self.outcomes.values()))

    def __repr__(self) -> str:
        return f"Batch({len(self.indices)} of {', '.join(self.outcomes)})"


def _size_of(outcomes: Sequence[Outcome]) -> int:
    """About how many bytes: of many, some are measured, evenly spread."""
    some = outcomes[:: max(1, len(outcomes) // MEASURED)]
    return sum(map(sys.getsizeof, some)) * len(outcomes) // max(1, len(some))


class Bundle:
    """Outcomes of some task runs that are not children of a map, in the order in which they were called."""

    __slots__ = ("outcomes",)

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        self.outcomes = outcomes

    def __reduce__(self) -> tuple[object, ...]:
        return Bundle, (self.outcomes,)

    def __sizeof__(self) -> int:
        return 64 + _size_of(self.outcomes)

    def __repr__(self) -> str:
        return f"Bundle({len(self.outcomes)})"


class Missing:
    """Stands in for the value of an upstream that has none, in a task that runs although it failed or was skipped.

    It is false; `.state` says why there is no value.

    >>> missing = Missing(State(type="Skipped", message="nothing new", time=0.0))
    >>> bool(missing), missing
    (False, Missing(Skipped: nothing new))
    """

    __slots__ = ("state",)

    def __init__(self, state: State) -> None:
        self.state = state

    def __bool__(self) -> bool:
        return False

    def __reduce__(self) -> tuple[object, ...]:
        return Missing, (self.state,)

    def __repr__(self) -> str:
        return (
            f"Missing({self.state.type}: {self.state.message})" if self.state.message else f"Missing({self.state.type})"
        )


def has_value(outcome: Outcome) -> bool:
    """Whether a consumer gets a value, not a Missing."""
    return outcome.type in states.WITH_VALUE
