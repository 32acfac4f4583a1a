"""Flows whose tasks wait for a file, and what processes do with them: tests of what happens while a body runs.

A task `name` writes a line in FOLDER/ledger when its body begins, and for the nth time it begins it waits for the file
FOLDER/name-n.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dataflow import context, flow, get_run, task, triggers, unmapped, wait_for_input
from dataflow.places import open_runs
from dataflow.recover import TAKEN, abandoned_runs, recover
from tests.semantics.marks import mark


def began(folder: str | Path) -> Counter[str]:
    """How often each body began."""
    ledger = Path(folder, "ledger")
    return Counter(ledger.read_text().splitlines()) if ledger.exists() else Counter()


def pass_gate(folder: str, name: str) -> None:
    """Say that this body begins, and wait for its file."""
    mark(Path(folder, "ledger"), name)
    gate = Path(folder, f"{name}-{began(folder)[name]}")
    Path(f"{gate}.pid").write_text(str(os.getpid()))
    while not gate.exists():
        time.sleep(0.005)
    Path(f"{gate}.over").touch()


@task
def opening(folder: str) -> int:
    mark(Path(folder, "ledger"), "opening")
    return 1


@task
def gate(folder: str, name: str, before: object) -> int:
    pass_gate(folder, name)
    return before + 1 if isinstance(before, int) else 0


@flow
def gated(folder: str, names: Sequence[str] = ("slow", "last"), isolated: bool = False) -> object:
    value: object = opening(folder)
    for name in names:
        value = gate.options(name=name, isolation="process" if isolated else "thread")(folder, name, value)
    return value


@task
def holder(folder: str, seconds: float) -> int:
    """Holds the interpreter's lock for so long."""
    mark(Path(folder, "ledger"), "holder")
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))  # called with the lock held
    return 2


@flow
def holding(folder: str, seconds: float) -> object:
    return gate.options(name="last")(folder, "last", holder(folder, seconds))


@task(trigger=triggers.manual)
def deploy(before: int) -> int:
    return before + 10


@task
def after(folder: str, before: int, given: int) -> int:
    mark(Path(folder, "ledger"), "after")
    return before + given


@flow
def asking(folder: str) -> object:
    first = opening(folder)
    return after(folder, deploy(first), wait_for_input(int, "how many?"))


@task
def suicidal(folder: str) -> None:
    mark(Path(folder, "ledger"), f"suicidal {context().attempt}")
    os._exit(3)


@flow
def dying(folder: str) -> object:
    return suicidal(folder)


@flow
def below(folder: str, name: str, before: int) -> object:
    """What waits in a subflow."""
    return gate.options(name=name)(folder, name, before)


@flow
def spread(folder: str, names: Sequence[str]) -> object:
    """Bodies in every kind of place, all at once: each of these names is one."""
    first = opening(folder)
    made: list[object] = []
    if "plain" in names:
        made.append(gate.options(name="plain")(folder, "plain", first))
    if "alone" in names:
        made.append(gate.options(name="alone", isolation="process")(folder, "alone", first))
    if "deferred" in names:
        made.append(below(folder, "deferred", first))
    if "branch" in names:
        made.append(below.map(unmapped(folder), ["branch0", "branch1"], unmapped(first)))
    return gate.options(name="last")(folder, "last", made)


FLOWS: dict[str, Any] = {"spread": spread, "gated": gated, "holding": holding, "asking": asking, "dying": dying}


def begin(name: str, executor: str, *arguments: object) -> None:
    """Run a flow; what it raises goes to the log, and nothing of ours is left then."""
    try:
        run = FLOWS[name].run(*arguments, executor=executor)
        print("it ended:", run, flush=True)
    except BaseException:
        traceback.print_exc()
        sys.exit(1)


def go_on() -> None:
    """Take up what nobody drives, and see it to its end."""
    for one in recover(open_runs()):
        print(f"{one.what}: {one.why}", flush=True)
        if one.what == TAKEN:
            print("it ended:", one.run.wait(), flush=True)


def watch(seconds: float, folder: str) -> None:
    """Take up what nobody drives, for ever; count the looks."""
    store = open_runs()
    while True:
        for one in recover(store):
            print(f"{one.what}: {one.why}", flush=True)
        mark(Path(folder, "looks"), len(abandoned_runs(store)))
        time.sleep(seconds)


def approve(task_run: str, value: object) -> None:
    """Answer, and leave it to others to go on."""
    if value is None:
        get_run("@last").approve(task_run, resume=False)
    else:
        get_run("@last").approve(task_run, value, resume=False)


def begin_many(folders: Sequence[str]) -> None:
    """Run a flow in each of these folders, all at once."""
    for run in [gated.submit(folder, executor="threads:1") for folder in folders]:
        run.wait()


def go_on_at(sign: str) -> None:
    """As `go_on`, as soon as there is this file."""
    open_runs().runs()
    print("ready", flush=True)
    while not Path(sign).exists():
        time.sleep(0.001)
    taken = recover(open_runs())
    for one in taken:
        print(f"{one.what}: {one.why}", flush=True)
    for one in taken:
        one.run.wait()
