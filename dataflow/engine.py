"""The driver: the one loop that submits fragments, folds events and keeps timers, and has all of it written down.

`take → submit → wait → fold → record`, until the plan is done. It decides nothing itself: what to run next is the
plan's, what a row looks like the recorder's. It runs in a thread of its own, or in the caller's where the executor is
inline. When its scheduler is lost it begins again with what is known by then, as any later driver would.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping
from contextlib import suppress

from dataflow import capture, closing, orders, prune, session, settings, standby, states
from dataflow.assignment import Assignment, check_places
from dataflow.beginning import make_job, make_plan
from dataflow.book import Book
from dataflow.context import driving
from dataflow.definition import Definition
from dataflow.events import Event, Expanded, Packed, TaskEvent
from dataflow.fetching import fetched
from dataflow.losses import blamed, portable, reason
from dataflow.orders import Order
from dataflow.patience import patiently
from dataflow.recovery import RESUME, recall
from dataflow.session import Control
from dataflow_executors.base import Done, Failed, Message, SchedulerLost, Sent, Starved, Unreachable
from dataflow_storage.errors import StaleOwner
from dataflow_storage.faults import faultpoint
from dataflow_storage.rows import OrderRow

logger = logging.getLogger("dataflow")
# How long events of a finished fragment may be on their way: they are shipped every 50 ms.
GRACE_SECONDS = 2.0
LOOK_SECONDS = 5.0  # to wait for the record to be up to date, where somebody looks at it
WAITING = "Waiting: "
SHORT_SECONDS = 5.0  # for a scheduler that was never there: a wrong address should be told soon
MOST_BEGINNINGS = 5  # with lost schedulers and without progress, one after the other


class Driver:
    """Drives one run to its end, or to a pause.

    State: `values`, outputs that were not stored, by (path, index); `book`, what is written down; `error`, what broke
    the driver itself; `told`, what others asked of it; `_beginnings`, how often the scheduler was lost without progress
    since `_ended` task runs had ended.
    """

    def __init__(self, assignment: Assignment) -> None:
        self.work = assignment
        self.values: dict[tuple[str, int], object] = {}
        self.error: BaseException | None = None
        self.finished = threading.Event()
        self._inbox: queue.SimpleQueue[Message | Order | Exception] = queue.SimpleQueue()
        self._control = Control()
        self.told = orders.Told()
        self._tokens: list[str] = []
        self._late: dict[int, tuple[float, Mapping[str, BaseException]]] = {}
        self._submitting = False
        self._thread = 0
        self._unpacked: dict[str, Definition] = {}
        self._pruner: prune.Pruner | None = None
        self._beginnings = self._ended = self.fragments = 0
        self._gave_in = False
        self.book = Book(assignment, self._control, self._hear)

    # Orders -----------------------------------------------------------------------------------------------------------

    def order(self, order: Order) -> None:
        """Ask something of the driver, from any thread."""
        # Before the flags: the loop may end as soon as it sees them.
        if not self.told.take(order):
            return
        if order.what in orders.STOPS:
            self._control.cancelled = True
        if self.told.is_abort:
            self._control.aborted = True
        self._inbox.put(order)

    def _hear(self, heard: OrderRow | Exception) -> None:
        if isinstance(heard, Exception):
            self._inbox.put(heard)
        else:
            # What was asked of a driver before this one counts no more where a person has sent the run on since.
            old = not self.work.patient and heard.time < self.work.since
            self.order(orders.from_row(heard, what=orders.NOTHING if old else None))

    def _obey(self, order: Order) -> None:
        if order.what == orders.RESUME:
            for path, index in self._plan.resume(order.answers):
                self._fold(TaskEvent(path, index, states.PENDING, time.time(), message=f"approved by {order.by}"))
            self.book.recorder.carried_out(order.seq)
            return
        if order.what == orders.NOTHING:
            self.book.recorder.carried_out(order.seq)
        if order.what == orders.PAUSE:
            self.book.set_pause(by=order.by, note=order.note)
        if order.what in orders.STOPS:
            self.book.say(f"stops for {order.by}: what runs may finish")
            self.work.executor.cancel()

    # The loop ---------------------------------------------------------------------------------------------------------

    def announce(self) -> None:
        """Put the graph's nodes on record, so that whoever holds the run can ask for them at once."""
        if self.work.how is None:
            self.book.recorder.add_nodes(self.work.graph.nodes, 0)
            self.book.flush(wait=None)

    def drive(self) -> None:
        """Run to the end. Whatever happens is on record; what broke the driver is in `error`."""
        self._thread = threading.get_ident()
        before = driving.set(driving.get() | {self.work.run_id})
        capture.install()
        try:
            self.book.recorder.set_columns(self.work.columns)
            self.book.begin()
            self.book.flush(wait=LOOK_SECONDS)
            while not self._drive_once():
                pass
        except BaseException as error:
            # Told to stop while there was no scheduler: that is no failure, and is put down when all is closed.
            self._gave_in = self.told.stop is not None and isinstance(error, SchedulerLost | Unreachable)
            self.error = None if self._gave_in else error
            if self.book.lost is None and not self._gave_in:
                self._end_broken(error)
        finally:
            capture.uninstall()
            driving.reset(before)
            self._close()

    def _drive_once(self) -> bool:
        """Begin, and run to the end; False where the scheduler was lost on the way."""
        try:
            self._start()
            with faultpoint("driver.begin"):
                self._begin()
            self._loop()
        except SchedulerLost as error:
            self._salvage()
            self._ended, ended = self.book.recorder.ended, self._ended
            self._beginnings = 0 if self._ended > ended else self._beginnings + 1
            if self._control.cancelled or self._beginnings >= MOST_BEGINNINGS:
                raise
            self.book.say(f"{WAITING}{error}")
            self.work.executor.close(now=True)
            return False
        return True

    def _start(self) -> None:
        """Start the executor; wait for a scheduler that was there before."""
        patient = self.fragments > 0 or self.work.patient
        patience = float(str(settings.get("runs.patience"))) if patient else SHORT_SECONDS
        standby.start(self.work.executor, self._receive, patience, self._wait_for_scheduler)
        if self.book.message.startswith(WAITING):
            self.book.say("")
        check_places(self.work.results, self.work.executor)

    def _wait_for_scheduler(self, error: Unreachable, seconds: float) -> None:
        """There is nothing to hear of but orders; what was approved is found on record later."""
        self.book.say(f"{WAITING}{error}")
        self.book.flush()
        try:
            message = self._inbox.get(timeout=seconds)
        except queue.Empty:
            return
        if isinstance(message, Exception):
            raise message
        if isinstance(message, Order):
            if message.what == orders.RESUME:
                self.told.obeyed.append(message.seq)
            if message.what in orders.STOPS:
                raise error

    def _salvage(self) -> None:
        """What was reported before the scheduler was lost counts."""
        self._late.clear()
        while True:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                break
            if isinstance(message, Sent):
                self._take_in(message)
            elif isinstance(message, Order | Exception) and not isinstance(message, Failed):
                self._inbox.put(message)
                break
        if self._pruner is not None:
            self._pruner.tidy()
        session.forget(self._tokens)
        self._tokens = []

    def _begin(self) -> None:
        """Make the plan of what is known: by the record, and by the results that nobody lived to tell of."""
        work = self.work
        past = None
        if self.fragments or work.how is not None:
            self.book.flush(wait=None)
            how = RESUME if self.fragments or work.how is None else work.how
            patience = float(str(settings.get("runs.patience")))
            past = patiently(lambda: recall(work.runs.find(work.run_id), work.runs, work.results, how), patience)
            self.book.reopen(past, how)
        self._token = work.run_id[:8] + f"{time.time_ns() % 0xFFFFF:05x}"
        job = make_job(work, past, self._control)
        self._ship({self._token: job})
        self._plan, self._pruner = make_plan(work, past, self._token, job, self.book)

    def _loop(self) -> None:
        plan = self._plan
        while True:
            self._settle()
            if plan.is_done or (self._control.cancelled and not plan.in_flight) or self._control.aborted:
                break
            if not self._control.cancelled and self._submit():
                continue
            if plan.is_paused:
                self._finish(states.PAUSED, self.book.why_paused)
                return
            if plan.is_stuck and self._inbox.empty():
                raise RuntimeError(
                    f"nothing can run, and these are not done: {[*plan.unfinished()][:5]}; please report this"
                )
            self._wait()
        self._conclude()

    def _submit(self) -> bool:
        """Hand the executor what the plan says. Whether that may have changed what is next."""
        dispatch = self._plan.take(time.time())
        if dispatch.shipments:
            self._ship(dispatch.shipments)
        if dispatch.released:
            self.work.executor.release(dispatch.released)
        if dispatch.fragment is not None:
            self.fragments += 1
            self._submitting = True
            try:
                with faultpoint("driver.submit"):
                    self.work.executor.submit(dispatch.fragment)
            except Exception:
                if self.work.executor.processes:  # say which task it was, where its arguments are the reason
                    for task in dispatch.fragment.tasks.values():
                        portable(task)
                raise
            finally:
                self._submitting = False
        if self.work.executor.inline and dispatch.fragment is not None:
            self._drain()
            return True
        self._settle()
        return self._plan.is_done

    def _ship(self, objects: Mapping[str, object]) -> None:
        self._tokens += objects
        if not self.work.executor.processes:
            session.register(objects)
            return
        self.work.executor.ship({token: portable(made) for token, made in objects.items()})

    def _receive(self, message: Message) -> None:
        self._inbox.put(message)
        # An inline executor runs the fragment in this very thread: the record must not wait for its end.
        busy = self._submitting and self.work.executor.inline and threading.get_ident() == self._thread
        if busy and self.book.is_due:
            self._drain()
            self.book.flush()

    def _wait(self) -> None:
        """Wait for something to do, at most until the next timer or flush."""
        wait = self.book.flush_seconds if self.book.recorder.size else 1.0
        due = self._plan.next_due
        if due is not None and not self._control.cancelled:
            wait = min(wait, due - time.time())
        if self._late:
            wait = min(wait, 0.1)
        try:
            message = self._inbox.get(timeout=max(wait, 0.001))
        except queue.Empty:
            pass
        else:
            self._take_in(message)
            self._drain()
        if self.book.is_due:
            self.book.flush()

    def _drain(self) -> None:
        while True:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                return
            self._take_in(message)

    def _take_in(self, message: Message | Order | Exception) -> None:
        if isinstance(message, Sent):
            for event in message.payload:  # type: ignore[attr-defined]
                self._fold(event)
        elif isinstance(message, Done):
            self._flush_local()
            self._late[message.fragment] = (time.monotonic() + GRACE_SECONDS, message.lost)
        elif isinstance(message, Starved):
            self.book.say(f"{WAITING}{message.reason}" if message.reason else "")
        elif isinstance(message, Order):
            self._obey(message)
        else:
            raise message.error if isinstance(message, Failed) else message

    def _flush_local(self) -> None:
        """Events of tasks in this process need not wait for their timer."""
        if not self.work.executor.processes:
            session.attach(self._token).flush()
            self._drain()

    def _settle(self) -> None:
        """Account for fragments that Dask is through with: their events may come late, and some may never come."""
        self.book.note(self._plan.news())
        for fragment, (deadline, lost) in list(self._late.items()):
            if self._plan.fragment_done(fragment):
                del self._late[fragment]
            elif time.monotonic() > deadline or (lost and not self._control.cancelled and self._inbox.empty()):
                del self._late[fragment]
                self._plan.audit(fragment, blamed(lost), reason(lost))
            elif self._control.cancelled:
                del self._late[fragment]
                self._plan.forget(fragment)
        self.book.note(self._plan.news())

    def _fold(self, event: Event) -> None:
        if isinstance(event, Expanded) and isinstance(event.graph, Packed):
            event = event._replace(graph=session.unpack(event.graph, self._unpacked))
        self.book.record(event)
        with faultpoint("driver.fold"):
            self._plan.fold(event)

    # Ending -----------------------------------------------------------------------------------------------------------

    def _conclude(self) -> None:
        """Every task run gets a final state, and with them the run; or somebody pauses it, and the rest stays open."""
        stop = self.told.stop if self._control.cancelled and not self._plan.is_done else None
        if stop is not None and stop.what == orders.PAUSE:
            self.book.set_pause(by=stop.by, note=stop.note)
            self._finish(states.PAUSED, f"paused by {stop.by}{f': {stop.note}' if stop.note else ''}")
            return
        self.book.conclude(self._plan.learned)
        message = f"cancelled by {stop.by}" if stop else ""
        if self._control.cancelled:
            for path, index in list(self._plan.unfinished()):
                if self.book.recorder.state_of(path, index) not in states.FINAL:
                    self.book.record(TaskEvent(path, index, states.CANCELLED, time.time(), message=message))
        deciding = self._plan.deciding()
        if any(type in states.FAILURE for type in deciding):
            self._finish(states.FAILED, states.counted(deciding, states.FAILURE))
        elif self._control.cancelled and not self._plan.is_done:
            self._finish(states.CANCELLED, message)
        elif states.CANCELLED in deciding:
            self._finish(states.CANCELLED, states.counted(deciding, {states.CANCELLED}))
        else:
            self._finish(states.SUCCESS)

    def _finish(self, state: str, message: str = "") -> None:
        if self._plan.is_done:
            self.book.leave_out()
        # The outputs that only the executor has must be here before the record says that the run is done.
        deadline = time.monotonic() + GRACE_SECONDS
        while self._plan.in_flight and not self._control.cancelled and time.monotonic() < deadline:
            self._wait()
            self._settle()
        self.values.update(fetched(self._plan, self.work.executor, self.work.graph.returned))
        self.book.recorder.carried_out(*self.told.obeyed)
        with faultpoint("driver.finish"):
            self.book.enter(state, message, ended=None if state == states.PAUSED else time.time())

    def _end_broken(self, error: BaseException) -> None:
        unfinished = list(self._plan.unfinished()) if self.fragments else []
        self.book.recorder.carried_out(*self.told.obeyed)
        by = self.told.stop.by if self.told.stop else ""
        self.book.break_off(error, unfinished, begun=self.fragments > 0, by=by)

    def flush(self) -> None:
        """Have everything so far on record: somebody is about to read it."""
        self.book.flush(wait=LOOK_SECONDS)

    def _unheard_stop(self) -> Order | None:
        """What somebody told the driver while it was ending: a run that has just paused can still be cancelled."""
        if self.book.state != states.PAUSED:
            return None
        for row in patiently(lambda: self.work.runs.orders(self.work.run_id, after=self.book.heard)):
            self._hear(row)  # and no more: the run was given back
        while True:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                return None
            if isinstance(message, Order) and message.what in orders.STOPS:
                return message

    def _close(self) -> None:
        try:
            # Before the run is given back: what still runs must not commit for a run that is another's.
            self.work.executor.close(now=self._control.aborted or self.book.lost is not None)
        except Exception as error:
            logger.warning("closing the executor: %s", error)
        try:
            if self._pruner is not None:
                self._pruner.tidy()
            self.book.close()
            late = self.told.stop if self._gave_in else self._unheard_stop()
            if late is not None and self.book.lost is None:
                with suppress(StaleOwner):  # whoever has it now was told, too
                    closing.stop(self.work.runs, self.work.run_id, late)
        except Exception as error:
            self.error = self.error or error
        finally:
            session.forget(self._tokens)
            self.__dict__.pop("_plan", None)  # whoever keeps the run should not keep what it was made of
            self.finished.set()
