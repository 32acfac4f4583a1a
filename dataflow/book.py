"""What a driver writes down: events become rows and are handed to the scribe, and hooks hear of them.

State: `state` and `message`, the run's; `_away`, task runs that wait for the result store; `details`, the run's own
notes on record; `flushed`, when rows were last handed on.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from dataflow import settings, states
from dataflow.assignment import PACES, Assignment
from dataflow.cells import in_cells
from dataflow.dispatch import News
from dataflow.events import AWAY, Event, Several, TaskEvent
from dataflow.failure import describe, one_line
from dataflow.hooks import Hooks
from dataflow.owners import TAKEN_UP_AT
from dataflow.recorder import Recorder
from dataflow.recovery import RETRIED, TAKEN_UP, Past, Reopening, lease_seconds
from dataflow.scribe import Scribe
from dataflow.session import Control
from dataflow_storage.rows import OrderRow

MANY = 10_000  # transitions and task runs
NOT_BUILT = "the flow does not come to it any more"


class Book:
    """The record of one run, as its driver keeps it.

    Parameters
    ----------
    work : Assignment
        What the driver is to do.
    control : Control
        What the driver tells its tasks.
    heard : callable
        Takes orders that came through the record; or the error, where the run is not ours to write any more.
    """

    def __init__(self, work: Assignment, control: Control, heard: Callable[[OrderRow | Exception], None]) -> None:
        self.state, self.message = work.before, ""
        self._before, self._started = work.before, work.started
        self.details = dict(work.details)
        self.recorder = Recorder()
        self._hooks = Hooks(work.hooks, work.view, self.recorder, control)
        self._scribe = Scribe(
            work.runs,
            work.run_id,
            work.epoch,
            lease=lease_seconds(),
            patience=float(str(settings.get("runs.patience"))),
            control=control,
            heard=heard,
        )
        self.flush_seconds = float(str(settings.get("runs.flush")))
        self.flushed = time.monotonic()
        self._away: dict[tuple[str, int], str] = {}
        self._positions = 0
        self._reopened: list[tuple[str, int]] = []

    def record(self, event: Event) -> None:
        """An event goes on record, and hooks hear of it where it is new."""
        if isinstance(event, TaskEvent) and event.details and "text" in event.details:
            event = event._replace(details=in_cells(event.details))
        if isinstance(event, Several) and (self._away or self._hooks.listen(event.paths)):
            for one in event.each():
                self.record(one)
        elif self.recorder.add(event) and isinstance(event, TaskEvent):
            self._away.pop((event.path, event.index), None)
            if event.type == states.PAUSED and AWAY in (event.details or {}):
                self._away[event.path, event.index] = event.message
            self._hooks.task_changed(event)

    @property
    def why_paused(self) -> str:
        """Why nothing can go on but by a person."""
        away = next(iter(self._away.values()), None)
        if away is None:
            return "waits for approval: run.resume() or run.approve(task) lets it go on"
        return f"{away}; run.resume() goes on when it can be"

    def note(self, news: News) -> None:
        """What the plan decided itself goes on record too."""
        if news.nodes:
            self.recorder.add_nodes(news.nodes, self._positions)
            self._positions += len(news.nodes)
            self._hooks.add(news.nodes)
        for path, width in news.widths:
            self.recorder.set_width(path, width)
        for event in news.events:
            self.record(event._replace(time=time.time()))

    def reopen(self, past: Past, how: Reopening) -> None:
        """A run that is taken up again: what had not ended is pending once more, what was found is on record.

        How it is taken up is written down with that: a driver after this one must know it.
        """
        self.recorder.carried_out(*past.ordered)
        self.recorder.know(past.recorded, past.listed, past.widths)
        self._reopened = [who for who in past.recorded if who not in past.known]
        message = RETRIED if past.retried else TAKEN_UP
        for (path, index), state in past.recorded.items():
            who = path, index
            waits = who in past.due and state in (states.PAUSED, states.RETRYING)
            # What was found had ended otherwise, as far as the record knew: nothing follows that but a new start.
            if state != states.PENDING and not waits and (who not in past.known or who in past.found):
                if state == states.RUNNING and past.attempts.get(who):
                    self.recorder.end_attempt(path, index, past.attempts[who], states.CRASHED, time.time())
                self.recorder.add(TaskEvent(path, index, states.PENDING, time.time(), message=message))
        for (path, index), known in past.found.items():
            attempt = past.attempts.get((path, index), 0)
            self.recorder.add(
                TaskEvent(path, index, states.SUCCESS, time.time(), attempt, known.message, reference=known.reference)
            )
        if how.retry:
            self.details["retried"] = time.time()
            self.details["retries"] = int(str(self.details.get("retries") or 0)) + 1
        if how.anew:
            self.details["anew"] = how.anew
        self.recorder.set_columns({"details": dict(self.details)})

    def leave_out(self) -> None:
        """What was pending once more and never came: a subflow takes another way now."""
        for path, index in self._reopened:
            if self.recorder.state_of(path, index) == states.PENDING:
                self.record(TaskEvent(path, index, states.SKIPPED, time.time(), message=NOT_BUILT))

    def begin_again(self) -> None:
        """The plan is made anew: its nodes come once more."""
        self._positions = 0

    def begin(self) -> None:
        """The run is driven from now on; `started` stays the time when it was driven first."""
        now = time.time()
        if self._started is not None:
            self.details[TAKEN_UP_AT] = now
        self.enter(states.RUNNING, started=self._started or now, ended=None)

    def enter(self, state: str, message: str = "", **columns: object) -> None:
        """The run enters a state."""
        before, self.state, self.message = self.state, state, message
        if before != state:  # a driver that died left it Running
            states.check_transition("the run", before, state, states.RUN_TRANSITIONS)
        now = time.time()
        self.recorder.set_run(now, state, message, details=self.details, **columns)
        self._hooks.run_changed(states.State(type=state, message=message, time=now))

    def say(self, message: str) -> None:
        """The run stays in its state, and says why nothing happens; the empty text takes that back."""
        if message != self.message:
            self.message = message
            self.recorder.set_columns({"message": message})
            self.log(logging.WARNING if message else logging.INFO, message or "goes on")

    def set_pause(self, *, by: str, note: str) -> None:
        """Somebody pauses the run as a whole: it stands in its notes from now on, while what runs finishes."""
        self.details["paused"] = {"by": by, "note": note}
        self.recorder.set_columns({"details": dict(self.details)})

    def conclude(self, learned: Mapping[str, float]) -> None:
        """The run ends, and not since somebody paused it; what it has learned is for the next run."""
        self.details.pop("paused", None)
        if learned:
            self.details[PACES] = {**learned}

    def log(self, level: int, message: str) -> None:
        """A line about the run."""
        self.recorder.add_log(time.time(), level, message)

    def break_off(self, error: BaseException, unfinished: Sequence[tuple[str, int]], *, begun: bool, by: str) -> None:
        """Something broke the driver itself: what was running ends with it, and the run.

        A run that was to go on, and of which nothing has begun, is as it was. `by` is who stopped it, where somebody
        did.
        """
        failure = describe(error)
        self.log(logging.CRITICAL, failure["full"])
        aborted = isinstance(error, KeyboardInterrupt)
        state, why = (states.CANCELLED, "stopped at once") if aborted else (states.CRASHED, "the driver broke")
        for path, index in unfinished:
            if aborted or self.recorder.state_of(path, index) == states.RUNNING:
                self.recorder.add(TaskEvent(path, index, state, time.time(), message=why))
        if self.state in states.RUN_FINAL:
            return
        message = f"{why} by {by or 'the user'}" if aborted else f"{why}: {one_line(failure)}"
        if not begun and self._before in (states.PAUSED, states.CANCELLED, states.FAILED):
            state, message = self._before, f"could not go on: {one_line(failure)}"
        self.enter(state, message, ended=None if state == states.PAUSED else time.time())

    @property
    def is_due(self) -> bool:
        """Whether rows have waited long enough, or are many: then they are written while others are made."""
        return self.recorder.size >= MANY or time.monotonic() - self.flushed >= self.flush_seconds

    def flush(self, wait: float | None = 0.0) -> None:
        """Hand on what was gathered: one transaction.

        Parameters
        ----------
        wait : float or None
            Seconds to wait until it is written; None: as long as it takes.

        Raises
        ------
        StaleOwner, StoreUnavailable
            It was waited for, and cannot be written any more.
        """
        batch = self.recorder.take()
        if batch is not None:
            self._scribe.put(batch)
        self.flushed = time.monotonic()
        if wait != 0.0:
            self._scribe.settle(wait)

    def close(self) -> None:
        """Write everything, and give the run back."""
        self.flush()
        self._scribe.close()

    @property
    def heard(self) -> int:
        """The number of the last order on record that the driver was told of."""
        return self._scribe.seen

    @property
    def lost(self) -> Exception | None:
        """Why nothing can be written any more."""
        return self._scribe.lost
