"""Orders, answers, numbered batches and who takes a run over: what many processes at once may rely on."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine, insert, text
from sqlalchemy.dialects import sqlite

from dataflow_storage import RunNotFound, SerializationError, StaleOwner
from dataflow_storage.migrations import config
from dataflow_storage.rows import Batch
from dataflow_storage.run_reading import without_owner
from dataflow_storage.runs import RunHeld, RunStore
from dataflow_storage.tables import HEAD, ORDERS, RUNS
from tests.storage.test_runs_processes import finish, start


@pytest.fixture
def store(url: str) -> Iterator[RunStore]:
    with RunStore(url) as store:
        yield store


def new_run(store: RunStore, **columns: object) -> str:
    run_id = uuid.uuid4().hex
    store.create_run({"id": run_id, "name": "run", **columns})
    return run_id


# -- orders ------------------------------------------------------------------------------------------------------------


def test_orders_wait_in_their_order_until_a_batch_carries_them_out(store: RunStore) -> None:
    run, other = new_run(store), new_run(store)
    first = store.order(run, "pause", by="ada", value={"note": "lunch"})
    foreign = store.order(other, "cancel", by="ada")
    second = store.order(run, "approve", by="bob", path="f", idx=3, value=[1, None])
    waiting = store.orders(run)
    assert [(one.seq, one.kind, one.by, one.path, one.idx, one.value) for one in waiting] == [
        (first, "pause", "ada", None, -1, {"note": "lunch"}),
        (second, "approve", "bob", "f", 3, [1, None]),
    ]
    assert store.orders(run, after=first) == waiting[1:]
    assert all(len(one.id) == 32 and one.done == 0 and one.time > 1e9 for one in waiting)

    epoch = store.claim(run, "me", seconds=60)
    store.write(run, epoch, Batch(done_orders=[first, foreign], run={"state": "Paused"}))
    assert store.orders(run) == waiting[1:]
    assert [one.seq for one in store.orders(other)] == [foreign]  # a batch marks orders of its own run only


def test_an_order_is_done_with_its_batch_or_not_at_all(store: RunStore) -> None:
    run = new_run(store)
    seq = store.order(run, "cancel", by="ada")
    old, new = store.claim(run, "me", seconds=0), store.claim(run, "you", seconds=60)
    with pytest.raises(StaleOwner):
        store.write(run, old, Batch(done_orders=[seq]))
    with pytest.raises(ValueError, match="does not fit"):
        store.write(run, new, Batch(done_orders=[seq], logs=[{"path": "a"}]))
    assert [one.seq for one in store.orders(run)] == [seq]


def test_an_order_given_again_is_the_same_one(store: RunStore) -> None:
    run = new_run(store)
    seq = store.order(run, "cancel", by="ada", id="a" * 32)
    assert store.order(run, "cancel", by="ada", id="a" * 32) == seq
    assert store.order(run, "cancel", by="ada") > seq  # without an id it is another one
    assert len(store.orders(run)) == 2
    epoch = store.claim(run, "me", seconds=60)
    store.write(run, epoch, Batch(done_orders=[seq]))
    assert store.order(run, "cancel", by="ada", id="a" * 32) == seq  # also after it was carried out
    assert len(store.orders(run)) == 1
    with pytest.raises(ValueError, match="does not fit"):
        store.order(new_run(store), "cancel", by="ada", id="a" * 32)


def test_orders_and_answers_need_a_run_and_plain_data(store: RunStore) -> None:
    with pytest.raises(RunNotFound):
        store.order("0" * 32, "cancel", by="ada")
    with pytest.raises(RunNotFound):
        store.answer("0" * 32, "f", -1, 1, by="ada", token="t")
    run = new_run(store)
    with pytest.raises(SerializationError, match=r"orders\.value"):
        store.order(run, "cancel", by="ada", value={1, 2})
    with pytest.raises(SerializationError, match=r"answers\.value"):
        store.answer(run, "f", -1, 1, by="ada", token="t", value={1, 2})
    odd = "\udc80\0"
    store.order(run, odd, by=odd, path=odd, value=odd)
    store.answer(run, "f", -1, 1, by=odd, token="t", value=odd)
    assert (store.orders(run)[0].value, store.answers(run)[0].value) == (odd, odd)
    assert store.orders(run)[0].by == store.answers(run)[0].by == "\\udc80�"


def test_orders_given_by_many_processes_are_all_seen_by_a_reader_who_follows(store: RunStore, url: str) -> None:
    """Each `seq` is visible before a higher one of its run is: else a reader who asks for later ones would miss it."""
    run = new_run(store)
    script = """
