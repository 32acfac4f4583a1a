"""What is recorded of many children together is what would be recorded of each."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from dataflow import flow, states, task
from dataflow.events import NO_INDEX, Event, Several, TaskEvent
from dataflow.recorder import Recorder
from dataflow_storage import Reference
from dataflow_storage.references import References
from dataflow_storage.runs import RunStore

WIDTH = 30


@task
def child(x: int) -> int:
    return x


@flow
def children() -> object:
    return child.map(range(WIDTH))


@flow
def calls() -> object:
    return [child(x) for x in range(WIDTH)]


GRAPHS = {"children": children.graph(), "calls": calls.graph()}


def who(of: str, number: int) -> tuple[str, int]:
    return ("child", number) if of == "children" else (GRAPHS[of].nodes[number].path, NO_INDEX)


def several(dice: random.Random, of: str, type: str, numbers: list[int], worker: str, now: float) -> Several:
    times = [now + dice.random() for _ in numbers] if dice.random() < 0.5 else [now] * len(numbers)
    references = None
    messages = [f"made by {n}" for n in numbers] if type == states.CACHED else None
    if type in states.WITH_VALUE:
        url = f"/results/{numbers[0]}.batch"
        references = References.of(Reference(url, "json", i % 3, f"{i:064x}", i) for i in numbers)
    if of == "children":
        return Several("child", type, worker, numbers, times, references, messages)
    return Several(None, type, worker, [who(of, number)[0] for number in numbers], times, references, messages)


def story(dice: random.Random, of: str) -> Iterator[Event | None]:
    """Events of some task runs, most of which fare alike, and some not; None: the rows are written."""
    waiting, running, now = list(range(WIDTH)), list[int](), 1.0
    while waiting or running:
        now += 10
        worker = dice.choice(["a:1", "b:2"])
        if waiting and dice.random() < 0.1:
            yield several(dice, of, states.CACHED, [waiting.pop(0)], "", now)
        elif waiting and dice.random() < 0.5:
            some = [waiting.pop(0) for _ in range(min(len(waiting), dice.randint(1, 8)))]
            running += some
            yield several(dice, of, states.RUNNING, some, worker, now)
        elif running:
            dice.shuffle(running)
            some = sorted(running.pop() for _ in range(dice.randint(1, len(running))))
            way, one = dice.random(), who(of, some[0])
            if way < 0.2:
                yield TaskEvent(*one, states.RETRYING, now, 1, "later", {"due": 1}, worker=worker, due=1.0)
                yield TaskEvent(*one, states.RUNNING, now + 1, 2, worker=worker)
                yield TaskEvent(*one, states.FAILED, now + 2, 2, "why", {"message": "why"}, worker=worker)
                waiting += some[1:]  # they are told twice that they run
            elif way < 0.3:
                yield TaskEvent(*one, states.PENDING, now, 1, "its worker died")
                waiting += some
            else:
                yield several(dice, of, states.SUCCESS, some, worker, now)
                if dice.random() < 0.2:  # a second time
                    yield several(dice, of, states.SUCCESS, [*some, *range(5)], worker, now + 1)
        if dice.random() < 0.3:
            yield None


def record(store: RunStore, of: str, events: list[Event | None], *, together: bool) -> list[object]:
    run_id = ("a" if together else "b") * 32
    name = store.create_run({"id": run_id, "name": "run"})
    epoch = store.claim(run_id, name, seconds=60)
    recorder = Recorder()
    recorder.add_nodes(GRAPHS[of].nodes, 0)
    for event in [*events, None]:
        if event is None:
            batch = recorder.take()
            if batch is not None:
                store.write(run_id, epoch, batch)
        else:
            for one in event.each() if isinstance(event, Several) and not together else (event,):
                recorder.add(one)
    rows: tuple[Any, ...] = (*store.nodes(run_id), *store.task_runs(run_id), *store.attempts(run_id))
    rows += (*store.transitions(run_id),)
    return [recorder.ended, store.counts(run_id), *({**asdict(row), "run_id": "", "seq": 0} for row in rows)]


@pytest.mark.parametrize("of", GRAPHS)
@pytest.mark.parametrize("seed", range(40))
def test_what_is_told_together_is_recorded_as_if_each_was_told_alone(seed: int, of: str, tmp_path: Path) -> None:
    events = list(story(random.Random(seed), of))
    with RunStore(str(tmp_path / "runs.db")) as store:
        assert record(store, of, events, together=True) == record(store, of, events, together=False)


@pytest.mark.parametrize("of", GRAPHS)
def test_events_of_many_travel_whole(of: str) -> None:
    for event in story(random.Random(1), of):
        if isinstance(event, Several):
            again = pickle.loads(pickle.dumps(event))
            assert list(again.each()) == list(event.each())


@pytest.mark.parametrize("flushed", [False, True])
def test_what_begins_again_elsewhere_is_where_it_runs_now(flushed: bool, tmp_path: Path) -> None:
    begun = [
        Several("child", states.RUNNING, worker, [1], [time], None) for worker, time in (("a:1", 1.0), ("b:2", 5.0))
    ]
    events: list[Event | None] = [begun[0], None, begun[1]] if flushed else [*begun]
    done = TaskEvent("child", 1, states.SUCCESS, 6.0, 1, worker="b:2")
    with RunStore(str(tmp_path / "runs.db")) as store:
        record(store, "children", [*events, done], together=True)
        [run] = store.runs()
        rows: tuple[Any, ...] = (*store.task_runs(run.id, "child"), *store.attempts(run.id, "child"))
        for row in rows:
            assert (row.state, row.worker, row.started, row.ended) == (states.SUCCESS, "b:2", 5.0, 6.0)
