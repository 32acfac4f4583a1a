"""Calls that nothing tells apart go together, and so does a chain: each keeps its own state, attempts and result."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from dataflow import Retry, Skip, context, flow, states, task, triggers, unmapped, wait_for_input
from tests.semantics.conftest import Ledger
from tests.semantics.machines import until
from tests.semantics.marks import have_heard

WIDE = 200


@task
def one(x: int) -> int:
    return x + 1


@task
def total(values: list[int]) -> int:
    return sum(values)


def objects(run: Any) -> int:
    """How many objects hold the results of a run."""
    return len({row.reference["url"] for row in run._store.task_runs(run.id) if row.reference})


def test_many_calls_are_a_few_dask_tasks_and_objects(executor: Any) -> None:
    @flow
    def fan() -> object:
        return total([one(n) for n in range(WIDE)])

    run: Any = fan.run(executor=executor)
    assert run.result() == sum(range(1, WIDE + 1))
    assert run.counts["one-17"] == {"Success": 1}
    assert len(run.task_runs) == WIDE + 1
    assert run["one-17"].result() == 17
    assert objects(run) < WIDE / 2


def test_a_chain_is_one_dask_task_and_each_link_has_its_record(executor: Any) -> None:
    @flow
    def chain() -> object:
        value = one(0)
        for _ in range(WIDE - 1):
            value = one(value)
        return value

    run: Any = chain.run(executor=executor)
    assert run.result() == WIDE
    assert run._driver.fragments == 1
    assert [one.state.type for one in run.task_runs] == [states.SUCCESS] * WIDE
    rows = run._store.task_runs(run.id)
    assert len({row.worker for row in rows}) == 1
    assert objects(run) < WIDE / 2
    ended = {row.path: row.started for row in rows}
    assert all(ended[f"one-{n}"] <= ended[f"one-{n + 1}"] for n in range(2, WIDE))


def test_a_link_that_is_put_off_goes_on_where_it_was(executor: Any, ledger: Ledger) -> None:
    @task
    def link(x: int) -> int:
        ledger.mark(context().path)
        if context().path == "link-3" and context().attempt == 1:
            raise Retry(delay=0.05)
        return x + 1

    @flow
    def chain() -> object:
        return link.options(retries=1)(link.options(retries=1)(link.options(retries=1)(link(0)))), one(5)

    graph = chain.graph()
    run: Any = graph.run(executor=executor)
    assert run.result() == (4, 6)
    assert ledger.counts() == {"link": 1, "link-2": 1, "link-3": 2, "link-4": 1}


def test_a_value_that_cannot_be_stored_fails_its_link_and_what_follows(executor: Any, ledger: Ledger) -> None:
    @task
    def lock(x: int) -> object:
        return threading.Lock()

    @task
    def follows(x: object) -> int:
        ledger.mark("follows")
        return 1

    @flow
    def chain() -> object:
        return follows(lock(one(0)))

    run: Any = chain.run(executor=executor, raise_on_failure=False)
    shown = {each.label: each.state.type for each in run.task_runs}
    assert shown == {"one": states.SUCCESS, "lock": states.FAILED, "follows": states.TRIGGER_FAILED}
    assert ledger.counts() == {}


def test_a_skip_and_a_trigger_in_a_chain(executor: Any) -> None:
    @task
    def nothing(x: int) -> int:
        raise Skip("no news")

    @task(trigger=triggers.all_finished, skip_on_upstream_skip=False)
    def always(x: Any) -> str:
        return "ran" if not x else "with a value"

    @flow
    def chain() -> object:
        return always(one(nothing(one(1))))

    run: Any = chain.run(executor=executor)
    assert run.result() == "ran"
    shown = {each.label: each.state.type for each in run.task_runs}
    assert shown == {"one": "Success", "nothing": "Skipped", "one-2": "Skipped", "always": "Success"}


def test_a_value_that_is_not_stored_is_there_for_who_needs_it(executor: Any) -> None:
    @task(persist=False)
    def light(x: int) -> int:
        return x + 1

    @flow
    def chain() -> object:
        begun = light(0)
        return begun, light(light(begun)), [light(light(n)) for n in range(50)]

    assert chain.run(executor=executor).result() == (1, 3, [n + 2 for n in range(50)])


class Backwards:
    """A serializer of one's own."""

    name, suffixes = "backwards", ()

    def handles(self, value: object) -> bool:
        return isinstance(value, str)

    def dumps(self, value: str) -> bytes:
        return value[::-1].encode()

    def loads(self, data: bytes) -> str:
        return bytes(data).decode()[::-1]


