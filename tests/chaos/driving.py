"""What the drivers of chaos runs do: begin a run, or take it up wherever it is, and see it to its end."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import dataflow.control
import dataflow.flow
import dataflow.recorder
import dataflow.start  # noqa: F401  all that a driver needs is imported before it is forked
from dataflow import states
from dataflow.errors import NothingAsked, RunNotResumable
from dataflow.places import open_runs
from dataflow.recover import TAKEN, recover
from dataflow.run import Run, get_run
from tests.chaos.flow60 import ANSWERS, PACE, flow60, ledger_of

MOST_ROUNDS = 12


def drive(folder: str, executor: str) -> None:
    """Begin a run where there is none, or go on with the one that there is, until it has succeeded."""
    rows = open_runs().runs()
    if rows:
        run = get_run(rows[0].id)
    else:
        run = flow60.submit(
            str(ledger_of(Path(folder))), pace=float(os.environ.get("CHAOS_PACE", PACE)), executor=executor
        )
        run.wait()
    for _ in range(MOST_ROUNDS):
        state = run.state
        if state.type == states.SUCCESS:
            Path(folder, "result.json").write_text(json.dumps(run.result()))
            return
        if state.type == states.PAUSED:
            answer(run)
        elif state.type in states.RUN_FINAL:
            sys.exit(f"the run is {state}:\n{run.report}")
        else:
            go_on()
    sys.exit(f"no end after {MOST_ROUNDS} rounds: {run}")


def go_on() -> None:
    """Take up every run that nobody drives, and wait until they are over."""
    for one in recover(open_runs()):
        print(one, flush=True)
        if one.what == TAKEN:
            one.run.wait()


def answer(run: Run) -> None:
    """Answer what is asked, each by itself, and let the run go on."""
    waiting = [one for one in run.task_runs if one.state.type == states.PAUSED]
    try:
        for one in waiting:
            if one.path in ANSWERS:
                run.approve(one.label, ANSWERS[one.path], resume=False)
    except NothingAsked as error:  # it was answered before somebody was killed
        print(error, flush=True)
    try:
        run.resume(raise_on_failure=False)
    except RunNotResumable as error:  # somebody else goes on with it
        print(error, flush=True)
