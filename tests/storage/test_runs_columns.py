"""Rows that are given by columns are on record as if each had been given alone."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import pytest

from dataflow_storage import Reference
from dataflow_storage.references import References
from dataflow_storage.rows import Batch, Columns
from dataflow_storage.runs import RunStore

ODD = ["", "plain", 'it\'s "quoted" \\', "a\nb", "é ✓ 🙂", "nul \0", "lone \udc80", '{"no": "json"}', "12", "null"]


URLS = ["/u", "/u", "/u"]


@pytest.fixture
def store(url: str) -> Iterator[RunStore]:
    with RunStore(url) as store:
        yield store


def new_run(store: RunStore) -> tuple[str, int]:
    run_id = uuid.uuid4().hex
    store.create_run({"id": run_id, "name": "run"})
    return run_id, store.claim(run_id, "me", seconds=60)


def told(rows: Sequence[Any]) -> list[dict[str, object]]:
    return [{name: value for name, value in asdict(row).items() if name not in ("run_id", "seq")} for row in rows]


def references(urls: Sequence[str], size: int) -> Columns:
    many = References.of(Reference(url, "json", size + i, f"{i:064x}", i) for i, url in enumerate(urls))
    return Columns(len(urls), {}, dict(zip(Reference._fields, many.columns, strict=True)))


TASK_RUNS = {
    "one": Columns(1, {"path": "a", "idx": 7, "state": "Running", "time": 1.5}, {}),
    "counted": Columns(3, {"path": "a", "state": "Running", "attempt": 1, "details": None}, {"idx": [4, 5, 6]}),
    "one column": Columns(3, {"path": "a", "state": "Running"}, {"idx": [4, 6, 5]}),
    "two columns": Columns(2, {"path": "a"}, {"idx": [4, 9], "time": [1795391530.25, 0.5]}),
    "some without": Columns(3, {"path": "a"}, {"idx": [1, 2, 3], "time": [None, 2, None], "message": ["", None, "x"]}),
    "odd texts": Columns(len(ODD), {"path": "a"}, {"idx": [*range(len(ODD))], "message": ODD, "worker": ODD[::-1]}),
    "an odd path": Columns(2, {"path": ODD[2], "state": ODD[4]}, {"idx": [0, 1]}),
    "a path that is no text": Columns(2, {"path": ODD[6], "message": ODD[5]}, {"idx": [0, 1]}),
    "objects": Columns(3, {"path": "a", "details": {"k": [1]}}, {"idx": [0, 1, 2], "reference": references(URLS, 4)}),
    "odd objects": Columns(10, {"path": "a"}, {"idx": [*range(10)], "reference": references(ODD, 10**12)}),
    "objects of one value": Columns(2, {"path": "a"}, {"idx": [0, 1], "details": Columns(2, {"k": "v"}, {})}),
    "plain data": Columns(3, {"path": "a"}, {"idx": [0, 1, 2], "details": [{"a": [1]}, None, "text"]}),
}  # fmt: skip


@pytest.mark.parametrize("columns", TASK_RUNS.values(), ids=TASK_RUNS)
def test_columns_are_written_as_their_rows_are(store: RunStore, columns: Columns) -> None:
    together, epoch = new_run(store)
    store.write(together, epoch, Batch(task_runs=[columns]))
    alone, epoch = new_run(store)
    store.write(alone, epoch, Batch(task_runs=[*columns.rows()]))
    assert told(store.task_runs(together)) == told(store.task_runs(alone))
    assert len(store.task_runs(together)) == columns.size


def test_columns_change_only_what_they_name(store: RunStore) -> None:
    run_id, epoch = new_run(store)
    begun = Columns(2, {"path": "a", "state": "Running", "worker": "w"}, {"idx": [0, 1], "started": [1.5, 2.5]})
    store.write(run_id, epoch, Batch(task_runs=[begun, {"path": "a", "idx": 1, "message": "mine"}]))
    store.write(run_id, epoch, Batch(task_runs=[Columns(2, {"path": "a", "state": "Success"}, {"idx": [0, 1]})]))
    found = [(row.state, row.worker, row.started, row.message) for row in store.task_runs(run_id)]
    assert found == [("Success", "w", 1.5, ""), ("Success", "w", 2.5, "mine")]


def test_what_is_appended_stays_in_its_order(store: RunStore) -> None:
    run_id, epoch = new_run(store)
    rows: list[Mapping[str, object] | Columns] = [
        {"path": "a", "idx": 0, "state": "Pending", "time": 1.0},
        Columns(3, {"path": "b", "state": "Running", "time": 2.0}, {"idx": [5, 1, 3]}),
        Columns(2, {"path": "b", "state": "Success"}, {"idx": [1, 5], "time": [3.0, 2.5]}),
        {"path": "a", "idx": 1, "state": "Pending", "time": 0.5},
    ]
    store.write(run_id, epoch, Batch(transitions=rows))
    found = [(row.path, row.idx, row.state, row.time) for row in store.transitions(run_id)]
    assert found == [
        ("a", 0, "Pending", 1.0), ("b", 5, "Running", 2.0), ("b", 1, "Running", 2.0), ("b", 3, "Running", 2.0),
        ("b", 1, "Success", 3.0), ("b", 5, "Success", 2.5), ("a", 1, "Pending", 0.5),
    ]  # fmt: skip


def test_a_column_that_there_is_not_is_refused(store: RunStore) -> None:
    run_id, epoch = new_run(store)
    for wrong in (Columns(1, {"path": "a", "colour": 1}, {"idx": [0]}), Columns(1, {"path": "a"}, {"colour": [0]})):
        with pytest.raises(ValueError, match="'colour'"):
            store.write(run_id, epoch, Batch(task_runs=[wrong]))
    assert not store.task_runs(run_id)
