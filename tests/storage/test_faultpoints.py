"""Faults on purpose: what can be asked for, and that who is killed, or told a lie, loses and doubles nothing."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select

from dataflow_storage import CacheIndex, Entry, ResultStore, StoreUnavailable, cleaning
from dataflow_storage.faults import faultpoint, install, read
from dataflow_storage.local import LocalFiles
from dataflow_storage.runs import RunStore
from dataflow_storage.tables import LEFTOVERS, METADATA, RUNS
from tests.storage.lives import KEPT, RUN, calls
from tests.storage.places import Place
from tests.storage.test_runs_processes import start

ROOT = Path(__file__).parents[2]

Steps = list[tuple[str, str]]


@pytest.fixture(autouse=True)
def no_faults_after() -> Iterator[None]:
    yield
    install(None)


# -- what can be asked for ---------------------------------------------------------------------------------------------


def test_without_faults_a_faultpoint_is_one_object_that_does_nothing() -> None:
    assert faultpoint("a") is faultpoint("b")
    with pytest.raises(KeyError), faultpoint("a"):
        raise KeyError


def test_a_step_that_failed_by_itself_is_not_followed_by_a_fault() -> None:
    seen: Steps = []
    install(lambda name, when: seen.append((name, when)))
    with pytest.raises(KeyError), faultpoint("a"):
        raise KeyError
    assert seen == [("a", "before")]


@pytest.mark.parametrize(
    "text",
    ["", "kill", "kill:a", "kill:a:1", "kill:a:1:during", "kill:a:0:before", "kill:a:x:before", "kill::1:before",
     "fail:a:2:1", "fail:a:-1:1", "fail:a:x:1", "fail:a:0.5", "fail:a:0.5:", "fail::0.5:1", "trace:", "stop:a",
     "kill:a:1:after,", "kill:a:1:after:9"],
)  # fmt: skip
def test_what_cannot_be_asked_for_is_refused_with_what_can(text: str) -> None:
    with pytest.raises(
        ValueError, match=re.escape("It takes kill:NAME:N:before|after, fail:PATTERN:RATE:SEED and trace:FILE")
    ):
        read(text)


def test_a_bad_environment_is_refused_where_it_is_read() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import dataflow_storage.faults"],
        env={**os.environ, "DATAFLOW_FAULTS": "kil:a:1:after", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "DATAFLOW_FAULTS has 'kil:a:1:after', which is none. It takes kill:NAME" in done.stderr


def test_told_failures_are_drawn_from_the_seed_and_come_at_their_rate() -> None:
    def failures(text: str) -> list[int]:
        install(read(text))
        found = []
        for number in range(1000):
            with faultpoint("other"):  # does not fit, and draws no number
                pass
            try:
                with faultpoint("runs.write"):
                    pass
            except StoreUnavailable as error:
                found += [number] if error.transient else []
        return found

    one, other = failures("fail:runs.*:0.05:seed"), failures("fail:runs.*:0.05:other")
    assert one == failures("fail:runs.w*:0.05:seed") != other
    assert 20 < len(one) < 90
    assert len(failures("fail:*.write:1:x")) == 1000
    assert failures("fail:runs.*:0:x") == failures("fail:results.*:1:x") == []


def test_a_trace_names_what_was_passed_and_a_kill_comes_at_its_number(tmp_path: Path) -> None:
    script = "from dataflow_storage.faults import faultpoint\nfor name in 'abaa':\n    with faultpoint(name): pass\n"
    whole = ["a before", "a after", "b before", "b after", "a before", "a after", "a before", "a after"]
    cases = {"": 8, ",kill:a:2:before": 5, ",kill:a:2:after": 6, ",kill:*:2:after": 4, ",kill:c:1:after": 8}
    for more, passed in cases.items():
        file = tmp_path / f"trace{len(list(tmp_path.iterdir()))}"
        process = start(script, "unused", DATAFLOW_FAULTS=f"trace:{file}{more}")
        process.communicate(timeout=60)
        assert process.returncode == (0 if passed == 8 else -signal.SIGKILL)
        assert file.read_text().splitlines() == whole[:passed]


# -- the record of runs ------------------------------------------------------------------------------------------------


_OWN = {"seq", "time", "lease_until", "deleted"}  # of a database or a moment


def rows(store: RunStore, run: str) -> dict[str, list[dict[str, object]]]:
    """All that the database has of a run, with its id written as R."""
    found = {}
    with store._database.reading() as connection:
        for table in METADATA.sorted_tables:
            own = table.c.id if table in (RUNS, LEFTOVERS) else table.c.run_id
            its = connection.execute(select(table).where(own == run).order_by(*table.primary_key)).mappings()
            found[table.name] = [
                {str(k): v.replace(run, "R") if isinstance(v, str) else v for k, v in row.items() if k not in _OWN}
                for row in its
            ]
    return found


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(last=st.integers(1, 13), lies=st.lists(st.integers(0, 2), min_size=40, max_size=40), order=st.integers(0, 3))
def test_a_call_given_again_after_a_told_failure_leaves_the_same_rows(
    url: str, last: int, lies: list[int], order: int
) -> None:
    with RunStore(url) as store:
        clean, faulty = uuid.uuid4().hex, uuid.uuid4().hex
        for _, call in calls(clean)[:last]:
            call(store)
        waiting = list(lies)

        def lie(name: str, when: str) -> None:
            if when == "after" and waiting[0]:
                waiting[0] -= 1
                raise StoreUnavailable("x", "a lie", transient=True)

        for _, call in calls(faulty)[:last]:
            install(lie)
            while True:
                try:
                    call(store)
                    break
                except StoreUnavailable:
                    pass
            install(None)
            waiting.pop(0)
        assert rows(store, faulty) == rows(store, clean)


def killed_at_each_step(kind: str, folder: Path) -> dict[str, str]:
    """Lead a life that is killed at each of its steps and begun anew: the places that this left, and their steps."""
    command = [sys.executable, "-m", "tests.storage.lives", kind, str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = (line.partition(" ") for line in done.stdout.splitlines())
    return {str(folder / number): step for number, _, step in found}


def test_a_run_may_be_killed_at_each_step(tmp_path: Path) -> None:
    (clean, _), *killed = killed_at_each_step("runs", tmp_path).items()
    assert {step.split()[0] for _, step in killed} == {"runs.make", *(name for name, _ in calls("")[:KEPT])}
    with RunStore(f"{clean}.db") as store:
        whole = rows(store, RUN)
    assert [len(whole[name]) for name in ("runs", "transitions", "orders", "answers")] == [1, 3, 1, 1]
    for place, step in killed:
        with RunStore(f"{place}.db") as store:
            assert rows(store, RUN) == whole, step


# -- results -----------------------------------------------------------------------------------------------------------


def fill(store: ResultStore) -> dict[str, object]:
    """Every call of a ResultStore and its cache that writes; what each key has in the end."""
    for number in range(6):
        committed = store.put(f"r/one[{number}]", {"n": number})
        assert not committed.adopted, "it was ours"
        many, failed = store.put_many(f"r/many[{number}]", {i: i for i in range(number + 1)})
        assert not failed
        assert not any(one.adopted for one in many.values()), "they were ours"
        target = store.put_target(f"t{number}.json", number, meta={"run": "r", "path": "t", "index": number})
        assert not target.adopted, "it was ours"
    index = CacheIndex(store)
    reference = store.find("r/one[0]")
    for number in range(3):
        assert index.claim(f"k{number}", "me", 60)
        index.add(
            "clean.c0de", {"task": "clean"}, [Entry(key=f"k{number}", inputs={}, created=1.0, reference=reference)]
        )
        index.release(f"k{number}")
    assert index.remove("clean.c0de", ["k1"]) == 1
    store.delete("r/one[5]")
    store.delete("r/many[5]")
    cleaning.remove(store, [store.put("r2/x", 1).reference.url])
    return held(store)


def held(store: ResultStore) -> dict[str, object]:
    found: dict[str, object] = {key: None for key in store.keys("") if not key.startswith("cache.")}
    for number in range(5):
        reference = store.find(f"r/one[{number}]")
        found[f"one {number}"] = None if reference is None else store.get(reference)
        found[f"many {number}"] = [store.get(each) for each in (store.find_many(f"r/many[{number}]") or {}).values()]
        target = store.find_target(f"t{number}.json")
        found[f"target {number}"] = None if target is None else store.get(target)
    found["cache"] = [entry.key for entry in CacheIndex(store).entries("clean.c0de")]
    return found


STEPS = {
    "results.commit", "results.delete", "targets.file", "targets.record", "cache.marker", "cache.segment",
    "cache.claim", "cache.release", "cache.remove",
}  # fmt: skip


def test_told_failures_are_invisible_to_who_uses_results(store: ResultStore, place: Place) -> None:
    seen: set[str] = set()
    fault = read("fail:*:0.3:7")

    def lie(name: str, when: str) -> None:
        seen.add(name)
        fault(name, when)

    clean = fill(place_beside(place).store())
    install(lie)
    found = fill(store)
    install(None)
    assert found == clean
    assert seen >= STEPS


def place_beside(place: Place) -> Place:
    return Place(re.sub("results$", "others", place.url), place.options)


def test_a_storage_that_always_says_it_failed_is_given_up_and_what_it_did_is_there(bucket: ResultStore) -> None:
    install(read("fail:*:1:0"))
    hasty = ResultStore(bucket.url, timeout=0.2)
    assert not hasty.put("r/a", 1).adopted  # the second attempt finds what the first one did
    with pytest.raises(StoreUnavailable, match=r"cannot write it, tried \d+ times in .* s: a fault") as given_up:
        hasty.put_target("a.json", 2)
    assert given_up.value.transient
    install(None)
    assert bucket._files(bucket.url).read(f"{bucket.target_root}/a.json") == b"2"
    assert bucket.find_target("a.json") is None  # it has no record yet


@pytest.mark.parametrize(
    ("code", "asked", "passes"),
    [(errno.EIO, 2, None), (errno.EPERM, 1, None), (errno.ENOSPC, 1, True), (errno.EROFS, 1, False)],
)
def test_a_disk_is_asked_again_only_where_an_error_may_hide_that_it_was_done(
    tmp_path: Path, code: int, asked: int, passes: bool | None
) -> None:
    """A mounted share may have made the file and lost its answer; a full disk has not."""
    tried = []

    def link(source: str, target: str) -> None:
        tried.append(source)
        if code == errno.EIO:
            os.link(source, target)
        raise OSError(code, os.strerror(code))

    files, path = LocalFiles(link=link), str(tmp_path / "x")
    if passes is None:  # a disk without links has another way
        assert files.create(path, [b"1"], "t") is (code == errno.EPERM)
        assert files.read(path) == b"1"
    else:
        with pytest.raises(StoreUnavailable, match=os.strerror(code)) as refused:
            files.create(path, [b"1"], "t")
        assert refused.value.transient is passes
    assert len(tried) == asked
    assert [found.name for found in tmp_path.iterdir()] == ([] if passes is not None else ["x"])


def test_a_repair_that_is_told_to_have_failed_is_ours(store: ResultStore, place: Place) -> None:
    reference = store.put("r/a", "x").reference
    place.write(reference.url, b"torn")
    lies = ["results.repair"]

    def lie(name: str, when: str) -> None:
        if when == "after" and name in lies:
            lies.remove(name)
            raise StoreUnavailable("x", "a lie", transient=True)

    install(lie)
    again = store.put("r/a", "y")
    assert lies == []
    assert (again.adopted, store.get(again.reference)) == (False, "y")


def test_results_may_be_killed_at_each_step(tmp_path: Path) -> None:
    (clean, _), *killed = killed_at_each_step("results", tmp_path).items()
    assert {step.split()[0] for _, step in killed} == STEPS | {"results.temporary"}
    expected = held(ResultStore(clean))
    assert (expected["cache"], expected["target 0"]) == (["k0"], 0)
    for place, step in killed:
        store = ResultStore(place)
        assert held(store) == expected, step
        litter = [str(path) for path in Path(place).rglob("*") if path.suffix in (".tmp", ".lock")]
        assert litter == list(cleaning.temporaries(store, before=float("inf"))), step  # a prune finds it
        assert len(litter) == step.startswith("results.temporary"), step
