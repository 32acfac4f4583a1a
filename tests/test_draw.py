"""What of a graph is shown: how many, which states, what is folded where it is too much."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataflow import flow
from dataflow.draw import MOST_BYTES, draw, html, mimebundle
from dataflow.draw.marks import MARKS, overall, words
from dataflow.draw.shape import Item, items_of, view
from dataflow.states import FINAL, RUN_TRANSITIONS, TASK_TRANSITIONS
from tests.pictures import SVG, chain, clean, dense, etl, fetch, graph_of, ladder, load, subflows, texts


def test_a_mapped_task_shows_how_many() -> None:
    shown = texts(draw(graph_of(etl())))
    assert "×8,333" in shown
    assert "×?" in texts(draw(graph_of(etl(n=2, wide=True))))
    assert "  fetch      ×8,333\n" in draw(graph_of(etl()), "text")


def test_a_subflow_is_a_box_with_its_tasks() -> None:
    root = ET.fromstring(draw(graph_of(etl(n=2))))
    frames = [element for element in root.iter(f"{SVG}rect") if element.get("class") == "g"]
    assert len(frames) == 2
    assert {"report", "report-2"} <= set(texts(draw(graph_of(etl(n=2)))))
    titles = [element.text for element in root.iter(f"{SVG}title")]
    assert "report/clean" in [str(title).partition(",")[0] for title in titles]
    assert "subflow report" in titles


def test_a_deferred_subflow_says_so() -> None:
    assert re.search(r"decide +← fetch \(expands at run time\)\n", draw(graph_of(etl(n=2)), "text"))
    assert "a subflow whose tasks are known when it runs" in draw(graph_of(etl(n=2)))


def test_an_operator_is_left_out_where_an_edge_says_the_same() -> None:
    @flow
    def operators() -> object:
        row = fetch("a")
        return [load(row["price"] * 2), row["a"] + clean(row)]

    assert draw(graph_of(operators()), "text").splitlines()[1:] == [
        "  fetch",
        "  load     ← fetch",
        "  clean    ← fetch",
        "  +        ← fetch, clean",
    ]


def test_states_are_shown_by_glyph_word_and_colour() -> None:
    counts = {
        "fetch": {"Success": 8316, "Failed": 17},
        "clean": {"Running": 3, "Pending": 8330},
        "load": {"TriggerFailed": 1},
        "report/clean": {"Cached": 1},
    }
    picture = draw(graph_of(etl()), counts=counts)
    shown = texts(picture)
    assert {"8,316/8,333 · 17 failed", "0/8,333 · 3 running · 8,330 pending", "not run", "cached", "pending"} <= set(
        shown
    )
    icons = Counter(
        str(element.get("d"))
        for element in ET.fromstring(picture).iter(f"{SVG}path")
        if str(element.get("class")).startswith("i ")
    )
    for state in ("Failed", "Running", "TriggerFailed", "Cached", "Pending"):
        assert icons[MARKS[state].icon] >= 1
    told = draw(graph_of(etl()), "text", counts=counts)
    assert re.search(r"✕ fetch +×8,333 +\(8,316/8,333 · 17 failed\)", told)
    plain = draw(graph_of(etl()), "text", counts=counts, ascii_only=True)
    assert plain.isascii()
    assert re.search(r"x fetch +x8,333 +\(8,316/8,333, 17 failed\)", plain)


def test_every_state_has_a_mark_of_its_own() -> None:
    assert set(MARKS) == set(TASK_TRANSITIONS) | set(RUN_TRANSITIONS)
    assert len({mark.word for mark in MARKS.values()}) == len(MARKS)
    assert all(len(mark.glyph) == len(mark.plain) == 1 and mark.plain.isascii() for mark in MARKS.values())
    assert all(overall({state: 1}) == state for state in MARKS)
    assert all(words({state: 1}) == mark.word for state, mark in MARKS.items())


@given(st.dictionaries(st.sampled_from(sorted(TASK_TRANSITIONS)), st.integers(1, 9), min_size=1))
def test_no_failure_hides_behind_other_states(counts: dict[str, int]) -> None:
    state = overall(counts)
    assert state is not None
    if any(MARKS[one].tone == "bad" for one in counts):
        assert MARKS[state].tone == "bad"
    elif any(one not in FINAL for one in counts):
        assert state not in FINAL or state == "Cancelled"


# What is too much -----------------------------------------------------------------------------------------------------


def test_up_to_60_boxes_are_drawn_one_by_one() -> None:
    assert len(view("f", items_of(graph_of(chain(59)))).boxes) == 60
    assert [box.times for box in view("f", items_of(graph_of(chain(60)))).boxes] == ["", "×60"]


def test_calls_of_a_task_fold_first_then_subflows() -> None:
    boxes = view("f", items_of(graph_of(subflows(50)))).boxes
    assert [(box.key, box.times) for box in boxes] == [("report/clean", "×100"), ("report/load", "×50")]

    @flow
    def many() -> object:
        def body(day: int) -> object:
            return load(*[clean.options(name=f"part_{n}")(day) for n in range(8)])

        return [flow(name=f"day_{day}")(body)(day=day) for day in range(30)]

    folded = view("f", items_of(graph_of(many()))).boxes
    assert [(box.key, box.times) for box in folded[:2]] == [("day_0/", "9 tasks"), ("day_1/", "9 tasks")]
    assert len(folded) == 30


def test_a_folded_loop_says_so() -> None:
    assert "clean  ×100  ← fetch (loop)" in draw(graph_of(chain(100)), "text")
    assert "↺" in texts(draw(graph_of(chain(100))))


def test_nothing_is_lost_by_folding() -> None:
    for made in (chain(300), ladder(200), subflows(70), etl(n=3)):
        graph = graph_of(made)
        counts = {node.path: {"Success": 1} for node in graph.nodes}
        for most in (600, 24, 6):
            shown = view("f", items_of(graph), counts, limit=min(most, 60), most=most)
            assert len(shown.boxes) <= max(most, 60)
            assert sum(box.calls for box in shown.boxes) == len(graph.nodes)
            assert sum(box.counts.total() for box in shown.boxes) == len(graph.nodes)
            places = {box.key: n for n, box in enumerate(shown.boxes)}
            assert all(places[start] < places[end] for start, end in shown.edges)


def test_all_draws_every_task() -> None:
    assert len(texts(draw(graph_of(ladder(100)), limit=None))) == 202
    assert len(json.loads(draw(graph_of(ladder(100)), "json"))["nodes"]) == 201


def test_children_of_a_mapped_subflow_are_one_box() -> None:
    items = [Item(path="decide", task="decide", mapped=True, width=3, builds=True)]
    items += [Item(path=f"decide[{n}]/clean", task="clean", upstream=("decide",)) for n in range(3)]
    shown = view("f", items, {f"decide[{n}]/clean": {"Success": 1} for n in range(3)})
    assert [(box.key, box.times, dict(box.counts)) for box in shown.boxes][1:] == [
        ("decide[·]/clean", "×3", {"Success": 3})
    ]


@pytest.mark.parametrize("made", [etl(), chain(20_000), ladder(2_000), subflows(1_000), dense(60), dense(200)])
def test_a_notebook_keeps_a_small_picture(made: object) -> None:
    picture = html(graph_of(made))
    assert picture is not None
    assert len(picture) < MOST_BYTES
    assert sum(map(len, mimebundle(graph_of(made)).values())) < MOST_BYTES + 6_000


def test_a_wide_graph_runs_downwards() -> None:
    root = ET.fromstring(draw(graph_of(ladder(25))))
    assert float(str(root.get("width"))) < float(str(root.get("height")))
