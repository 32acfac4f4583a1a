"""Pictures of runs: the graph with its states, the timeline, and the table of task runs."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from dataflow import TaskRun, backoff, context, flow, get_run, task
from dataflow.draw.timeline import MOST_BARS, Span, as_text, timeline
from dataflow.errors import OptionError
from tests.pictures import SVG, texts


@task
def count() -> int:
    return 3


@task(retries=1, retry_delay=backoff(0.01))
def shaky(x: int) -> int:
    if x == 1 and context().attempt == 1:
        raise OSError("busy")
    return x


@task
def double(x: int) -> int:
    return 2 * x


@task
def save(*values: object) -> int:
    return len(values)


@flow
def route(n: int) -> object:
    return double(double(n)) if n > 1 else n


@flow
def pipeline() -> object:
    return save(route(count()), shaky.map([0, 1, 2]))


def titles(picture: str) -> list[str]:
    return [str(element.text) for element in ET.fromstring(picture).iter(f"{SVG}title")]


def test_a_deferred_subflow_is_dashed_until_it_is_known(tmp_path: Path) -> None:
    graph = pipeline.graph()
    assert 'class="n b"' in graph.visualize()
    run = graph.run(executor="sync")
    drawn = run.visualize(str(tmp_path / "run.svg"))
    assert (tmp_path / "run.svg").read_text(encoding="utf-8") == drawn
    assert 'class="n b"' not in drawn
    assert {"route", "double", "double-2", "3 success"} <= set(texts(drawn))
    assert [" ".join(line.split()) for line in run.visualize(format="text").splitlines()[1:]] == [
        "✓ count (success)",
        "route/",
        "✓ double ← count (success)",
        "✓ double-2 ← double (success)",
        "✓ shaky ×3 (3 success)",
        "✓ save ← route/double-2, shaky (success)",
    ]
    assert texts(get_run(run.id).visualize()) == texts(drawn)


def test_a_deferred_flow_that_built_nothing_is_not_dashed_any_more() -> None:
    @task
    def one() -> int:
        return 1

    @flow
    def plain() -> object:
        return route(one())

    graph = plain.graph()
    assert "expands at run time" in graph.visualize(format="text")
    assert "expands at run time" not in graph.run(executor="sync").visualize(format="text")


def test_a_timeline_shows_attempts_and_the_waits_between_them() -> None:
    run = pipeline.run(executor="sync")
    by_task = titles(run.timeline())
    assert any(title.startswith("shaky[1], attempt 1, retrying, ") for title in by_task)
    assert any(title.startswith("shaky[1] waits ") for title in by_task)
    assert any(title.startswith("shaky[1], attempt 2, success, ") for title in by_task)
    assert any(title.startswith("shaky: 4 attempts, 1 again, ") for title in by_task)
    assert by_task[0].startswith(f"Timeline of pipeline · {run.name}, ")
    # A wait holds no worker.
    assert not any("waits" in title for title in titles(run.timeline("worker")))
    assert run.timeline().text.splitlines()[1].startswith("  count ")
    with pytest.raises(OptionError, match="'task' or 'worker'"):
        run.timeline("thread")


def test_a_lane_with_too_many_bars_shows_how_many_ran_at_each_moment() -> None:
    spans = [
        Span(lane="clean", label=f"clean[{n}]", start=n, end=n + 3.0, state="Failed" if n % 50 == 0 else "Success")
        for n in range(20 * MOST_BARS)
    ]
    drawn = timeline("etl", spans)
    assert len(drawn) < 60_000
    assert any(title.startswith("clean: 5,000 attempts, 100 failed, ") for title in titles(drawn))


def test_a_timeline_of_a_run_that_went_on_a_day_later_cuts_out_the_night() -> None:
    spans = [
        Span(lane="clean", label="clean", start=0.0, end=4.0, state="Failed"),
        Span(lane="clean", label="clean", start=4.0, end=90_000.0, state="Retrying", attempt=2, wait=True),
        Span(lane="clean", label="clean", start=90_000.0, end=90_006.0, state="Success", attempt=2),
    ]
    drawn = ET.fromstring(timeline("etl", spans))
    told = titles(timeline("etl", spans))
    assert told[0] == "Timeline of etl, 25:00:06, 1 lane."
    assert "Nothing ran for 24:59:56." in told
    bars = [float(rect.get("width", 0)) for rect in drawn.iter(f"{SVG}rect") if rect.get("height") == "11"]
    assert bars[1] / bars[0] == pytest.approx(1.5, rel=0.01)
    assert sum(bars) > 700
    assert "⋯" in as_text("etl", spans)


def test_the_table_of_task_runs_has_a_row_for_each() -> None:
    table = pipeline.run(executor="sync").to_frame()
    assert table["path"].tolist() == ["count", "route", *["shaky"] * 3, "save", "route/double", "route/double-2"]
    assert table["index"].dropna().tolist() == [0, 1, 2]
    assert table.loc[3, ["task", "state", "attempt"]].tolist() == ["shaky", "Success", 2]
    assert str(table["started"].dt.tz) == "UTC"
    assert (table["seconds"].dropna() >= 0).all()


def test_a_plan_tells_what_would_run_before_anything_does() -> None:
    cached = double.options(cache=True, name="cached")

    @flow
    def planned(n: int = 3) -> object:
        return save(cached.map(range(n)))

    planned.run(executor="sync")
    assert [(one.path, one.runs, one.kept) for one in planned.plan(n=4)] == [("cached", 1, 3), ("save", 1, 0)]
    assert [one.kept for one in planned.plan(n=4, refresh=True)] == [0, 0]


def test_a_run_tells_what_failed() -> None:
    @task
    def broken() -> None:
        raise ValueError("no price")

    @flow
    def fails() -> object:
        return save(broken())

    run = fails.run(executor="sync", raise_on_failure=False)
    assert [one.path for one in run.failed] == ["broken", "save"]
    one, fine = run["broken"], pipeline.run(executor="sync")["count"]
    assert isinstance(one, TaskRun)
    assert isinstance(fine, TaskRun)
    assert 'raise ValueError("no price")' in str(one.exception())
    assert fine.exception() is None
    assert [row.state for row in one.history] == ["Running", "Failed"]
    assert {row.path for row in run.history} == {None, "broken", "save"}