def test_a_serializer_of_ones_own_reads_what_it_wrote_and_nothing_else() -> None:
    @task
    def plain(text: str) -> str:
        return f"{text}."

    @flow
    def chain() -> object:
        return plain(plain.options(serializer=Backwards())(plain("so")))

    run: Any = chain.run(executor="threads:1")
    assert [run[path].result() for path in ("plain", "plain-2", "plain-3")] == ["so.", "so..", "so..."]


@pytest.mark.parametrize("now", [False, True], ids=["cleanly", "at-once"])
def test_cancel_reaches_a_chain_between_its_links(executor: Any, ledger: Ledger, now: bool) -> None:
    @task
    def link(x: int, gate: str) -> int:
        ledger.mark(f"link {x}")
        while not os.path.exists(gate):
            time.sleep(0.005)
        return x + 1

    gate = str(ledger.path.with_name("gate"))

    @flow
    def chain() -> object:
        value = link(0, gate)
        for _ in range(5):
            value = link(value, gate)
        return value

    run: Any = chain.submit(executor="threads:1" if executor == "sync" else executor)
    until(lambda: ledger.lines() == ["link 0"], "the first link begins")
    run.cancel(now=now)
    if not now:
        until(lambda: "what runs may finish" in run.state.message, "the driver has heard")
    if executor not in ("sync", "threads:2"):
        until(lambda: have_heard(executor), "the workers have heard")
    Path(gate).touch()
    run.wait()
    assert run.state.type == states.CANCELLED
    assert ledger.lines() == ["link 0"]
    assert {each.label: each.state.type for each in run.task_runs}["link-2"] == states.CANCELLED
    run.resume()
    assert run.result() == 6
    assert ledger.counts()["link 0"] == (2 if now else 1)


def test_one_of_many_that_kills_its_worker_ends_alone(client: Any, ledger: Ledger) -> None:
    @task
    def maybe(x: int) -> int:
        ledger.mark(x)
        if x == 33:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    @flow
    def fan() -> object:
        return [maybe(n) for n in range(60)]

    run: Any = fan.run(executor=client, raise_on_failure=False)
    shown = Counter(each.state.type for each in run.task_runs)
    assert shown == {states.SUCCESS: 59, states.CRASHED: 1}
    assert run["maybe-34"].state.type == states.CRASHED


def test_what_a_bundle_committed_is_found_when_its_run_is_taken_up(ledger: Ledger, monkeypatch: Any) -> None:
    """Results are there and the record does not know: the driver died in between."""

    @task
    def link(x: int) -> int:
        ledger.mark(x)
        return x + 1

    @flow
    def both() -> object:
        value = link(0)
        for _ in range(9):
            value = link(value)
        return value, [link(100 + n) for n in range(40)]

    run: Any = both.run(executor="threads:2")
    bodies = ledger.counts()
    with run._store._database.writing() as connection:
        connection.exec_driver_sql("UPDATE task_runs SET state = 'Running', reference = NULL")
        connection.exec_driver_sql("UPDATE runs SET state = 'Running', owner = NULL, lease_until = 0")
    run.resume()
    assert run.result() == (10, [101 + n for n in range(40)])
    assert ledger.counts() == bodies
    assert {each.state.message for each in run.task_runs} == {"committed before"}


def test_what_a_chain_committed_after_a_pause_is_found_when_its_worker_dies(client: Any, ledger: Ledger) -> None:
    @task
    def kept(x: int) -> int:
        ledger.mark("kept")
        return x

    @task
    def dies(x: int) -> int:
        while ledger.counts()["other"] < 60:  # both workers have looked for what was committed before
            time.sleep(0.005)
        ledger.mark("dies")
        if ledger.counts()["dies"] == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    @task
    def other(x: int) -> int:
        ledger.mark("other")
        time.sleep(0.005)
        return x

    @flow
    def asks() -> object:
        number = wait_for_input(int, "a number, please")
        return dies(kept(number)), [other(number) for _ in range(60)]

    client.wait_for_workers(2)
    run: Any = asks.run(executor=client)
    run.approve("wait_for_input", 7)
    assert run.result() == (7, [7] * 60)
    assert ledger.counts()["kept"] == 1