for number in range(60):
    store.order(sys.argv[2], "ask", by=sys.argv[3], value=number)
"""
    writers = [start(script, url, run, str(at)) for at in range(4)]
    seen: list[tuple[str, object]] = []
    last = 0
    while len(seen) < 240:
        running = any(writer.poll() is None for writer in writers)
        news = store.orders(run, after=last)
        seen += [(one.by, one.value) for one in news]
        last = max([last, *(one.seq for one in news)])
        if not running and not news:
            break
    finish(writers)
    assert sorted(seen, key=str) == sorted(((str(at), n) for at in range(4) for n in range(60)), key=str)


# -- answers -----------------------------------------------------------------------------------------------------------


def test_the_first_answer_stands(store: RunStore) -> None:
    run = new_run(store)
    mine = store.answer(run, "ask", 2, 1, by="ada", token="t1", value=None, given=True)
    assert (mine.token, mine.value, mine.given, mine.by) == ("t1", None, 1, "ada")
    assert store.answer(run, "ask", 2, 1, by="bob", token="t2", value=5, given=True) == mine
    assert store.answer(run, "ask", 2, 1, by="ada", token="t1", value=None, given=True) == mine
    again = store.answer(run, "ask", 2, 2, by="bob", token="t2")  # another attempt asks anew
    assert (again.token, again.given, again.value) == ("t2", 0, None)
    assert [one.token for one in store.answers(run)] == ["t1", "t2"]
    assert store.answers(new_run(store)) == []


def test_of_eight_processes_that_answer_one_wins_and_all_know_who(store: RunStore, url: str) -> None:
    run = new_run(store)
    script = """
print("ready", flush=True)
sys.stdin.readline()
for turn in range(20):
    print(store.answer(sys.argv[2], "ask", turn, 1, by=sys.argv[3], token=sys.argv[3], value=turn, given=True).token)
"""
    assert len(store.runs()) == 1  # the database is there
    said = race(script, url, run)
    winners = [one.token for one in sorted(store.answers(run), key=lambda one: one.idx)]
    assert said == [winners] * 8


def race(script: str, url: str, *arguments: str) -> list[list[str]]:
    """Run eight processes that wait for each other; the lines that each printed."""
    processes = [start(script, url, *arguments, str(at), stdin=subprocess.PIPE) for at in range(8)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    return [said.split("\n") for said in finish(processes)]


# -- who has a run -----------------------------------------------------------------------------------------------------


def test_of_eight_processes_that_claim_one_wins(store: RunStore, url: str) -> None:
    runs = [new_run(store, state="Running") for _ in range(20)]
    script = """
import json
from dataflow_storage import StaleOwner
print("ready", flush=True)
sys.stdin.readline()
won = []
for run in json.loads(sys.argv[2]):
    try:
        epoch = store.claim(run, sys.argv[3], seconds=600, expected_epoch=0)
        store.write(run, epoch, Batch(run={"state": "Success"}, number=1))
        store.release(run, epoch)
        won.append(run)
    except StaleOwner:
        pass
