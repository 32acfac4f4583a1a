"""Run control against a model: whatever is asked of a run and wherever its driver dies, it goes on as it should.

A driver "dies" by an error at one passage of a durable step, and at every one after it: a dead process writes nothing.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Any

import dask
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test
from sqlalchemy import text

from dataflow import flow, get_run, states, task, triggers, wait_for_input
from dataflow.errors import NoSuchTask, NothingAsked, NothingToRetry, RunFailed, RunNotResumable
from dataflow.events import label
from dataflow.places import open_runs
from dataflow.recover import abandoned_runs, recover
from dataflow.recovery import anew_of
from dataflow.result_keys import split_key, wanted_generation
from dataflow_storage import ResultStore
from dataflow_storage.errors import StaleOwner
from dataflow_storage.faults import install

EXPLORE = int(os.environ.get("DATAFLOW_EXPLORE", "0"))  # so many times as many examples, at random
BOUNDED = settings(
    max_examples=25 * max(1, EXPLORE),
    stateful_step_count=16,
    deadline=None,
    database=None,
    derandomize=not EXPLORE,
    suppress_health_check=list(HealthCheck),
)
BODIES: Counter[str] = Counter()
BROKEN: set[str] = set()
STEPS = [
    "runs.create", "runs.claim", "runs.write", "runs.order", "runs.answer", "runs.release",
    "results.commit", "driver.begin", "driver.submit", "driver.fold", "driver.finish",
]  # fmt: skip
MOMENTS = st.tuples(
    st.sampled_from(STEPS), st.sampled_from([1, 1, 1, 2, 2, 3, 5, 8]), st.sampled_from(["before", "after"])
)
DEATHS = MOMENTS | MOMENTS | st.none()
WAITING = {states.PENDING, states.RUNNING, states.PAUSED}


class Killed(BaseException):
    """This process is as good as dead."""


@task
def first() -> int:
    BODIES["first"] += 1
    return 1


@task
def fragile(x: int) -> int:
    BODIES["fragile"] += 1
    if "fragile" in BROKEN:
        raise ValueError("broken")
    return x + 1


@task(trigger=triggers.manual)
def deploy(x: int) -> int:
    BODIES["deploy"] += 1
    return x + 10


@task
def asks(x: int) -> int:
    answer = wait_for_input(int, "how many?")
    BODIES["asks"] += 1
    return x + answer


@task
def each(x: int) -> int:
    BODIES[f"each[{x}]"] += 1
    return x


@task
def last(*values: Any) -> int:
    BODIES["last"] += 1
    return sum(value if isinstance(value, int) else sum(value) for value in values)


@flow
def controlled() -> object:
    begun = first()
    return last(deploy(fragile(begun)), asks(begun), each.map(range(3)))


RESULT = (2 + 10) + (1 + 5) + 3


class Control(RuleBasedStateMachine):
    """State: `run`, once there is one; `approved`, task runs that were answered and have not ended."""

    def __init__(self) -> None:
        super().__init__()
        self.home = tempfile.TemporaryDirectory()
        os.environ["DATAFLOW_HOME"] = self.home.name
        BODIES.clear()
        BROKEN.clear()
        self.store = open_runs()
        self.run_id = ""
        self.approved: set[str] = set()
        self.kept: set[str] = set()
        self.before = BODIES.copy()
        self.dead = False

    def teardown(self) -> None:
        install(None)
        self.store.close()
        self.home.cleanup()

    # What is there ----------------------------------------------------------------------------------------------------

    @property
    def run(self) -> Any:
        return get_run(self.run_id)

    def rows(self) -> dict[str, str]:
        return {one.label: one.state.type for one in self.run.task_runs}

    def committed(self) -> set[str]:
        """What has ended well, whether or not that is on record, but for what was retried since."""
        if not self.run_id:
            return set()
        store = ResultStore(Path(self.home.name, "results"))
        found = {name for name, state in self.rows().items() if state == states.SUCCESS}
        for key in store.keys(f"{self.run_id}/"):
            path, index, generation = split_key(key.partition("/")[2])
            for n in [index] if index < 0 else [n for n in store.find_many(key) or {} if n >= 0]:
                if generation >= wanted_generation(anew_of(self.run.record), path, n):
                    found.add(label(path, n))
        return found

    @property
    def state(self) -> str:
        return str(self.run.record.state)

    def is_free(self) -> bool:
        return bool(self.run_id) and not self.dead

    # Dying ------------------------------------------------------------------------------------------------------------

    def attempt(self, death: tuple[str, int, str] | None, call: Any) -> bool:
        """Do something; whether nobody died of it."""
        self.kept, self.before = self.committed(), BODIES.copy()
        passed, dead = 0, False

        def fault(name: str, when: str) -> None:
            nonlocal passed, dead
            if death is not None and not dead and (name, when) == (death[0], death[2]):
                passed += 1
                dead = passed == death[1]
            if dead and threading.current_thread().name == "dataflow-scribe":  # which must end, but quietly
                raise StaleOwner("killed", 0)
            if dead:
                raise Killed

        install(fault)
        try:
            call()
        except (Killed, StaleOwner):
            assert dead
        except RunFailed:
            pass
        finally:
            install(None)
        if dead and not self.run_id and (rows := self.store.runs()):
            self.run_id = rows[0].id
        self.dead = dead and bool(self.run_id) and bool(self.store.find(self.run_id).lease_until)
        return not dead

    def unharmed(self, *, retried: bool = False) -> str:
        """The state in which the run must be when it is driven now and nobody dies."""
        rows, done = self.rows(), self.committed()
        spent = {states.FAILED, states.TRIGGER_FAILED}
        failed = "fragile" not in done and ((rows.get("fragile") in spent and not retried) or "fragile" in BROKEN)
        waits = "asks" not in self.approved | done or (not failed and "deploy" not in self.approved | done)
        return states.PAUSED if waits else states.FAILED if failed else states.SUCCESS

    # What may happen --------------------------------------------------------------------------------------------------

    @precondition(lambda self: not self.run_id)
    @rule(death=DEATHS, broken=st.booleans())
    def submit(self, death: tuple[str, int, str] | None, broken: bool) -> None:
        BROKEN.update({"fragile"} if broken else ())

        def call() -> None:
            run = controlled.submit(executor="sync")
            self.run_id = run.id
            run.wait()

        if self.attempt(death, call):
            assert self.state == states.PAUSED

    @rule()
    def fix(self) -> None:
        BROKEN.clear()

    @rule()
    def spoil(self) -> None:
        BROKEN.add("fragile")

    @precondition(lambda self: self.dead)
    @rule()
    def expire(self) -> None:
        assert self.state not in WAITING or not [row for row in abandoned_runs(self.store) if row.id == self.run_id]
        with self.store._database.writing() as connection:
            connection.execute(text("UPDATE runs SET lease_until = 0"))
        self.dead = False

    @precondition(lambda self: self.is_free())
    @rule(death=DEATHS)
    def recover(self, death: tuple[str, int, str] | None) -> None:
        state = self.state
        ordered = [order.kind for order in self.store.orders(self.run_id)]
        wanted = self.unharmed()

        def call() -> None:
            for one in recover(self.store):
                run: Any = one.run
                run.wait()
                run._thread.join()

        if self.attempt(death, call):
            if state in (states.PENDING, states.RUNNING) or (state == states.PAUSED and "resume" in ordered):
                assert self.state == wanted
            else:
                assert self.state == state

    @precondition(lambda self: self.is_free())
    @rule(death=DEATHS)
    def resume(self, death: tuple[str, int, str] | None) -> None:
        state, rows, record = self.state, self.rows(), self.run.record
        by_person = state == states.PAUSED and "paused" in record.details
        plain = {name for name in ["deploy"] if rows.get(name) == states.PAUSED and not by_person}
        self.approved |= plain
        wanted = self.unharmed()
        refused = False

        def call() -> None:
            nonlocal refused
            try:
                self.run.resume(raise_on_failure=False)
            except (RunNotResumable, NothingAsked):
                refused = True

        if self.attempt(death, call):
            if refused:
                only_values = state == states.PAUSED and not plain and "asks" not in self.approved
                assert state in (states.SUCCESS, states.FAILED) or only_values
                assert self.state == state
            else:
                assert self.state == wanted

    @precondition(lambda self: self.is_free() and self.state not in (states.SUCCESS,))
    @rule(death=DEATHS, from_=st.sampled_from(["", "", "each[1]", "first"]))
    def retry(self, death: tuple[str, int, str] | None, from_: str) -> None:
        rows = self.rows()
        self.approved = {name for name in self.approved if rows.get(name) == states.PAUSED}
        wanted = self.unharmed(retried=True) if not from_ else None

        def call() -> None:
            with suppress(NothingToRetry):
                self.run.retry(from_=from_, raise_on_failure=False)

        lived = self.attempt(death, call)
        if from_:  # that runs again, and all that follows
            self.kept = set()
        elif lived:
            assert self.state == wanted

    @precondition(lambda self: self.is_free())
    @rule(death=DEATHS, name=st.sampled_from(["deploy", "asks"]), go_on=st.booleans())
    def approve(self, death: tuple[str, int, str] | None, name: str, go_on: bool) -> None:
        state, rows = self.state, self.rows()
        given = {"value": 5} if name == "asks" else {}
        refused = False

        def call() -> None:
            nonlocal refused
            try:
                self.run.approve(name, resume=go_on, raise_on_failure=False, **given)
            except (NothingAsked, NoSuchTask):  # its driver may have died before the graph was on record
                refused = True

        could = rows.get(name) == states.PAUSED and name not in self.approved
        lived = self.attempt(death, call)
        if lived:
            assert refused != could
        if (
            any((answer.path, answer.attempt) for answer in self.store.answers(self.run_id) if answer.path == name)
            and could
        ):
            self.approved.add(name)
        if lived and could:
            assert self.state == (self.unharmed() if go_on else state)

    @precondition(lambda self: self.is_free())
    @rule(death=DEATHS)
    def pause(self, death: tuple[str, int, str] | None) -> None:
        state = self.state
        if self.attempt(death, lambda: self.run.pause("a while")):
            assert self.state == (state if state in states.RUN_FINAL else states.PAUSED)

    @precondition(lambda self: self.is_free())
    @rule(death=DEATHS, now=st.booleans())
    def cancel(self, death: tuple[str, int, str] | None, now: bool) -> None:
        state = self.state
        if self.attempt(death, lambda: self.run.cancel(now=now)):
            assert self.state == (state if state in states.RUN_FINAL else states.CANCELLED)
            assert not self.rows().keys() - self.committed() or not set(self.rows().values()) & WAITING

    # What always holds ------------------------------------------------------------------------------------------------

    @invariant()
    def nothing_committed_runs_again(self) -> None:
        again = {name for name in self.kept if BODIES[name] > self.before[name]}
        assert not again, again

    @invariant()
    def the_record_is_whole(self) -> None:
        if not self.run_id:
            return
        counted: dict[str, Counter[str]] = {}
        for row in self.store.task_runs(self.run_id):
            counted.setdefault(row.path, Counter())[row.state] += 1
        for path, told in self.run.counts.items():
            missing = (3 if path == "each" else 1) - sum(counted.get(path, Counter()).values())
            assert told == dict(counted.get(path, Counter()) + Counter({states.PENDING: missing})), path

    @invariant()
    def a_run_is_driven_or_ended_or_can_be_taken_up(self) -> None:
        if not self.run_id or self.dead:
            return
        row = self.run.record
        if row.state in (states.PENDING, states.RUNNING):
            assert [one.id for one in abandoned_runs(self.store)] == [self.run_id]
        else:
            assert row.owner is None or row.lease_until == 0

    @invariant()
    def a_success_has_the_result(self) -> None:
        if self.run_id and self.state == states.SUCCESS:
            assert self.run.result() == RESULT


def test_whatever_is_asked_and_whoever_dies_the_run_goes_on_as_it_should(monkeypatch: Any) -> None:
    monkeypatch.setenv("DATAFLOW_HOME", "set by each example")
    with dask.config.set({"dataflow.runs.recoveries": 1000, "dataflow.runs.flush": 0.0, "dataflow.runs.lease": 600.0}):
        run_state_machine_as_test(Control, settings=BOUNDED)