def test_long_calls_are_not_made_to_wait_for_each_other() -> None:
    """Calls that take longer than the aim of a batch go one by one, as soon as that is known."""
    begun = itertools.count()
    most, now = 0, 0
    lock = threading.Lock()

    @task
    def long(x: int) -> int:
        nonlocal most, now
        with lock:
            next(begun)
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1
        return x

    @flow
    def fan() -> object:
        return [long(n) for n in range(80)]

    run: Any = fan.run(executor="threads:8")
    assert run.result() == list(range(80))
    assert most == 8


@pytest.mark.parametrize("way", ["chain", "fan", "map"])
def test_what_is_done_is_told_while_another_takes_its_time(executor: Any, tmp_path: Path, way: str) -> None:
    @task
    def quick(x: int) -> int:
        return x

    @task
    def slow(x: int, gate: str) -> int:
        while not os.path.exists(gate):
            time.sleep(0.005)
        return x

    @task(batch=40)
    def either(x: int, gate: str) -> int:
        return slow.fn(x, gate) if x == 39 else x

    @flow
    def both(gate: str) -> object:
        if way == "chain":
            return slow(quick(quick(1)), gate)
        return either.map(range(40), unmapped(gate)) if way == "map" else [either(n, gate) for n in range(40)]

    gate = tmp_path / "gate"
    run: Any = both.submit(str(gate), executor="threads:1" if executor == "sync" else executor)
    done = {"chain": 2, "fan": 39, "map": 39}[way]
    until(lambda: sum(each.get("Success", 0) for each in run.counts.values()) == done, "what is done is told")
    gate.touch()
    run.wait()
    assert run.state.type == states.SUCCESS


@pytest.mark.parametrize("way", ["chains", "fan", "map"])
def test_what_takes_long_does_not_hold_up_the_rest_of_its_batch(
    executor: Any, ledger: Ledger, tmp_path: Path, way: str
) -> None:
    @task(batch=20)
    def either(x: int, gate: str) -> int:
        ledger.mark(x)
        while x == 3 and not os.path.exists(gate):
            time.sleep(0.005)
        return x

    @flow
    def both(gate: str) -> object:
        made = either.map(range(20), unmapped(gate)) if way == "map" else [either(n, gate) for n in range(20)]
        return total(made if way != "chains" else [one(each) for each in made])

    gate, runs = tmp_path / "gate", 40 if way == "chains" else 20
    run: Any = both.submit(str(gate), executor="threads:2" if executor == "sync" else executor)
    done = runs - runs // 20
    until(lambda: sum(each.get("Success", 0) for each in run.counts.values()) == done, "all others are done")
    gate.touch()
    run.wait()
    assert run.result() == sum(range(20)) + (20 if way == "chains" else 0)
    assert ledger.counts() == {str(n): 1 for n in range(20)}
    assert run.counts["total"] == {"Success": 1}


@pytest.mark.parametrize("way", ["fan", "map"])
def test_what_was_given_up_is_not_run_by_a_batch_that_runs_again(
    client: Any, ledger: Ledger, tmp_path: Path, way: str
) -> None:
    @task(batch=20)
    def either(x: int, folder: str) -> int:
        ledger.mark(x)
        if x == 3:
            Path(folder, "pid").write_text(str(os.getpid()))
            while not Path(folder, "gate").exists():
                time.sleep(0.005)
        return x

    @flow
    def both(folder: str) -> object:
        return either.map(range(20), unmapped(folder)) if way == "map" else [either(n, folder) for n in range(20)]

    client.wait_for_workers(2)  # one may have been killed just now
    run: Any = both.submit(str(tmp_path), executor=client)
    until(lambda: sum(each.get("Success", 0) for each in run.counts.values()) == 19, "all others are done")
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    until(lambda: ledger.counts()["3"] == 2, "it begins again")
    (tmp_path / "gate").touch()
    run.wait()
    assert run.result() == list(range(20))
    assert ledger.counts() == {**{str(n): 1 for n in range(20)}, "3": 2}


@pytest.mark.parametrize("way", ["fan", "map"])
def test_a_run_begins_with_what_the_last_one_learned(way: str) -> None:
    @flow
    def wide() -> object:
        return one.map(range(WIDE)) if way == "map" else [one(n) for n in range(WIDE)]

    def begins_together(run: Any) -> bool:
        rows = run._store.task_runs(run.id)
        first, second = [row for row in rows if row.idx in (0, 1) or (row.path in ("one", "one-2") and row.idx < 0)][:2]
        return bool(first.reference["url"] == second.reference["url"])

    assert not begins_together(wide.run(executor="threads:1"))
    assert begins_together(wide.run(executor="threads:1"))
