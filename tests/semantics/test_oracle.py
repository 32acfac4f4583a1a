"""Random programs on real executors against a plain interpreter: values, states, attempts, interruptions, retries.

Bounded and the same each time. DATAFLOW_EXPLORE=20 runs twenty times as many, at random.
"""

from __future__ import annotations

import itertools
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataflow import states
from tests.semantics.drawing import programs
from tests.semantics.oracle import End, Oracle
from tests.semantics.programs import Scope, Writer, plain

EXPLORE = int(os.environ.get("DATAFLOW_EXPLORE", "0"))
settings.register_profile(
    "bounded", deadline=None, database=None, derandomize=not EXPLORE, suppress_health_check=list(HealthCheck)
)
EXAMPLES = {"sync": 60, "threads": 60, "cluster": 10}
pytestmark = pytest.mark.timeout(600)  # a failure takes minutes to shrink
Property = Callable[..., None]


def check(place: tuple[str, Any], claim: Property, *drawn: st.SearchStrategy[Any], share: float = 1.0) -> None:
    """Hold a claim against as many examples as an executor can afford."""
    examples = max(1, int(EXAMPLES[place[0]] * share)) * max(1, EXPLORE)
    settings(settings.get_profile("bounded"), max_examples=examples)(given(*drawn)(claim))()


