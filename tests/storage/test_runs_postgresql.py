"""A RunStore whose PostgreSQL server restarts, refuses, or has a client that stopped in the middle of its work."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from dataflow_storage import StoreUnavailable
from dataflow_storage.rows import Batch
from dataflow_storage.runs import RunStore
from tests.storage.postgres import Postgres
from tests.storage.test_runs_processes import finish, start


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    running = Postgres()
    try:
        yield running
    finally:
        running.close()


def new_run(store: RunStore, name: str) -> str:
    run = name * 32
    store.create_run({"id": run, "name": f"run-{name}"}, owner="me", seconds=600)
    return run


# The driver logs what it ignores, which we hear of as errors; without a handler it would come to stderr.
QUIET = """
import logging
logging.getLogger("psycopg").addHandler(logging.NullHandler())
"""

WRITER = """
from dataflow_storage import StoreUnavailable
run, errors = sys.argv[2] * 32, 0

def surely(call):
    global errors
    while True:
        try:
            return call()
        except StoreUnavailable as error:
            assert error.transient, error
            errors += 1
            time.sleep(0.01)  # the server is away, and nothing says when it is back

surely(lambda: store.create_run({"id": run, "name": run}, owner=run, seconds=600))
rows = [{"path": "f", "idx": at, "time": 1.0} for at in range(50)]
number = 0
while not os.path.exists(sys.argv[3]):
    number += 1
    batch = Batch(number=number, task_runs=rows, transitions=rows, logs=rows, counts={("f", "x"): 50})
    surely(lambda: store.write(run, 1, batch))
    surely(lambda: store.order(run, "ask", by="me", value=number, id=f"{sys.argv[2]}{number:031x}"))
    print("wrote", flush=True)
print(number, errors)
"""


def test_eight_writers_outlive_restarts_of_the_server_without_losing_or_doubling_a_batch(
    server: Postgres, tmp_path: Path
) -> None:
    over = tmp_path / "over"
    with RunStore(server.url) as store:
        store.runs()
    writers = [start(QUIET + WRITER, server.url, name, str(over)) for name in "01234567"]
    try:
        for mode in ("fast", "immediate", "fast", "immediate"):
            for writer in writers:
                assert writer.stdout is not None
                assert [writer.stdout.readline() for _ in range(5)] == ["wrote\n"] * 5
            server.stop(mode)
            server.start()
    finally:
        over.touch()
    ends = [said.split("\n")[-1].split() for said in finish(writers)]
    assert all(int(errors) > 0 for _, errors in ends)
    with RunStore(server.url) as store:
        for name, (batches, _) in zip("01234567", ends, strict=True):
            run, count = name * 32, int(batches)
            assert store.find(run).written == count
            assert store.counts(run) == {"f": {"x": 50 * count}}
            assert len(store.transitions(run)) == len(store.logs(run)) == 50 * count
            assert [order.value for order in store.orders(run)] == list(range(1, count + 1))


def test_a_store_that_is_open_goes_on_with_the_first_call_after_a_restart(server: Postgres) -> None:
    with RunStore(server.url) as store:
        run = new_run(store, "a")
        server.stop("fast")
        for call in (store.runs, lambda: store.write(run, 1, Batch(number=1)), lambda: store.order(run, "x", by="me")):
            with pytest.raises(StoreUnavailable) as away:
                call()
            assert away.value.transient
        server.start()
        store.write(run, 1, Batch(number=1, counts={("f", "x"): 1}))
        assert store.counts(run) == {"f": {"x": 1}}


def test_what_will_not_pass_is_told_apart(server: Postgres) -> None:
    url = make_url(server.url)
    for wrong in (url.set(database="nowhere"), url.set(username="nobody")):
        with RunStore(wrong.render_as_string(hide_password=False)) as store:
            with pytest.raises(StoreUnavailable, match="does not exist") as refused:
                store.runs()
            assert not refused.value.transient
    with RunStore("postgresql://me@127.0.0.1:1/runs") as store, pytest.raises(StoreUnavailable) as nobody_there:
        store.runs()
    assert nobody_there.value.transient


def test_a_client_that_was_stopped_in_its_transaction_is_thrown_out_and_harms_nobody(server: Postgres) -> None:
    """A suspended laptop: its lock on the run goes, another takes the run over, and what it writes later is refused."""
    script = """
from sqlalchemy import Engine, event
from dataflow_storage import StaleOwner, StoreUnavailable, database
database._IDLE = 200
store = RunStore(sys.argv[1])
stopped = []

@event.listens_for(Engine, "before_cursor_execute")
def stop(connection, cursor, statement, parameters, context, many):
    if statement.startswith("INSERT INTO logs") and not stopped:
        stopped.append(True)
        print("stops", flush=True)
        os.kill(os.getpid(), signal.SIGSTOP)

batch = Batch(number=1, logs=[{"time": 1.0}] * 3, counts={("f", "x"): 3})
for error in (StoreUnavailable, StaleOwner):
    try:
        store.write("b" * 32, 1, batch)
        print("wrote")
    except error as found:
        print(type(found).__name__, getattr(found, "transient", ""))
"""
    with RunStore(server.url) as store:
        run = "b" * 32
        store.create_run({"id": run, "name": "stopped"}, owner="asleep", seconds=0)
        process = start(QUIET + script, server.url)
        assert process.stdout is not None
        assert process.stdout.readline() == "stops\n"
        assert store.claim(run, "other", seconds=60, expected_epoch=1) == 2
        store.write(run, 2, Batch(number=1, counts={("f", "x"): 1}))
        process.send_signal(signal.SIGCONT)
        assert finish([process]) == ["StoreUnavailable True\nStaleOwner"]
        assert (store.counts(run), store.logs(run)) == ({"f": {"x": 1}}, [])


def test_a_lock_that_another_client_keeps_is_waited_for_as_long_as_patience_says(server: Postgres) -> None:
    with RunStore(server.url) as store, RunStore(server.url, patience=0.2) as hasty:
        run = new_run(store, "c")
        held, done = threading.Event(), threading.Event()

        def hold() -> None:
            with store._database.writing() as connection:
                store._lease(connection, run)
                held.set()
                done.wait(60)

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(60)
        with pytest.raises(StoreUnavailable, match=r"another client has kept it locked for 0\.2 s") as locked:
            hasty.write(run, 1, Batch(number=1))
        done.set()
        holder.join()
        assert locked.value.transient
        hasty.write(run, 1, Batch(number=1))
