"""The driver: the one loop that submits fragments, folds events, keeps timers and writes the record.

`take → submit → wait → fold → record`, until the plan is done. It decides nothing itself: what to run next is the
plan's, what a row looks like the recorder's. It runs in a thread of its own, or in the caller's where the executor is
inline.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from dataflow import capture, prune, session, settings, states
from dataflow.assignment import Assignment, check_places
from dataflow.definition import Definition
from dataflow.events import Event, Expanded, Packed, TaskEvent
from dataflow.failure import describe, one_line
from dataflow.fetching import fetched
from dataflow.hooks import Hooks
from dataflow.losses import blamed, portable, reason
from dataflow.plan import Plan
from dataflow.recorder import Recorder
from dataflow.recovery import LEASE_SECONDS
from dataflow.session import Control, Job
from dataflow.works import Known
from dataflow_executors.base import Done, Failed, Message, Sent
from dataflow_storage import StoreUnavailable

logger = logging.getLogger("dataflow")
# How long events of a finished fragment may be on their way: they are shipped every 50 ms.
GRACE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class _Order:
    """What another thread asks of the driver."""

    what: str  # "cancel", "abort" or "resume"


class Driver:
    """Drives one run to its end, or to a pause.

    State: `values`, outputs that were not stored, by (path, index); `state` and `message`, the run's; `error`, what
    broke the driver itself; `progress`, called after each round with the plan and the recorder's counts.
    """

    def __init__(self, assignment: Assignment) -> None:
        self.work = assignment
        self.values: dict[tuple[str, int], object] = {}
        self.state = assignment.before
        self.message = ""
        self.error: BaseException | None = None
        self.finished = threading.Event()
        self._inbox: queue.SimpleQueue[Message | _Order] = queue.SimpleQueue()
        self._control = Control()
        past = assignment.past
        self._recorder = Recorder(past.recorded, past.listed) if past else Recorder()
        self._token = assignment.run_id[:8] + f"{time.time_ns() % 0xFFFFF:05x}"
        self._tokens: list[str] = []
        self._late: dict[int, tuple[float, Mapping[str, BaseException]]] = {}
        self._submitting = False
        self._epoch = assignment.epoch
        self._thread = 0
        self._flushed = self._renewed = time.monotonic()
        self._flush_seconds = float(str(settings.get("runs.flush")))
        self._positions = 0
        self._unpacked: dict[str, Definition] = {}
        self._pruner: prune.Pruner | None = None
        self._pruned: dict[tuple[str, int], Known] = {}
        self._hooks = Hooks(assignment.hooks, assignment.view, self._recorder, self._control)
        self.fragments = 0

    # Orders from other threads
    # -----------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop cleanly: what runs may finish, nothing else starts."""
        self._control.cancelled = True
        self._inbox.put(_Order("cancel"))

    def abort(self) -> None:
        """Stop at once: what runs is abandoned, or killed where it is in a child process."""
        self._control.cancelled = self._control.aborted = True
        self._inbox.put(_Order("abort"))

    def resume(self) -> None:
        """Let everything go on that waits for a person."""
        self._inbox.put(_Order("resume"))

    # The loop ---------------------------------------------------------------------------------------------------------

    def announce(self) -> None:
        """Put the graph's nodes on record, so that whoever holds the run can ask for them at once."""
        self._recorder.add_nodes(self.work.graph.nodes, 0)
        self.flush()

    def drive(self) -> None:
        """Run to the end. Whatever happens is on record; what broke the driver is in `error`."""
        work = self.work
        self._thread = threading.get_ident()
        capture.install()
        try:
            self._enter(states.RUNNING, started=time.time())
            self.flush()
            work.executor.start(self._receive)
            check_places(work.results, work.executor)
            self._reopen()
            self._plan = self._make_plan()
            self._note_pruned()
            self._loop()
        except BaseException as error:
            self.error = error
            self._end_broken(error)
        finally:
            capture.uninstall()
            self._close()

    def _reopen(self) -> None:
        """A run that is taken up again: what had not succeeded is pending once more, what was found is on record."""
        past = self.work.past
        if past is None:
            return
        for (path, index), state in past.recorded.items():
            # What was found had ended otherwise, as far as the record knew: nothing follows that but a new start.
            if state != states.PENDING and ((path, index) not in past.known or (path, index) in past.found):
                self._recorder.add(TaskEvent(path, index, states.PENDING, time.time(), message="taken up again"))
        for (path, index), known in past.found.items():
            attempt = past.attempts.get((path, index), 0)
            self._recorder.add(
                TaskEvent(
                    path, index, states.SUCCESS, time.time(), attempt, "committed before", reference=known.reference
                )
            )

    def _make_plan(self) -> Plan:
        work, past = self.work, self.work.past
        job = Job(
            run_id=work.run_id,
            run_name=work.run_name,
            flow=work.graph.flow,
            parameters=work.graph.parameters,
            logical_time=work.logical_time,
            store=work.results,
            channel=work.executor.channel,
            log_prints=work.log_prints,
            grace=float(str(settings.get("tasks.grace"))),
            keyed=prune.is_keyed(work.graph),
            refresh=work.refresh,
            control=self._control,
        )
        self._ship({self._token: job})
        known = dict(past.known) if past else {}
        if job.keyed:
            self._pruner = prune.Pruner(
                session.Session(self._token, job), work.graph, known, past.unneeded if past else frozenset()
            )
            try:
                self._pruned = self._pruner.prune()
            except StoreUnavailable as error:  # then tasks look for themselves
                self._recorder.add_log(time.time(), logging.WARNING, f"the cache could not be read: {error}")
        return Plan(
            work.graph,
            run=self._token,
            chains=work.executor.chains,
            slots=work.executor.slots,
            known={**known, **self._pruned},
            attempts=past.attempts if past else None,
            resumed=past.paused if past else (),
        )

    def _note_pruned(self) -> None:
        """What need not run goes on record, and its hooks hear of it, as if it had."""
        self._note_news()
        for (path, index), known in self._pruned.items():
            now = time.time()
            self._record(TaskEvent(path, index, known.type, now, message=known.message, reference=known.reference))

    def _loop(self) -> None:
        plan = self._plan
        while True:
            self._settle()
            if plan.is_done or (self._control.cancelled and not plan.in_flight) or self._control.aborted:
                break
            if not self._control.cancelled and self._submit():
                continue
            if plan.is_paused:
                self._finish(states.PAUSED, "waits for approval: run.resume() lets it go on")
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
        if busy and time.monotonic() - self._flushed > self._flush_seconds:
            self._drain()
            self.flush()

    def _wait(self) -> None:
        """Wait for something to do, at most until the next timer or flush."""
        wait = self._flush_seconds if self._recorder.size else 1.0
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
        if time.monotonic() - self._flushed >= self._flush_seconds:
            self.flush()

    def _drain(self) -> None:
        while True:
            try:
                message = self._inbox.get_nowait()
            except queue.Empty:
                return
            self._take_in(message)

    def _take_in(self, message: Message | _Order) -> None:
        if isinstance(message, Sent):
            for event in message.payload:  # type: ignore[attr-defined]
                self._fold(event)
        elif isinstance(message, Done):
            self._flush_local()
            self._late[message.fragment] = (time.monotonic() + GRACE_SECONDS, message.lost)
        elif isinstance(message, Failed):
            raise message.error
        elif message.what == "resume":
            for path, index in self._plan.resume():
                self._fold(TaskEvent(path, index, states.PENDING, time.time(), message="resumed"))
        elif message.what == "abort":
            from dataflow import isolation

            isolation.stop_all()
        else:
            self.work.executor.cancel()

    def _flush_local(self) -> None:
        """Events of tasks in this process need not wait for their timer."""
        if not self.work.executor.processes:
            session.attach(self._token).flush()
            self._drain()

    def _settle(self) -> None:
        """Account for fragments that Dask is through with: their events may come late, and some may never come."""
        self._note_news()
        for fragment, (deadline, lost) in list(self._late.items()):
            if self._plan.fragment_done(fragment):
                del self._late[fragment]
            elif time.monotonic() > deadline or (lost and not self._control.cancelled and self._inbox.empty()):
                del self._late[fragment]
                self._plan.audit(fragment, blamed(lost), reason(lost))
            elif self._control.cancelled:
                del self._late[fragment]
                self._plan.forget(fragment)
        self._note_news()

    def _fold(self, event: Event) -> None:
        if isinstance(event, Expanded) and isinstance(event.graph, Packed):
            event = event._replace(graph=session.unpack(event.graph, self._unpacked))
        self._record(event)
        self._plan.fold(event)

    def _record(self, event: Event) -> None:
        if self._recorder.add(event) and isinstance(event, TaskEvent):
            self._hooks.task_changed(event)

    def _note_news(self) -> None:
        """What the plan decided itself goes on record too."""
        news = self._plan.news()
        if news.nodes:
            self._recorder.add_nodes(news.nodes, self._positions)
            self._positions += len(news.nodes)
            self._hooks.add(news.nodes)
        for path, width in news.widths:
            self._recorder.set_width(path, width)
        for event in news.events:
            self._record(event._replace(time=time.time()))

    # Ending -----------------------------------------------------------------------------------------------------------

    def _conclude(self) -> None:
        """Every task run gets a final state, and with them the run."""
        message = "cancelled by the user" if self._control.cancelled else ""
        if self._control.cancelled:
            for path, index in list(self._plan.unfinished()):
                if self._recorder.state_of(path, index) not in states.FINAL:
                    self._record(TaskEvent(path, index, states.CANCELLED, time.time(), message=message))
        deciding = self._plan.deciding()
        if any(type in states.FAILURE for type in deciding):
            self._finish(states.FAILED, _counted(deciding, states.FAILURE))
        elif self._control.cancelled and not self._plan.is_done:
            self._finish(states.CANCELLED, message)
        elif states.CANCELLED in deciding:
            self._finish(states.CANCELLED, _counted(deciding, {states.CANCELLED}))
        else:
            self._finish(states.SUCCESS)

    def _finish(self, state: str, message: str = "") -> None:
        # The outputs that only the executor has must be here before the record says that the run is done.
        deadline = time.monotonic() + GRACE_SECONDS
        while self._plan.in_flight and not self._control.cancelled and time.monotonic() < deadline:
            self._wait()
            self._settle()
        self.values.update(fetched(self._plan, self.work.executor, self.work.graph.returned))
        self._enter(state, message, ended=None if state == states.PAUSED else time.time())

    def _enter(self, state: str, message: str = "", **columns: object) -> None:
        before, self.state, self.message = self.state, state, message
        if before != state:  # a driver that died left it Running
            states.check_transition("the run", before, state, states.RUN_TRANSITIONS)
        now = time.time()
        self._recorder.set_run(now, state, message, **columns)
        self._hooks.run_changed(states.State(type=state, message=message, time=now))

    def _end_broken(self, error: BaseException) -> None:
        failure = describe(error)
        self._recorder.add_log(time.time(), logging.CRITICAL, failure["full"])
        aborted = isinstance(error, KeyboardInterrupt)
        for path, index in list(self._plan.unfinished()) if self.fragments else ():
            before = self._recorder.state_of(path, index)
            if aborted or before == states.RUNNING:
                type, message = (
                    (states.CANCELLED, "stopped at once") if aborted else (states.CRASHED, "the driver broke")
                )
                self._recorder.add(TaskEvent(path, index, type, time.time(), message=message))
        if self.state not in states.RUN_FINAL:
            self._enter(
                states.CANCELLED if aborted else states.CRASHED,
                "stopped at once by the user" if aborted else f"the driver broke: {one_line(failure)}",
                ended=time.time(),
            )

    def flush(self) -> None:
        """Write what was gathered: one transaction."""
        batch = self._recorder.take()
        if batch is not None:
            self.work.runs.write(self.work.run_id, self._epoch, batch)
        self._flushed = time.monotonic()
        if self._flushed - self._renewed > LEASE_SECONDS / 3:
            self.work.runs.renew(self.work.run_id, self._epoch, LEASE_SECONDS)
            self._renewed = self._flushed

    def _close(self) -> None:
        try:
            if self._pruner is not None:
                self._pruner.tidy()
            self.flush()
            self.work.runs.release(self.work.run_id, self._epoch)
        except Exception as error:
            self.error = self.error or error
        finally:
            try:
                self.work.executor.close(now=self._control.aborted)
            except Exception as error:
                logger.warning("closing the executor: %s", error)
            session.forget(self._tokens)
            self.finished.set()


def _counted(types: Mapping[str, int], which: frozenset[str] | set[str]) -> str:
    return ", ".join(f"{n} {type}" for type, n in sorted(types.items()) if type in which)
