"""What deleting runs from the record promises, on SQLite and on a real PostgreSQL; and what lies in a result store."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import create_engine, select

from dataflow.retention import Rule, carry_out, survey
from dataflow_storage import ResultStore, RunNotFound, cleaning, retention
from dataflow_storage.migrations import config
from dataflow_storage.retention import Retention
from dataflow_storage.rows import Batch
from dataflow_storage.runs import RunStore
from dataflow_storage.tables import LEFTOVERS, METADATA
from tests.storage.test_runs_processes import start

ENDED = ("Success", "Failed")


@pytest.fixture
def runs(url: str) -> Iterator[RunStore]:
    with RunStore(url) as runs:
        yield runs


def new_run(runs: RunStore, state: str = "Success", references: int = 3, **columns: object) -> str:
    """A run with something in every table."""
    run_id = uuid.uuid4().hex
    runs.create_run({"id": run_id, "name": "run", "flow": "etl", "state": state, "graph": b"g", **columns})
    epoch = runs.claim(run_id, "me", seconds=60)
    rows = [{"path": "f", "idx": i, "reference": {"url": f"/r/{run_id}/f-{i}.dflw"}} for i in range(references)]
    again = [{"path": "f", "idx": i, "attempt": 1, "time": 1.0} for i in range(references)]
    runs.write(
        run_id,
        epoch,
        Batch(
            nodes=[{"path": "f"}],
            task_runs=rows,
            transitions=again,
            attempts=[{"path": "f", "idx": 0, "attempt": 1}],
            logs=again,
            counts={("f", "Success"): references},
            hooks=[{"hook": "h", "time": 1.0}],
            artifacts=[{"id": run_id, "time": 1.0}],
        ),
    )
    runs.release(run_id, epoch)
    runs.order(run_id, "cancel", by="me")
    runs.answer(run_id, "f", 0, 1, by="me", token="t")
    return run_id


def rows_of(runs: RunStore, run_id: str) -> dict[str, int]:
    """How many rows each table has of a run."""
    with runs._database.reading() as connection:
        found = {}
        for table in METADATA.sorted_tables:
            if table is not LEFTOVERS:
                own = table.c.id if table.name == "runs" else table.c.run_id
                found[table.name] = len(connection.execute(select(own).where(own == run_id)).all())
    return found


def test_a_deleted_run_leaves_nothing_but_a_note(runs: RunStore) -> None:
    gone, stays = new_run(runs, results_url="/r"), new_run(runs)
    assert all(rows_of(runs, gone).values())
    before = rows_of(runs, stays)
    record = Retention(runs)
    assert record.delete([gone, "f" * 32], ended=ENDED) == [gone]
    assert [(left.id, left.name, left.flow, left.results_url) for left in record.leftovers()] == [
        (gone, "run", "etl", "/r")
    ]
    with pytest.raises(RunNotFound):
        runs.find(gone)
    record.sweep()
    assert not any(rows_of(runs, gone).values())
    assert rows_of(runs, stays) == before
    record.forget([gone])
    assert record.leftovers() == []


def test_a_run_that_is_not_over_stays(runs: RunStore) -> None:
    busy = [new_run(runs, state) for state in ("Scheduled", "Pending", "Running", "Paused")]
    assert Retention(runs).delete(busy, ended=ENDED) == []
    assert len(runs.runs()) == 4


def test_a_run_that_somebody_holds_stays_until_the_lease_ends(runs: RunStore) -> None:
    held, died = new_run(runs, "Failed"), new_run(runs, "Failed")
    runs.claim(held, "retrying", seconds=60)
    runs.claim(died, "dead", seconds=-1)
    assert Retention(runs).delete([held, died], ended=ENDED) == [died]


def test_a_run_that_went_cannot_be_claimed(runs: RunStore) -> None:
    run_id = new_run(runs)
    Retention(runs).delete([run_id], ended=ENDED)
    with pytest.raises(RunNotFound):
        runs.claim(run_id, "late", seconds=60)


def test_of_a_claim_and_a_delete_at_once_one_wins(runs: RunStore) -> None:
    for _ in range(20):
        run_id, won, gate = new_run(runs, "Failed"), list[str](), threading.Barrier(2)

        def claim(run_id: str = run_id, won: list[str] = won, gate: threading.Barrier = gate) -> None:
            gate.wait()
            try:
                runs.claim(run_id, "retrying", seconds=60)
            except RunNotFound:
                return
            won.append("claim")

        thread = threading.Thread(target=claim)
        thread.start()
        gate.wait()
        won += Retention(runs).delete([run_id], ended=ENDED)
        thread.join()
        assert won in (["claim"], [run_id])


def test_of_two_deletes_at_once_each_run_goes_with_one(runs: RunStore) -> None:
    ids, gate, went = [new_run(runs) for _ in range(12)], threading.Barrier(2), list[str]()

    def delete(ids: list[str]) -> None:
        gate.wait()
        went.extend(Retention(runs).delete(ids, ended=ENDED))

    threads = [threading.Thread(target=delete, args=(some,)) for some in (ids, ids[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(went) == sorted(ids)


def test_rows_go_in_slices(runs: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "_SLICE", 7)
    run_id = new_run(runs, references=30)
    record = Retention(runs)
    record.delete([run_id], ended=ENDED)
    assert record.sweep() == 30 * 3 + 7
    assert not any(rows_of(runs, run_id).values())
    assert record.sweep() == 0


def test_a_note_is_not_forgotten_before_the_rows_went(runs: RunStore) -> None:
    run_id = new_run(runs)
    record = Retention(runs)
    record.delete([run_id], ended=ENDED)
    record.forget([run_id])
    assert [left.id for left in record.leftovers()] == [run_id]


def test_borrowed_are_the_results_that_other_runs_made(runs: RunStore) -> None:
    maker, taker, gone = new_run(runs), new_run(runs), new_run(runs)
    epoch = runs.claim(taker, "me", seconds=60)
    theirs = {"url": f"/r/{maker}/f-0.dflw"}
    runs.write(taker, epoch, Batch(task_runs=[{"path": "g", "state": "Cached", "reference": theirs}]))
    epoch = runs.claim(gone, "me", seconds=0)
    runs.write(gone, epoch, Batch(task_runs=[{"path": "g", "state": "Cached", "reference": theirs}]))
    Retention(runs).delete([gone], ended=ENDED)  # its rows are there, and do not count any more
    assert list(Retention(runs).borrowed()) == [(taker, theirs)]


def test_known_are_runs_on_record_and_leftovers(runs: RunStore) -> None:
    first, second = new_run(runs), new_run(runs)
    record = Retention(runs)
    record.delete([first], ended=ENDED)
    assert record.known([first, second, "f" * 32]) == {first, second}


def test_a_killed_sweep_is_finished_by_the_next(tmp_path: Path) -> None:
    path = str(tmp_path / "runs.db")
    with RunStore(path) as runs:
        run_id, stays = new_run(runs, references=50), new_run(runs)
        script = """