@pytest.fixture(autouse=True)
def nothing_refused(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The recorder refuses a transition that is not legal, and tells."""
    with caplog.at_level(logging.WARNING, "dataflow"):
        yield
        assert [record.getMessage() for record in caplog.records if record.name.startswith("dataflow")] == []


# What a run shows -----------------------------------------------------------------------------------------------------


def shown(run: Any) -> dict[str, str]:
    """The state's type of every task run, by label."""
    return {one.label: one.state.type for one in run.task_runs}


def wanted(oracle: Oracle) -> dict[str, str]:
    return {label: end.state for label, end in oracle.ends.items()}


def ran(ledger: Path) -> Counter[str]:
    """How often each body ran."""
    return Counter(ledger.read_text().splitlines() if ledger.exists() else [])


def check_values(run: Any, oracle: Oracle) -> None:
    """What was stored of each task run, and what the run returns."""
    stored = {one.label: plain(one.result()) for one in run.task_runs if one.reference is not None}
    assert stored == {label: oracle.ends[label].value for label in stored}
    if run.state.type == states.SUCCESS:
        assert plain(run.result()) == oracle.returned


def check_record(run: Any) -> None:
    """Transitions are legal, begin where they must and end in the state that is shown; counts tell the same."""
    current: dict[tuple[str | None, int], str] = {}
    for row in run._store.transitions(run.id):
        who = row.path, row.idx
        before = current.get(who, states.PENDING)
        table = states.TASK_TRANSITIONS if row.path is not None else states.RUN_TRANSITIONS
        assert row.state in table[before], (who, before, row.state)
        current[who] = row.state
    # A map that had ended as one before it had children leaves a row behind; its children stand for it now.
    opened = {node.path for node in run._store.nodes(run.id) if node.kind == "map" and node.width is not None}
    current = {who: state for who, state in current.items() if not (who[0] in opened and who[1] < 0)}
    rows = [row for row in run._store.task_runs(run.id) if not (row.path in opened and row.idx < 0)]
    assert {(row.path, row.idx): row.state for row in rows} == {
        who: state for who, state in current.items() if who[0] is not None
    }
    counts = {(path, state): n for path, found in run.counts.items() for state, n in found.items() if n}
    assert counts == Counter((row.path, row.state) for row in rows)


def check_attempts(run: Any, oracle: Oracle, ledger: Path) -> None:
    """Each body ran as often as it must, and the record has an attempt for each."""
    wanted_runs = Counter({label: end.attempts for label, end in oracle.ends.items() if end.attempts})
    assert ran(ledger) == wanted_runs, (ran(ledger), wanted_runs)
    started = Counter(
        row.path if row.idx < 0 else f"{row.path}[{row.idx}]"
        for row in run._store.transitions(run.id)
        if row.path is not None and row.state == states.RUNNING and not row.path.endswith("/return")
    )
    assert started == ran(ledger)


# Claims ---------------------------------------------------------------------------------------------------------------


def test_a_run_gives_what_the_oracle_says(place: tuple[str, Any], ledgers: Iterator[Path]) -> None:
    def claim(program: Scope) -> None:
        oracle, ledger = Oracle(program), next(ledgers)
        run = Writer(ledger).flow(program).run(executor=place[1], raise_on_failure=False)
        assert shown(run) == wanted(oracle)
        assert run.state.type == oracle.state, run.state
        check_values(run, oracle)
        check_attempts(run, oracle, ledger)
        check_record(run)

    check(place, claim, programs())
    if place[0] == "threads":
        for batch in (1, 2, 7, 1000):
            with dask.config.set({"dataflow.tasks.batch": batch}):
                check(place, claim, programs(), share=0.25)


class Breaker:
    """Cancels a run when it is rung for the n-th time."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.run: Any = None
        self._rings = itertools.count(1)

    def began(self, run: object, state: object) -> None:
        self.run = run

    def ring(self, *event: object) -> None:
        if next(self._rings) == self.after:
            self.run.cancel()


def left(run: Any) -> dict[str, End]:
    """How each task run ended when the run was driven last."""
    return {
        one.label: End(one.state.type, plain(one.result()) if one.reference else None, one.attempt)
        for one in run.task_runs
    }


def check_taken_up(
    run: Any, program: Scope, before: dict[str, End], old: Counter[str], ledger: Path, *, resumed: bool = False
) -> None:
    """A run that was taken up ended as it must, and ran no body whose result was stored."""
    oracle = Oracle(program, before, resumed=resumed)
    assert shown(run) == wanted(oracle)
    assert run.state.type == oracle.state, run.state
    check_values(run, oracle)
    check_record(run)
    new = ran(ledger) - old
    stored = {label for label, end in before.items() if end.state == states.SUCCESS and end.value is not None}
    assert not stored & new.keys() - oracle.subflows
    must = {
        label: end.attempts
        for label, end in oracle.ends.items()
        if label not in before or before[label].state not in oracle.kept
    }
    assert {label: new[label] for label in must} == must


def check_interrupted(place: tuple[str, Any], ledgers: Iterator[Path], where: str) -> None:
    def claim(program: Scope, after: int) -> None:
        breaker, ledger, oracle = Breaker(after), next(ledgers), Oracle(program)
        writer = Writer(ledger, **{where: breaker.ring})
        run = writer.flow(program, on_state=breaker.began).run(executor=place[1], raise_on_failure=False)
        before, old, breaker.after = left(run), ran(ledger), 0
        ended = {label: end.state for label, end in before.items() if end.state != states.CANCELLED}
        assert ended.items() <= wanted(oracle).items()
        if run.state.type == states.SUCCESS:
            assert ended == wanted(oracle)
            return
        if all(end.state in states.FINAL - {states.CANCELLED} for end in before.values()):
            return  # nothing was left to do
        run.resume(executor=place[1], raise_on_failure=False)
        check_taken_up(run, program, before, old, ledger, resumed=True)

    check(place, claim, programs(), st.integers(1, 12), share=0.5)


def test_a_run_that_a_hook_cancels_and_that_is_resumed_ends_as_if_nothing_had_been(
    place: tuple[str, Any], ledgers: Iterator[Path]
) -> None:
    check_interrupted(place, ledgers, "hook")


@pytest.mark.parametrize("place", ["sync", "threads"], indirect=True)  # a body elsewhere has no run to cancel
def test_a_run_that_a_body_cancels_and_that_is_resumed_ends_as_if_nothing_had_been(
    place: tuple[str, Any], ledgers: Iterator[Path]
) -> None:
    check_interrupted(place, ledgers, "ring")


def test_a_run_that_is_retried_keeps_what_succeeded_and_runs_the_rest(
    place: tuple[str, Any], ledgers: Iterator[Path]
) -> None:
    def claim(program: Scope) -> None:
        ledger = next(ledgers)
        run = Writer(ledger).flow(program).run(executor=place[1], raise_on_failure=False)
        for _ in range(2):
            if run.state.type == states.SUCCESS:
                break
            before, old = left(run), ran(ledger)
            run.retry(executor=place[1], raise_on_failure=False)
            check_taken_up(run, program, before, old, ledger)

    check(place, claim, programs().filter(fails), share=0.5)


def fails(program: Scope) -> bool:
    return Oracle(program).state != states.SUCCESS
