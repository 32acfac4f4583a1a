"""Random programs with every stored result cached: a second run ends as the oracle says, and repeats nothing."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dataflow import states
from dataflow.recovery import NOT_NEEDED
from tests.semantics.drawing import programs
from tests.semantics.oracle import Oracle
from tests.semantics.programs import Scope, Writer
from tests.semantics.test_oracle import check, check_record, check_values, ran, wanted

pytestmark = pytest.mark.timeout(600)  # a failure takes minutes to shrink


def shown(run: Any) -> dict[str, str]:
    """The state of every task run that was needed; a cached success is one."""
    return {
        one.label: states.SUCCESS if one.state.type == states.CACHED else one.state.type
        for one in run.task_runs
        if one.state.message != NOT_NEEDED
    }


def test_a_second_run_ends_as_the_first_and_repeats_nothing(place: tuple[str, Any], ledgers: Iterator[Path]) -> None:
    def claim(program: Scope) -> None:
        oracle, scope = Oracle(program), uuid.uuid4().hex
        cold, warm = next(ledgers), next(ledgers)
        for ledger in (cold, warm):
            run = Writer(ledger, cached=scope).flow(program).run(executor=place[1], raise_on_failure=False)
            found, right = shown(run), wanted(oracle)
            assert found == {label: right[label] for label in found}
            assert ledger == warm or found.keys() == right.keys()
            assert run.state.type == oracle.state, run.state
            check_values(run, oracle)
            check_record(run)
        stored = {one.label for one in run.task_runs if one.reference is not None}
        assert not ran(warm).keys() & stored - oracle.subflows

    check(place, claim, programs(), share=0.6)