from sqlalchemy import Engine, event
from dataflow_storage import retention
retention._SLICE = 10
record, slices = retention.Retention(store), 0
record.delete([sys.argv[2]], ended=["Success"])

@event.listens_for(Engine, "before_cursor_execute")
def kill(connection, cursor, statement, parameters, context, many):
    global slices
    slices += statement.startswith("DELETE FROM task_runs")
    if slices == 3:
        os.kill(os.getpid(), signal.SIGKILL)

record.sweep()
"""
        process = start(script, path, run_id)
        _, said = process.communicate(timeout=60)
        assert process.returncode == -signal.SIGKILL, said
        assert rows_of(runs, run_id)["runs"] == 0
        assert 0 < rows_of(runs, run_id)["task_runs"] < 50
        Retention(runs).sweep()
        assert not any(rows_of(runs, run_id).values())
        assert all(rows_of(runs, stays).values())


def test_a_database_without_leftovers_gets_them(tmp_path: Path) -> None:
    path = str(tmp_path / "runs.db")
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        settings = config()
        settings.attributes["connection"] = connection
        command.upgrade(settings, "0001")
    engine.dispose()
    with closing(sqlite3.connect(path)) as old, old:
        old.execute("INSERT INTO runs (id, name, created, state) VALUES (?, 'old', 1.0, 'Success')", ("a" * 32,))
    with RunStore(path) as runs:
        assert Retention(runs).delete(["a" * 32], ended=ENDED) == ["a" * 32]


# -- the whole of it ---------------------------------------------------------------------------------------------------


def test_a_prune_deletes_what_nobody_else_needs(runs: RunStore, local: ResultStore) -> None:
    maker, taker = new_run(runs, results_url=local.url), new_run(runs, "Failed", results_url=local.url)
    needed, other = (local.put(f"{maker}/{name}", name).reference for name in ("needed", "other"))
    epoch = runs.claim(taker, "me", seconds=60)
    runs.write(taker, epoch, Batch(task_runs=[{"path": "g", "state": "Cached", "reference": needed.to_dict()}]))
    runs.release(taker, epoch)
    for state, kept, went in (("Success", [True, False], maker), ("Failed", [False, False], taker)):
        rule = Rule(keep_last=0, state=state)
        planned = survey(runs, rule, time.time())
        done = carry_out(runs, planned, rule, time.time())
        assert [one.id for one in done.runs] == [went]
        assert [one.doomed for one in done.remains] == [one.doomed for one in planned.remains]
        assert local.holds_many([needed, other]) == kept
    assert Retention(runs).leftovers() == []


# -- what lies in a result store ---------------------------------------------------------------------------------------


def test_a_folder_has_damaged_and_unknown_files_too(store: ResultStore) -> None:
    one, two = store.put("r/one", "x" * 100).reference, store.put_many("r/two[0]", {0: 1, 1: 2})[0][0].reference
    store.put("r2/one", 1)
    store._files(store.url).create(f"{store.url}/r/odd", [b"12345"], "0" * 16)
    found = cleaning.folder(store, "r")
    assert set(found) == {one.url, two.url, f"{store.url}/r/odd"}
    assert found[f"{store.url}/r/odd"] == 5
    assert all(size == len(store._files(url).read(url)) for url, size in found.items())
    assert {first: len(files) for first, files in cleaning.folders(store, r"r\d?").items()} == {"r": 3, "r2": 1}
    cleaning.remove(store, [*found, f"{store.url}/r/never"])
    assert cleaning.folder(store, "r") == {}
    assert len(cleaning.folder(store, "r2")) == 1


def test_temporary_files_are_those_of_writers_who_died_long_ago(local: ResultStore, tmp_path: Path) -> None:
    local.put("r/one", 1)
    old, new, other = (
        Path(local.url, "r", name) for name in (".0123456789abcdef.tmp", ".0123456789abcdee.tmp", ".mine.tmp")
    )
    for file in (old, new, other):
        file.write_bytes(b"123")
    for file in (old, other):
        os.utime(file, (1000, 1000))
    assert cleaning.temporaries(local, before=2000) == {str(old): 3}


def test_claims_are_stale_when_they_ended_long_ago(local: ResultStore) -> None:
    now = time.time()
    for key, until in (("a", now - 100), ("b", now + 100)):
        local.put(f"claims/{key}", {"owner": "me", "until": until}, serializer="json")
    [found] = cleaning.claims(local, before=now)
    assert found.endswith("/claims/a.dflw")
