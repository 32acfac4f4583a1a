"""Lives of a run and of results, as programs that may be killed at any step and begun anew.

``python -m tests.storage.lives runs|results FOLDER`` leads one in peace, at FOLDER/0, and then one for each step that
this passed: killed there, and begun anew. It prints the number of each place and its step.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from dataflow_storage import CacheIndex, Entry, ResultStore, StaleOwner
from dataflow_storage.faults import install, read
from dataflow_storage.retention import Retention
from dataflow_storage.rows import Batch
from dataflow_storage.runs import RunStore

Call = Callable[[RunStore], object]
RUN = "a" * 32


def calls(run: str) -> list[tuple[str, Call]]:
    """Each call of a RunStore that writes, by the name of its step, so that the same call can be made again."""
    at = {"path": "f", "time": 1.0}

    def batch(number: int, **more: object) -> Batch:
        return Batch(counts={("f", "x"): 1}, transitions=[at], logs=[at], number=number, **more)  # type: ignore[arg-type]

    row = {"id": run, "name": f"run-{run}", "created": 1.0, "state": "Running", "graph": b"g", "arguments": b"a"}
    return [
        ("runs.create", lambda store: store.create_run(row, owner="me", seconds=60)),
        ("runs.write", lambda store: store.write(run, 1, batch(1, nodes=[{"path": "f"}]))),
        ("runs.order", lambda store: store.order(run, "pause", by="ada", id=run)),
        ("runs.renew", lambda store: store.renew(run, 1, 60)),
        ("runs.write", lambda store: store.write(run, 1, batch(2, done_orders=[one.seq for one in store.orders(run)]))),
        ("runs.answer", lambda store: store.answer(run, "f", -1, 1, by="ada", token="t", value=1, given=True)),
        ("runs.release", lambda store: store.release(run, 1)),
        ("runs.claim", lambda store: store.claim(run, "you", seconds=60, expected_epoch=1)),
        ("runs.write", lambda store: store.write(run, 2, batch(1, run={"state": "Success"}))),
        ("runs.release", lambda store: store.release(run, 2)),
        ("runs.delete", lambda store: Retention(store).delete([run], ended=["Success"])),
        ("runs.sweep", lambda store: Retention(store).sweep()),
        ("runs.forget", lambda store: Retention(store).forget([run])),
    ]


KEPT = 10
"""So many calls leave a run that is over, and is still there."""


def lead_a_run(place: str) -> None:
    """The life of one run; what was done before this process died is done again, or is refused."""
    with RunStore(f"{place}.db") as store:
        for _, call in calls(RUN)[:KEPT]:
            with suppress(StaleOwner, ValueError):  # the process before this one came further
                call(store)


def write_results(place: str) -> None:
    """What may be written again by who does not know how far it came."""
    store = ResultStore(place)
    one = store.put("r/one[0]", {"n": 0}).reference
    store.put_many("r/many[0]", {0: 0, 1: 1})
    store.put_target("t0.json", 0, meta={"run": "r", "path": "t", "index": 0})
    store.put("r/gone", 1)
    store.delete("r/gone")
    index = CacheIndex(store)
    assert index.claim("k0", "me", 60)
    for key in ("k0", "k1"):
        index.add("clean.c0de", {"task": "clean"}, [Entry(key=key, inputs={}, created=1.0, reference=one)])
    index.release("k0")
    index.remove("clean.c0de", ["k1"])


LIVES = {"runs": lead_a_run, "results": write_results}


def in_child(work: Callable[[], None], faults: str = "") -> int:
    """Do it in a process of its own; how that ended, as a signal's number or an exit code's negative."""
    child = os.fork()
    if child == 0:
        try:
            if faults:
                install(read(faults))
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    return -os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(kind: str, folder: str) -> None:
    live = LIVES[kind]
    assert in_child(lambda: live(f"{folder}/0"), f"trace:{folder}/trace") == 0
    with open(f"{folder}/trace", encoding="utf-8") as file:
        steps = file.read().splitlines()
    print("0", flush=True)
    passed: Counter[str] = Counter()
    for number, step in enumerate(steps, 1):
        name, when = step.split()
        passed[step] += 1
        place = f"{folder}/{number}"
        ended = in_child(lambda place=place: live(place), f"kill:{name}:{passed[step]}:{when}")  # type: ignore[misc]
        assert ended == signal.SIGKILL, (step, ended)
        assert in_child(lambda place=place: live(place)) == 0, step  # type: ignore[misc]
        print(number, step, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