print(json.dumps(won))
"""
    won = [json.loads(lines[-1]) for lines in race(script, url, json.dumps(runs))]
    assert sorted(run for each in won for run in each) == sorted(runs)  # each once, though each was free again soon
    assert {store.find(run).epoch for run in runs} == {1}


def test_a_run_is_born_with_an_owner(store: RunStore) -> None:
    row: dict[str, object] = {"id": "a" * 32, "name": "run", "state": "Pending", "arguments": b"\x80args"}
    assert store.create_run(row, owner="me", seconds=60) == "run"
    found = store.find("run")
    assert (found.owner, found.epoch, found.written) == ("me", 1, 0)
    assert time.time() + 50 < (found.lease_until or 0) < time.time() + 61
    assert (store.arguments("a" * 32), store.graph("a" * 32), store.arguments("b" * 32)) == (b"\x80args", None, None)
    assert store.abandoned() == []
    store.write("a" * 32, 1, Batch(run={"state": "Running", "graph": b"g"}, number=1))
    assert (store.arguments("a" * 32), store.graph("a" * 32)) == (b"\x80args", b"g")


def test_a_create_given_again_gives_the_first_name(store: RunStore) -> None:
    new_run(store)
    row: dict[str, object] = {"id": "a" * 32, "name": "run", "graph": b"g", "created": 5.0}
    assert store.create_run(row, owner="me", seconds=60) == "run-2"
    store.write("a" * 32, 1, Batch(run={"state": "Running"}, number=1))
    before = store.find("a" * 32)
    assert store.create_run({**row, "created": 6.0}, owner="me", seconds=60) == "run-2"
    assert store.find("a" * 32) == before
    for owner in ("you", None):
        with pytest.raises(ValueError, match="does not fit"):
            store.create_run(row, owner=owner, seconds=60)
    assert len(store.runs()) == 2


def test_a_run_that_changed_hands_is_not_taken_by_who_looked_before(store: RunStore) -> None:
    run = new_run(store, state="Running")
    seen = store.find(run).epoch
    assert store.claim(run, "first", seconds=60, expected_epoch=seen) == 1
    with pytest.raises(RunHeld):
        store.claim(run, "second", seconds=60, expected_epoch=seen)
    store.release(run, 1)
    with pytest.raises(StaleOwner, match="at epoch 1") as stale:
        store.claim(run, "second", seconds=60, expected_epoch=seen)
    assert not isinstance(stale.value, RunHeld)
    assert (store.find(run).owner, store.find(run).epoch) == (None, 1)
    assert store.claim(run, "second", seconds=60, expected_epoch=1) == 2


def test_a_claim_given_again_is_the_same_one(store: RunStore) -> None:
    run = new_run(store)
    assert store.claim(run, "me", seconds=0, expected_epoch=0) == 1
    assert store.claim(run, "me", seconds=60, expected_epoch=0) == 1
    assert (store.find(run).lease_until or 0) > time.time() + 50
    store.write(run, 1, Batch(logs=[{"time": 1.0}], number=1))
    assert store.claim(run, "me", seconds=60, expected_epoch=0) == 1
    assert store.find(run).written == 1  # its batches go on counting
    assert store.claim(run, "me", seconds=60) == 2
    with pytest.raises(StaleOwner):
        store.claim(run, "me", seconds=60, expected_epoch=0)


# -- numbered batches --------------------------------------------------------------------------------------------------


def test_a_numbered_batch_is_written_once(store: RunStore) -> None:
    run = new_run(store)
    epoch = store.claim(run, "me", seconds=60)
    one = Batch(counts={("a", "x"): 1}, logs=[{"time": 1.0}], transitions=[{"time": 1.0}], number=1)
    two = Batch(counts={("a", "x"): 10}, run={"state": "Running"}, number=2)
    for batch in (one, one, two, two, one):
        store.write(run, epoch, batch)
    assert store.counts(run) == {"a": {"x": 11}}
    assert (len(store.logs(run)), len(store.transitions(run))) == (1, 1)
    assert (store.find(run).written, store.find(run).state) == (2, "Running")
    for _ in range(2):
        store.write(run, epoch, Batch(counts={("a", "x"): 100}))  # without a number: each time
    assert store.counts(run) == {"a": {"x": 211}}


def test_a_new_owner_counts_its_batches_anew(store: RunStore) -> None:
    run = new_run(store)
    epoch = store.claim(run, "me", seconds=0)
    store.write(run, epoch, Batch(counts={("a", "x"): 1}, number=7))
    epoch = store.claim(run, "you", seconds=60)
    store.write(run, epoch, Batch(counts={("a", "x"): 1}, number=1))
    assert store.counts(run) == {"a": {"x": 2}}


def test_a_batch_that_was_refused_does_not_count_as_written(store: RunStore) -> None:
    run = new_run(store)
    epoch = store.claim(run, "me", seconds=60)
    with pytest.raises(ValueError, match="does not fit"):
        store.write(run, epoch, Batch(logs=[{"path": "a"}], number=1))
    store.write(run, epoch, Batch(logs=[{"path": "a", "time": 1.0, "message": "\udc80"}], number=1))
    assert len(store.logs(run)) == 1
    with pytest.raises(ValueError, match=r"may not change \['written'\]"):
        store.write(run, epoch, Batch(run={"written": 9}))


# -- runs that nobody drives -------------------------------------------------------------------------------------------


def test_abandoned_runs(store: RunStore) -> None:
    def make(name: str, state: str, created: float, *, lease: float | None = None, orders: tuple[str, ...] = ()) -> str:
        run = new_run(store, state=state, created=created, flow=name)
        if lease is not None:
            store.claim(run, "somebody", seconds=lease)
        for kind in orders:
            store.order(run, kind, by="ada")
        return run

    make("held", "Running", 1, lease=60)
    make("paused", "Paused", 2, orders=("cancel",))
    make("resumed by its owner", "Paused", 3, lease=60, orders=("resume",))
    make("unborn", "Scheduled", 4)
    for at, state in enumerate(("Success", "Failed", "Crashed", "Cancelled")):
        make(state, state, 5 + at, lease=-1, orders=("resume",))
    carried_out = make("resumed", "Paused", 9, orders=("resume",))
    epoch = store.claim(carried_out, "me", seconds=60)
    store.write(carried_out, epoch, Batch(done_orders=[one.seq for one in store.orders(carried_out)]))
    store.release(carried_out, epoch)
    assert store.abandoned() == []

    make("pending", "Pending", 30)
    make("dead", "Running", 20, lease=-1)
    make("to resume", "Paused", 10, orders=("pause", "resume"))
    make("dead and to resume", "Paused", 25, lease=-1, orders=("resume",))
    make("released", "Running", 15)
    assert [run.flow for run in store.abandoned()] == ["to resume", "released", "dead", "dead and to resume", "pending"]
    later = [run.flow for run in store.abandoned(now=time.time() + 100)]
    assert later[:2] == ["held", "resumed by its owner"]
    assert [run.flow for run in store.abandoned(now=1.0)] == ["to resume", "released", "pending"]


def test_looking_for_abandoned_runs_passes_over_those_that_ended(store: RunStore, url: str) -> None:
    store.runs()
    with store._database.writing() as connection:
        rows = [{"id": f"{at:032x}", "name": f"r{at}", "created": float(at), "state": "Success"} for at in range(5000)]
        connection.execute(insert(RUNS), rows)
        connection.execute(insert(ORDERS), [{"id": f"{at:032x}", "run_id": f"{at:032x}", "time": 1.0, "kind": "resume"}
                                            for at in range(1000)])  # fmt: skip
    dead = new_run(store, state="Running")
    if store._database.dialect == "postgresql":
        with store._database.reading() as connection:
            connection.execution_options(isolation_level="AUTOCOMMIT")
            connection.execute(text("ANALYZE runs"))
            plan = "\n".join(connection.scalars(text(f"EXPLAIN {_literal(without_owner(5.0))}")))
        assert "on runs" in plan
        assert "Seq Scan on runs" not in plan
    else:
        with closing(sqlite3.connect(url)) as raw:
            plan = "\n".join(row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {_literal(without_owner(5.0))}"))
        assert "SEARCH runs USING INDEX ix_runs_state (state=?)" in plan
        assert "SEARCH orders USING INDEX ix_orders_run (run_id=? AND done=?)" in plan
        assert "SCAN" not in plan
    assert [run.id for run in store.abandoned()] == [dead]


def _literal(query: object) -> str:
    return str(query.compile(dialect=sqlite.dialect(), compile_kwargs={"literal_binds": True}))  # type: ignore[attr-defined]


def test_following_orders_is_a_look_into_an_index(tmp_path: Path) -> None:
    path = str(tmp_path / "runs.db")
    with RunStore(path) as store:
        store.runs()
    with closing(sqlite3.connect(path)) as raw:
        query = "SELECT * FROM orders WHERE run_id = ? AND done = 0 AND seq > ? ORDER BY seq"
        plan = [row[3] for row in raw.execute(f"EXPLAIN QUERY PLAN {query}", ("a", 1))]
    assert plan == ["SEARCH orders USING INDEX ix_orders_run (run_id=? AND done=? AND seq>?)"]


# -- the schema --------------------------------------------------------------------------------------------------------


def test_a_database_from_before_orders_is_brought_up_to_date(store: RunStore, url: str) -> None:
    run = new_run(store, state="Running", graph=b"g")
    epoch = store.claim(run, "me", seconds=0)
    store.close()
    engine = create_engine(store._database._url)
    with engine.begin() as connection:
        settings = config()
        settings.attributes["connection"] = connection
        command.downgrade(settings, "0002")
    with engine.begin() as connection:
        assert connection.scalar(text("SELECT version_num FROM alembic_version")) == "0002"
    engine.dispose()
    assert [found.id for found in store.abandoned()] == [run]
    assert (store.graph(run), store.arguments(run), store.orders(run), store.answers(run)) == (b"g", None, [], [])
    store.write(run, epoch, Batch(counts={("a", "x"): 1}, number=1))
    store.order(run, "resume", by="ada")
    assert (store.find(run).written, HEAD) == (1, "0003")
