"""What others ask of a run's driver: in its own process through its inbox, from elsewhere through the record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from dataflow.signals import Answers
from dataflow_storage.rows import OrderRow

CANCEL = "cancel"  # nothing else starts; a second one is an abort
ABORT = "abort"  # what runs is abandoned, or killed where it is in a child process
PAUSE = "pause"  # nothing else starts until somebody resumes the run
STOPS = frozenset({CANCEL, ABORT, PAUSE})
NOTHING = ""  # it counts no more
RESUME = "resume"  # what waits for a person goes on, as far as it is approved


@dataclass(frozen=True, kw_only=True)
class Order:
    """What somebody asks of a driver.

    Parameters
    ----------
    what : str
        One of the names in this module.
    by : str
        Who asks.
    note : str
        Why, for people.
    answers : mapping
        Task runs that are approved, by (path, index), with all that was ever given with that.
    seq : int
        Its number on record; 0 for one that was given in the driver's own process.
    """

    what: str
    by: str = "the user"
    note: str = ""
    answers: Mapping[tuple[str, int], Answers] = field(default_factory=dict)
    seq: int = 0


class Told:
    """What a driver was told so far.

    State: `stop`, who asked that nothing else starts; `obeyed`, the numbers of orders that are carried out when the
    driver ends; `open`, those of orders to go on that came after the stop: whoever gave them acts on them then, or the
    next driver; `is_abort`, what runs is abandoned.
    """

    def __init__(self) -> None:
        self.stop: Order | None = None
        self.obeyed: list[int] = []
        self.open: list[int] = []
        self.is_abort = False
        self._cancels = 0

    def take(self, order: Order) -> bool:
        """Note an order; whether there is something to do for it now."""
        if order.what == RESUME:
            if self.stop is not None:
                self.open.append(order.seq)
            return self.stop is None
        if order.what == PAUSE:  # who says so last is right
            self.obeyed += self.open
            self.open = []
        if order.what in STOPS and (self.stop is None or order.what != PAUSE):
            self.stop = order
        self.obeyed.append(order.seq)
        self._cancels += order.what == CANCEL
        self.is_abort |= order.what == ABORT or self._cancels > 1
        return True


def from_row(row: OrderRow, what: str | None = None) -> Order:
    """An order as it stands on record, or with another meaning."""
    value = row.value if isinstance(row.value, Mapping) else {}
    answers = {
        (str(path), int(str(index))): tuple(
            (bool(wanted), given) for wanted, given in cast("Sequence[Sequence[object]]", all_)
        )
        for path, index, all_ in cast("Sequence[Sequence[object]]", value.get("answers", ()))
    }
    return Order(
        what=row.kind if what is None else what,
        by=row.by,
        note=str(value.get("note", "")),
        answers=answers,
        seq=row.seq,
    )


def value_of(order: Order) -> dict[str, object]:
    """What of an order stands in its `value` column."""
    answers = [[path, index, [list(each) for each in given]] for (path, index), given in order.answers.items()]
    return {"note": order.note, "answers": answers}
