"""`dataflow prune`: old runs and their results go, and nothing that anybody still needs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Call

from dataflow.places import open_results, open_runs
from dataflow.retention import Rule, choose
from dataflow_storage import CacheIndex, Entry, Reference
from dataflow_storage.retention import Retention
from dataflow_storage.rows import Batch, RunRow
from tests.cli.pruning import KEPT, age, home_results, names, objects, ran


@pytest.fixture(autouse=True)
def kept(folder: Path) -> None:
    (folder / "kept.py").write_text(KEPT, encoding="utf-8")


# -- which runs --------------------------------------------------------------------------------------------------------


def test_runs_of_an_age_go(cli: Call) -> None:
    old, new = ran(cli), ran(cli)
    age(old.id, 31)
    said = cli("prune", "--older-than", "30d", "--yes")
    assert (said.code, said.err) == (0, "")
    assert said.out.startswith("deleted 1 run, ")
    assert names(cli) == [new.name]
    assert {name.partition("/")[0] for name in objects()} == {new.id}
    assert cli("show", old.name).code == 3
    assert cli("result", new.name).out == "13\n"


def test_the_last_of_each_flow_stay(cli: Call) -> None:
    for _ in range(3):
        ran(cli, "flows.py:says")
    other = ran(cli, "flows.py:nothing")
    newest = cli("ls", "--flow", "says", "-n", "1", "-o", "name").out.strip()
    assert cli("prune", "--keep-last", "1", "--yes").code == 0
    assert names(cli) == [other.name, newest]


def row(**columns: object) -> RunRow:
    blank = dict.fromkeys(RunRow.__dataclass_fields__)
    made = {**blank, "flow": "f", "state": "Success", "created": 0.0, "ended": 0.0, **columns}
    return RunRow(**made)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("rule", "goes"),
    [
        (Rule(older_than=60.0), ["c", "d", "e"]),
        (Rule(keep_last=2), ["c", "d", "e"]),
        (Rule(keep_last=3), ["d", "e"]),
        (Rule(keep_last=0), ["a", "b", "c", "d", "e"]),
        (Rule(older_than=60.0, keep_last=1), ["c", "d", "e"]),
        (Rule(older_than=60.0, keep_last=4), ["e"]),
        (Rule(keep_last=0, flow="g"), ["x"]),
        (Rule(keep_last=0, state="Failed"), ["d"]),
        (Rule(keep_last=1, state="Failed"), []),
    ],
)
def test_a_rule(rule: Rule, goes: list[str]) -> None:
    rows = [
        row(id="a", ended=1000.0),
        row(id="b", ended=990.0),
        row(id="c", ended=900.0),
        row(id="d", ended=890.0, state="Failed"),
        row(id="e", ended=None, created=800.0),
        row(id="x", ended=500.0, flow="g") if rule.flow else row(id="x", ended=500.0, state="Running"),
        row(id="held", ended=500.0, owner="me", lease_until=1001.0),
    ]
    assert [one.id for one in choose(rows, rule, now=1000.0)] == goes


@pytest.mark.parametrize("state", ["Running", "Pending", "Paused", "Scheduled"])
def test_a_run_that_is_not_over_stays(cli: Call, state: str) -> None:
    run = ran(cli)
    runs = open_runs()
    epoch = runs.claim(run.id, "test", seconds=-1)
    runs.write(run.id, epoch, Batch(run={"state": state, "ended": 1.0}))
    assert cli("prune", "--keep-last", "0", "--yes").out == "nothing to delete\n"
    assert names(cli) == [run.name]


def test_a_run_that_is_taken_up_after_the_look_stays(cli: Call) -> None:
    from dataflow.retention import carry_out, survey

    kept, gone = ran(cli, "flows.py:etl", "-p", "bad=2"), ran(cli)
    runs, rule = open_runs(), Rule(keep_last=0)
    planned = survey(runs, rule, time.time())
    runs.claim(kept.id, "somebody", seconds=60)
    done = carry_out(runs, planned, rule, time.time())
    assert [one.id for one in done.runs] == [gone.id]
    assert {name.partition("/")[0] for name in objects()} == {kept.id}


# -- whose results -----------------------------------------------------------------------------------------------------


def test_what_a_kept_run_took_from_the_cache_stays(cli: Call) -> None:
    maker = ran(cli, "kept.py:shared")
    taker = ran(cli, "kept.py:shared")
    assert cli("cache", "rm", "--all").code == 0
    age(maker.id, 2)
    said = cli("prune", "--older-than", "1d", "--yes")
    assert "  2 objects, " in said.out
    assert {name for name in objects() if name.startswith(maker.id)} == {
        f"{maker.id}/base.dflw",
        f"{maker.id}/base-2.dflw",
    }
    assert cli("result", f"{taker.name}/base-2").out == "10\n"
    # Once the taker goes too, nobody needs them.
    age(taker.id, 2)
    assert cli("prune", "--older-than", "1d", "--yes").code == 0
    assert objects() == []
    assert Retention(open_runs()).leftovers() == []


def test_what_a_cache_entry_needs_stays_until_it_is_forgotten(cli: Call) -> None:
    maker = ran(cli, "kept.py:shared")
    cli("prune", "--keep-last", "0", "--yes")
    assert names(cli) == []
    assert len(objects()) == 2
    again = ran(cli, "kept.py:shared")
    assert {child.state.type for child in (again["base"], again["base-2"])} == {"Cached"}  # type: ignore[union-attr]
    assert again.result() == [1, 11]
    cli("prune", "--keep-last", "0", "--yes")
    assert {name.partition("/")[0] for name in objects()} == {maker.id}
    cli("cache", "rm", "--all")
    said = cli("prune", "--keep-last", "0", "--yes")
    assert said.out.startswith("deleted 0 runs, 2 objects, ")
    assert "of runs pruned before" in said.out
    assert objects() == []


def test_expired_cache_entries_go_and_are_told(cli: Call) -> None:
    run = ran(cli, "kept.py:passing")
    index = CacheIndex(open_results(home_results()))
    [folder] = index.folders("brief")
    [entry] = index.entries(folder)
    assert entry.expires == 60
    aged = Entry(**{**vars(entry), "created": time.time() - 3 * 86400})
    index.remove(folder)
    index.add(folder, {}, [aged])
    age(run.id, 3)
    said = cli("prune", "--older-than", "5d", "--keep-last", "0", "--yes")
    assert said.out == "nothing to delete\n", "not expired for so long"
    planned = cli("prune", "--older-than", "2d", "--dry-run")
    assert "would delete 1 cache entry that expired" in planned.out
    said = cli("prune", "--older-than", "2d", "--yes")
    assert "deleted 1 cache entry that expired" in said.out
    assert CacheIndex(open_results(home_results())).entries(folder) == []
    assert objects() == []


def test_cache_entries_whose_results_are_gone_go(cli: Call) -> None:
    run = ran(cli, "kept.py:shared")
    Path(home_results(), run.id, "base.dflw").unlink()
    said = cli("prune", "--keep-last", "0", "--yes")
    assert "deleted 1 cache entry without a result" in said.out
    assert objects() == [f"{run.id}/base-2.dflw"]


def test_targets_stay(cli: Call) -> None:
    run = ran(cli, "kept.py:files")
    target = Path(home_results(), "targets", f"{run.name}.json")
    assert target.is_file()
    assert cli("prune", "--keep-last", "0", "--yes").code == 0
    assert [name for name in objects() if name.startswith(run.id)] == []
    assert target.read_text() == "2"


def test_orphans_go_only_when_asked_and_only_old_ones(cli: Call) -> None:
    run = ran(cli)
    store = open_results(home_results())
    orphan = "0" * 32
    store.put(f"{orphan}/task", 1, meta={"flow": "lost"})
    assert cli("prune", "--older-than", "0s", "--keep-last", "9", "--yes").out == "nothing to delete\n"
    assert cli("prune", "--older-than", "1h", "--orphans", "--yes").out == "nothing to delete\n"
    planned = cli("prune", "--older-than", "0s", "--keep-last", "9", "--orphans", "--dry-run", "--json").data
    assert [(one["id"], one["flow"], one["objects"]) for one in planned["orphans"]] == [(orphan, "lost", 1)]  # type: ignore[attr-defined]
    said = cli("prune", "--older-than", "0s", "--keep-last", "9", "--orphans", "--yes")
    assert "of these, 1 object, " in said.out
    assert {name.partition("/")[0] for name in objects()} == {run.id}


def test_an_orphan_that_the_cache_needs_stays(cli: Call) -> None:
    store, index = open_results(home_results()), CacheIndex(open_results(home_results()))
    needed, other = (store.put(f"{'0' * 32}/{name}", 1).reference for name in ("needed", "other"))
    index.add("t.c0de", {}, [Entry(key="k", inputs={}, created=1.0, reference=needed, run="0" * 32, path="needed")])
    cli("prune", "--older-than", "0s", "--orphans", "--yes")
    assert store.holds_many([needed, other]) == [True, False]


def test_a_result_is_recognised_wherever_its_store_is_mounted(cli: Call) -> None:
    maker = ran(cli, "kept.py:shared")
    index = CacheIndex(open_results(home_results()))
    [folder] = index.folders("base")
    for entry in index.entries(folder):
        assert entry.reference is not None
        there = {
            **entry.reference.to_dict(),
            "url": f"/mnt/elsewhere/{maker.id}/" + entry.reference.url.rpartition("/")[2],
        }
        index.remove(folder, [entry.key])
        index.add(folder, {}, [Entry(**{**vars(entry), "reference": Reference.from_dict(there)})])
    cli("prune", "--keep-last", "0", "--yes")
    assert len(objects()) == 2


def test_what_processes_that_died_left_goes(cli: Call) -> None:
    ran(cli)
    store, now = open_results(home_results()), time.time()
    half = Path(store.url, "0123456789abcdef" * 2, ".0123456789abcdef.tmp")
    half.parent.mkdir()
    half.write_bytes(b"half")
    os.utime(half, (now - 90_000, now - 90_000))
    for key, until in (("dead", now - 90_000), ("alive", now)):
        store.put(f"claims/{key}", {"owner": "me", "until": until}, serializer="json")
    assert "deleted 2 files, " in cli("prune", "--keep-last", "5", "--yes").out
    assert not half.exists()
    assert store.keys("claims/") == ["claims/alive"]
