"""What a RunStore promises, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import pickle
import random
import threading
import time
import uuid
from collections.abc import Iterator, Mapping

import pytest
from sqlalchemy import Engine, event

from dataflow_storage import AmbiguousRun, Reference, RunNotFound, SerializationError, StaleOwner
from dataflow_storage.rows import Batch, Columns
from dataflow_storage.runs import RunHeld, RunStore, UnknownRun


@pytest.fixture
def store(url: str) -> Iterator[RunStore]:
    with RunStore(url) as store:
        yield store


def new_run(store: RunStore, name: str = "run", **columns: object) -> str:
    run_id = uuid.uuid4().hex
    store.create_run({"id": run_id, "name": name, "flow": "etl", **columns})
    return run_id


def test_a_run_comes_back_as_it_was_given(store: RunStore) -> None:
    row = {
        "id": "0123456789abcdef" * 2, "name": "brisk-otter", "flow": "etl", "version": "v1", "created": 5.25,
        "parameters": {"day": "2026-11-22", "n": 10**30, "x": float("inf"), "t": "a\0\udc80"}, "tags": ["a", "b"],
        "state": "Pending", "executor": "threads", "results_url": "s3://bucket/x", "details": {"k": [1, None]},
        "graph": b"\x00\xff" * 1000,
    }  # fmt: skip
    assert store.create_run(row) == "brisk-otter"
    found = store.find("brisk-otter")
    for column, value in row.items():
        if column != "graph":
            assert getattr(found, column) == value
    assert (found.message, found.epoch, found.owner, found.started, found.outputs) == ("", 0, None, None, None)
    assert store.graph(found.id) == row["graph"]
    assert store.graph("f" * 32) is None


def test_a_taken_name_gets_the_next_free_number(store: RunStore) -> None:
    def create(name: str) -> str:
        return store.create_run({"id": uuid.uuid4().hex, "name": name})

    assert [create("a_b") for _ in range(3)] == ["a_b", "a_b-2", "a_b-3"]
    assert [create("axb"), create("axb"), create("a_b-2")] == ["axb", "axb-2", "a_b-2-2"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"id": "x", "name": "a"}, "32 lower-case hex digits"),
        ({"id": "A" * 32, "name": "a"}, "32 lower-case hex digits"),
        ({"id": "a" * 32, "name": ""}, "not empty"),
        ({"id": "a" * 32, "name": "a", "colour": 1}, "no column 'colour'.*It takes: id, name"),
    ],
)
def test_a_run_that_is_none_is_refused(store: RunStore, row: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        store.create_run(row)
    assert store.runs() == []


def test_an_id_is_taken_once(store: RunStore) -> None:
    run_id = new_run(store)
    with pytest.raises(ValueError, match="does not fit"):
        store.create_run({"id": run_id, "name": "other"})
    assert [run.name for run in store.runs()] == ["run"]


def test_find(store: RunStore) -> None:
    with pytest.raises(RunNotFound):
        store.find("@last")
    ids = ["abcd1" + "0" * 27, "abcd2" + "0" * 27, "beef" + "0" * 28]
    for at, (run_id, state) in enumerate(zip(ids, ["Failed", "Crashed", "Success"], strict=True)):
        store.create_run({"id": run_id, "name": f"otter{at}", "created": float(at), "state": state})
    found = {wanted: store.find(wanted).id for wanted in (ids[0], "otter1", "abcd2", "BEEF", "@last", "@last-failed")}
    assert list(found.values()) == [ids[0], ids[1], ids[1], ids[2], ids[2], ids[1]]
    store.create_run({"id": "c" * 32, "name": "abcd"})
    assert store.find("abcd").id == "c" * 32  # a name wins over the start of an id

    with pytest.raises(AmbiguousRun) as ambiguous:
        store.find("ABCD")  # names are case-sensitive, ids are not
    assert ambiguous.value.matches == (f"otter1 ({ids[1]})", f"otter0 ({ids[0]})")
    with pytest.raises(UnknownRun, match="Did you mean 'otter") as unknown:
        store.find("oter1")
    assert unknown.value.suggestions[0] == "otter1"
    for wanted in ("bee", "%", "", "@first", "abcd_", "' OR 1=1"):
        with pytest.raises(RunNotFound):
            store.find(wanted)
    assert pickle.loads(pickle.dumps(unknown.value)).suggestions == unknown.value.suggestions


def test_runs_newest_first_in_pages_and_without_graphs(store: RunStore) -> None:
    for at in range(6):
        flow, state = ("etl" if at % 2 else "ml"), ("Failed" if at > 3 else "Success")
        store.create_run({"id": f"{at:032x}", "name": f"r{at}", "flow": flow, "created": float(at), "state": state})
    sent: list[str] = []

    def listen(*args: object) -> None:
        sent.append(str(args[2]))

    event.listen(Engine, "before_cursor_execute", listen)
    try:
        pages = [[run.name for run in store.runs(limit=4)], [run.name for run in store.runs(limit=4, before=2.0)]]
    finally:
        event.remove(Engine, "before_cursor_execute", listen)
    assert pages == [["r5", "r4", "r3", "r2"], ["r1", "r0"]]
    assert sent
    assert not any("graph" in sql for sql in sent)
    assert [run.name for run in store.runs(flow="ml")] == ["r4", "r2", "r0"]
    assert [run.name for run in store.runs(state="Failed")] == ["r5", "r4"]
    assert [run.name for run in store.runs(state=["Failed", "Success"], flow="etl")] == ["r5", "r3", "r1"]
    assert store.runs(state=[]) == []


def test_the_lease(store: RunStore) -> None:
    run = new_run(store)
    assert store.claim(run, "me", seconds=60) == 1
    with pytest.raises(RunHeld, match="belongs to me until 20") as held:
        store.claim(run, "you", seconds=60)
    assert isinstance(held.value, StaleOwner)
    assert held.value.owner == "me"
    assert time.time() + 50 < held.value.until < time.time() + 61
    assert store.claim(run, "me", seconds=0) == 2  # ours; and it ends at once
    assert store.claim(run, "you", seconds=60) == 3
    with pytest.raises(StaleOwner) as stale:
        store.renew(run, 2, 60)
    assert (stale.value.epoch, stale.value.current, stale.value.owner) == (2, 3, "you")
    store.release(run, 2)  # not ours: nothing happens
    assert store.find(run).owner == "you"
    store.renew(run, 3, 1000)
    assert (store.find(run).lease_until or 0) > time.time() + 900
    store.release(run, 3)
    assert (store.find(run).owner, store.find(run).lease_until) == (None, None)
    with pytest.raises(StaleOwner):
        store.renew(run, 3, 60)
    assert store.claim(run, "me", seconds=60) == 4
    with pytest.raises(RunNotFound):
        store.claim("0" * 32, "me", seconds=60)


def test_an_old_owner_writes_nothing(store: RunStore) -> None:
    run = new_run(store, state="Running")
    old = store.claim(run, "me", seconds=0)
    new = store.claim(run, "you", seconds=60)
    late = Batch(run={"state": "Success"}, counts={("a", "Success"): 1}, logs=[{"path": "a", "time": 1.0}])
    with pytest.raises(StaleOwner, match="Nothing was written"):
        store.write(run, old, late)
    assert (store.find(run).state, store.counts(run), store.logs(run)) == ("Running", {}, [])
    store.write(run, new, late)
    assert store.find(run).state == "Success"
    with pytest.raises(RunNotFound):
        store.write("0" * 32, 1, Batch())


def test_a_batch_is_read_back(store: RunStore) -> None:
    run = new_run(store)
    other = new_run(store)
    epoch = store.claim(run, "me", seconds=60)
    reference = {"url": "/results/a", "size": 3}
    store.write(
        run,
        epoch,
        Batch(
            run={"state": "Running", "started": 2.5, "outputs": ["clean"], "graph": b"g", "message": None},
            nodes=[
                {"path": "b", "position": 1, "task": "t", "kind": "map", "width": 2, "upstream": ["a"]},
                {"path": "a", "position": 0, "task": "s", "kind": "task", "details": {"retries": 3}},
            ],
            task_runs=[
                {"path": "b", "idx": 10, "state": "Running", "time": 3.0, "worker": "w"},
                {"path": "a", "state": "Success", "reference": reference, "details": {"k": 1}},
                {"path": "b", "idx": 9, "state": "Failed", "message": "no"},
            ],
            transitions=[
                {"path": None, "state": "Running", "time": 1.0},
                {"path": "b", "idx": 9, "state": "Running", "time": 0.5, "attempt": 1},
                {"path": "b", "idx": 9, "state": "Failed", "message": "no", "time": 0.1, "attempt": 1},
            ],
            attempts=[{"path": "b", "idx": 9, "attempt": 1, "state": "Failed", "started": 1.0, "error": {"type": "E"}}],
            logs=[
                {"path": "b", "idx": 9, "attempt": 1, "time": 1.0, "level": 40, "logger": "x", "message": "bad"},
                {"path": "a", "time": 0.5, "level": 20, "message": "good"},
            ],
            counts={("b", "Failed"): 1, ("b", "Running"): 1, ("a", "Success"): 1},
            hooks=[{"path": "b", "idx": 9, "hook": "on_failure", "state": "Failed", "error": "E", "time": 1.0}],
            artifacts=[{"id": "p", "path": "a", "kind": "table", "name": "t", "details": {"rows": 1}, "time": 1.0}],
        ),
    )
    found = store.find(run)
    assert (found.state, found.started, found.outputs, found.message) == ("Running", 2.5, ["clean"], "")
    assert store.graph(run) == b"g"
    nodes = store.nodes(run)
    assert [(n.path, n.width, n.upstream, n.details) for n in nodes] == [
        ("a", None, [], {"retries": 3}),
        ("b", 2, ["a"], {}),
    ]
    task_runs = store.task_runs(run)
    assert [(t.path, t.idx, t.state, t.message) for t in task_runs] == [
        ("a", -1, "Success", ""), ("b", 9, "Failed", "no"), ("b", 10, "Running", ""),
    ]  # fmt: skip
    assert (task_runs[0].reference, task_runs[0].details, task_runs[2].time) == (reference, {"k": 1}, 3.0)
    assert store.task_runs(run, "b", states=["Running", "Pending"]) == task_runs[2:]
    assert store.task_runs(run, "b", 9) == store.task_runs(run, "b", limit=1) == task_runs[1:2]
    moves = store.transitions(run)
    assert [(m.path, m.idx, m.state) for m in moves] == [(None, -1, "Running"), ("b", 9, "Running"), ("b", 9, "Failed")]
    assert store.transitions(run, after=moves[0].seq) == store.transitions(run, path="b", idx=9) == moves[1:]
    [pulse] = store.pulse(run, after=moves[0].seq)
    assert (pulse.path, pulse.seq, pulse.began) == ("b", moves[2].seq, moves[1].time)
    assert pulse.last == max(move.time for move in moves[1:])
    assert sum(one.retries for one in store.pulse(run)) == 0
    [attempt] = store.attempts(run, "b", 9)
    assert (attempt.error, attempt.ended) == ({"type": "E"}, None)
    lines = store.logs(run)
    assert [line.message for line in lines] == ["bad", "good"]
    assert store.logs(run, level=30) == store.logs(run, "b") == store.logs(run, limit=1) == lines[:1]
    assert store.logs(run, after=lines[0].seq) == lines[1:]
    assert store.counts(run) == {"a": {"Success": 1}, "b": {"Failed": 1, "Running": 1}}
    assert [hook.error for hook in store.hooks(run)] == ["E"]
    assert [artifact.details for artifact in store.artifacts(run)] == [{"rows": 1}]
    assert (store.task_runs(other), store.transitions(other), store.counts(other)) == ([], [], {})


def test_ends_of_many_nodes_come_in_the_order_asked_for(store: RunStore) -> None:
    run = new_run(store)
    epoch = store.claim(run, "me", seconds=60)
    paths = [f"f-{n}" for n in random.Random(1).sample(range(12_000), 12_000)]
    at = Reference("/results/f", "json", 1, "ab" * 32, 7)
    each = {"path": paths, "state": ["Success", "Failed"] * 6000}
    rows: list[Mapping[str, object] | Columns] = [Columns(12_000, {"reference": at.to_dict()}, each)]
    rows += [{"path": "map", "idx": idx, "state": "Skipped"} for idx in (2, 0, 1)]
    store.write(run, epoch, Batch(task_runs=rows))
    ends = store.ends(run, ["map", *paths, "none", "map"])
    assert list(ends) == ["map", *paths, "none"]
    assert ends["map"] == [("map", idx, "Skipped", None) for idx in (0, 1, 2)]
    assert ends["none"] == []
    assert [ends[path] for path in paths] == [
        [(path, -1, state, at)] for path, state in zip(*each.values(), strict=True)
    ]


def test_upserts_change_what_is_given_and_the_last_wins(store: RunStore) -> None:
    run = new_run(store)
    epoch = store.claim(run, "me", seconds=60)
    store.write(
        run,
        epoch,
        Batch(
            nodes=[{"path": "a", "task": "t", "position": 4}],
            task_runs=[
                {"path": "a", "idx": 1, "state": "Running", "started": 1.0},
                {"path": "a", "idx": 1, "state": "Retrying", "worker": "w"},  # other columns: another statement
                {"path": "a", "idx": 1, "state": "Running", "started": 2.0},
            ],
            attempts=[{"path": "a", "idx": 1, "attempt": 1, "state": "Running", "started": 1.0}],
        ),
    )
    [row] = store.task_runs(run)
    assert (row.state, row.started, row.worker) == ("Running", 2.0, "w")
    store.write(
        run,
        epoch,
        Batch(
            nodes=[{"path": "a", "width": 7}],
            task_runs=[{"path": "a", "idx": 1, "state": "Success", "ended": 3.0}, {"path": "a", "idx": 2}],
            attempts=[{"path": "a", "idx": 1, "attempt": 1, "state": "Success", "ended": 3.0}],
        ),
    )
    first, second = store.task_runs(run)
    assert (first.state, first.started, first.ended, first.worker) == ("Success", 2.0, 3.0, "w")
    assert (second.idx, second.state) == (2, "")
    [node] = store.nodes(run)
    assert (node.task, node.position, node.width) == ("t", 4, 7)
    [attempt] = store.attempts(run)
    assert (attempt.state, attempt.started, attempt.ended) == ("Success", 1.0, 3.0)


def test_counts_add_up_and_zero_is_left_out(store: RunStore) -> None:
    run = new_run(store)
    epoch = store.claim(run, "me", seconds=60)
    store.write(run, epoch, Batch(counts={("a", "Pending"): 3}))
    store.write(run, epoch, Batch(counts={("a", "Pending"): -3, ("a", "Running"): 3}))
    store.write(run, epoch, Batch(counts={("a", "Running"): -1, ("a", "Success"): 1}))
    assert store.counts(run) == {"a": {"Running": 2, "Success": 1}}


def test_odd_text_never_loses_a_flush(store: RunStore) -> None:
    run = new_run(store)
    epoch = store.claim(run, "me", seconds=60)
    odd = ["plain é 🦦", "file \udc80 name", "nul \0 byte", "100 % %s ? :x", ""]
    lines = [{"path": "a", "time": 1.0, "message": message} for message in odd]
    store.write(
        run, epoch, Batch(logs=lines, counts={("a", "x"): 1}, task_runs=[{"path": "%s?", "details": {"m": odd}}])
    )
    found = [line.message for line in store.logs(run)]
    assert (found[0], found[3], found[4]) == (odd[0], odd[3], odd[4])
    assert found[1] == "file \\udc80 name"
    assert found[2] in (odd[2], "nul � byte")
    assert store.counts(run) == {"a": {"x": 1}}  # not twice
    [row] = store.task_runs(run)
    assert (row.path, row.details) == ("%s?", {"m": odd})


@pytest.mark.parametrize(
    ("batch", "error", "says"),
    [
        (Batch(task_runs=[{"path": "a", "colour": 1}]), ValueError, "'task_runs' has no column 'colour'"),
        (Batch(logs=[{"path": "a", "time": 1.0}, {"mesage": "x"}]), ValueError, "'logs' has no column 'mesage'"),
        (Batch(transitions=[{"path": "a", "seq": 1}]), ValueError, "'transitions' has no column 'seq'"),
        (Batch(run={"state": "x", "epoch": 9}), ValueError, "may not change .'epoch'."),
        (Batch(logs=[{"path": "a"}]), ValueError, "does not fit"),  # without a time
        (Batch(logs=[{"path": {1}, "time": 1.0}]), ValueError, "does not fit"),
        (Batch(task_runs=[{"path": "a", "details": {"x": {1}}}]), SerializationError, "task_runs.details"),
    ],
)
def test_a_bad_batch_is_refused_whole(store: RunStore, batch: Batch, error: type[Exception], says: str) -> None:
    run = new_run(store)
    epoch = store.claim(run, "me", seconds=60)
    store.write(run, epoch, Batch(counts={("a", "x"): 1}))
    with pytest.raises(error, match=says):
        store.write(
            run, epoch, Batch(**{**{name: getattr(batch, name) for name in Batch.__slots__}, "counts": {("a", "x"): 1}})
        )
    assert store.counts(run) == {"a": {"x": 1}}
    assert (store.logs(run), store.task_runs(run), store.transitions(run)) == ([], [], [])


def test_threads_share_a_store(store: RunStore) -> None:
    errors: list[BaseException] = []

    def work(at: int) -> None:
        try:
            run = new_run(store, "same-name")
            epoch = store.claim(run, f"thread {at}", seconds=60)
            for turn in range(15):
                store.write(run, epoch, Batch(transitions=[{"path": "a", "state": str(turn), "time": 1.0}] * 20))
                assert len(store.transitions(run)) == 20 * (turn + 1)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(run.name for run in store.runs()) == ["same-name", "same-name-2", "same-name-3", "same-name-4"]


def test_a_copy_opens_its_own_connections(store: RunStore) -> None:
    run = new_run(store)
    with pickle.loads(pickle.dumps(store)) as copy:
        assert copy.find(run) == store.find(run)
        assert repr(copy) == repr(store)
    store.close()
    assert store.find(run).id == run  # opens again


def test_ten_thousand_task_runs_are_written_fast(store: RunStore) -> None:
    run = new_run(store)
    epoch = store.claim(run, "me", seconds=60)
    reference = {"url": "/home/ada/.dataflow/results/x/fetch/0/1.dflw", "serializer": "json", "digest": "ab" * 32}
    began = time.perf_counter()
    for start in range(0, 10_000, 250):  # 1,000 rows in each flush
        done = [{"path": "f", "idx": at, "time": 1.0, "attempt": 1} for at in range(start, start + 250)]
        moves = [{**row, "state": state} for row in done for state in ("Running", "Success")]
        tries = [{"path": "f", "idx": row["idx"], "attempt": 1, "state": "Success", "started": 1.0} for row in done]
        rows = [{**row, "state": "Success", "reference": reference} for row in done]
        store.write(
            run, epoch, Batch(task_runs=rows, transitions=moves, attempts=tries, counts={("f", "Success"): 250})
        )
    seconds = time.perf_counter() - began
    assert store.counts(run) == {"f": {"Success": 10_000}}
    assert len(store.transitions(run)) == 20_000
    assert seconds < (2 if "runs.db" in repr(store) else 20)  # 0.25 on an idle laptop-class core
