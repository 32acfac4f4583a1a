"""Pictures as files: SVG that stands alone and is readable, Mermaid, DOT, JSON, and what a notebook shows."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from dataflow import Node, flow, unmapped
from dataflow.draw import draw, format_of
from dataflow.draw.shape import items_of, view
from dataflow.draw.svg import DARK, LIGHT, svg
from tests.pictures import SVG, clean, etl, fetch, graph_of, ladder, load, report, texts


def test_svg_stands_alone() -> None:
    picture = draw(graph_of(etl()), counts={"fetch": {"Success": 1}})
    root = ET.fromstring(picture)
    assert {element.tag.removeprefix(SVG) for element in root.iter()} <= {
        "svg", "title", "style", "rect", "text", "tspan", "g", "path"
    }  # fmt: skip
    assert re.findall(r"https?://[^\"' ]+", picture) == ["http://www.w3.org/2000/svg"]
    assert "@import" not in picture
    assert "url(" not in picture
    assert root.get("role") == "img"
    assert not [name for element in root.iter() for name in element.attrib if name.startswith("on")]


def test_ids_and_styles_of_two_pictures_do_not_meet() -> None:
    one, two = draw(graph_of(etl(n=2))), draw(graph_of(etl(n=3)))
    ids = [set(re.findall(r'\bid="([^"]+)"', picture)) for picture in (one, two)]
    assert all(ids)
    assert ids[0].isdisjoint(ids[1])
    (root,) = (name for name in ids[0] if not name.endswith("-t"))
    style = one.partition("<style>")[2].partition("</style>")[0].replace("@media(prefers-color-scheme:dark){", "")
    rules = [rule for rule in re.findall(r"([^{}]+)\{", style) if rule.strip("}")]
    assert all(rule.strip("}").startswith(f"#{root}") for rule in rules), rules
    shown = view("f", items_of(graph_of(etl(n=2))))
    assert set(re.findall(r'\bid="([^"]+)"', svg(shown, prefix="mine"))) == {"mine", "mine-t"}


def contrast(one: str, two: str) -> float:
    """WCAG 2.2, relative luminance: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""

    def light(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return sum(share * part for share, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    high, low = sorted((light(one), light(two)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_it_is_readable(colours: dict[str, str]) -> None:
    for behind in ("bg", "card", "group"):
        assert contrast(colours["text"], colours[behind]) >= 7
        assert contrast(colours["soft"], colours[behind]) >= 4.5
        assert contrast(colours["accent"], colours[behind]) >= 4.5
        for tone in ("good", "bad", "busy", "warn", "calm", "edge"):
            assert contrast(colours[tone], colours[behind]) >= 3, tone


def test_light_dark_and_viewers_without_variables() -> None:
    style = draw(graph_of(etl(n=2))).partition("<style>")[2].partition("</style>")[0]
    assert "prefers-color-scheme:dark" in style
    assert "var(--jp-layout-color0,var(--vscode-editor-background,#ffffff))" in style
    for use in re.findall(r"(?:fill|stroke):var\(--(\w+)\)", style):
        assert re.search(rf"(?:fill|stroke):{LIGHT[use]};(?:fill|stroke):var\(--{use}\)", style)


NASTY = '<b>"&'


@pytest.mark.parametrize("format", ["svg", "text", "mermaid", "dot", "json"])
def test_names_of_any_kind_are_escaped(format: str) -> None:
    made = flow(name=NASTY)(lambda: clean.options(name='<i>"&')(1))()
    drawn = draw(graph_of(made), format)
    if format == "svg":
        assert '<i>"&' in texts(drawn)
    elif format == "mermaid":
        assert 'n0["#lt;i#gt;#34;#38;"]' in drawn
    elif format == "dot":
        assert 'label="<i>\\"&"' in drawn
    elif format == "json":
        assert json.loads(drawn)["nodes"][0]["path"] == '<i>"&'


def test_mermaid_and_dot() -> None:
    graph = graph_of(report(day="x"))
    assert draw(graph, "mermaid") == (
        'flowchart LR\n  n0["clean"]\n  n1["clean-2"]\n  n2["load"]\n  n0 --> n1\n  n0 --> n2\n  n1 --> n2\n'
    )
    nested = draw(graph_of(etl(n=2)), "mermaid")
    assert nested.count("subgraph ") == nested.count("\n  end\n") == 2
    assert 'n0[["fetch ×2"]]' in nested
    drawn = draw(graph_of(etl(n=2)), "dot", counts={"fetch": {"Failed": 2}})
    assert drawn.count("{") == drawn.count("}")
    assert drawn.count("subgraph cluster_") == 2
    assert 'label="✕ fetch ×2\\n2 failed"' in drawn


def test_json_has_every_node_with_its_states() -> None:
    data = json.loads(draw(graph_of(etl()), "json", counts={"load": {"Failed": 1}}))
    assert (data["schema"], data["flow"]) == (1, "etl")
    nodes = {node["path"]: node for node in data["nodes"]}
    assert nodes["fetch"] == {
        "path": "fetch", "task": "fetch", "group": "", "kind": "task", "mapped": True, "width": 8333,
        "returned": False, "upstream": [], "states": {},
    }  # fmt: skip
    assert nodes["decide"]["kind"] == "subflow"
    assert nodes["load"]["states"] == {"Failed": 1}
    assert nodes["load"]["returned"]
    assert nodes["report-2/load"]["upstream"] == ["report-2/clean", "report-2/clean-2"]


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(ValueError, match="'png' is not one of svg, text"):
        draw(graph_of(etl(n=2)), "png")
    with pytest.raises(ValueError, match=r"'a.png' does not end in one of .svg"):
        format_of("a.png")


@pytest.mark.parametrize("suffix", [".svg", ".mmd", ".dot", ".gv", ".json", ".txt"])
def test_visualize_writes_what_the_suffix_says(tmp_path: Path, suffix: str) -> None:
    graph = graph_of(etl(n=2))
    path = tmp_path / f"drawn{suffix}"
    assert graph.visualize(str(path)) == path.read_text(encoding="utf-8") == draw(graph, format_of(str(path)))
    assert graph.visualize() == draw(graph, "svg")
    assert graph.visualize(format="text") == draw(graph, "text")
    other = tmp_path / "any.name"
    graph.visualize(str(other), format="mermaid")
    assert other.read_text(encoding="utf-8").startswith("flowchart")


def test_a_notebook_gets_an_image_and_text() -> None:
    graph = graph_of(etl(n=2))
    bundle = graph._repr_mimebundle_()
    assert set(bundle) == {"text/html", "text/plain"}
    image = re.fullmatch(
        r'<img alt="[^"<>]+" style="[^"]+" src="data:image/svg\+xml;base64,([^"]+)">', bundle["text/html"]
    )
    assert image is not None
    assert base64.b64decode(image[1]).decode() == draw(graph)
    assert bundle["text/plain"] == draw(graph, "text").rstrip()
    assert graph_of(ladder(100))._repr_mimebundle_()["text/plain"] == repr(graph_of(ladder(100)))


def test_an_empty_flow_can_be_drawn() -> None:
    made = flow(name="empty")(lambda: None)()
    for format in ("svg", "text", "mermaid", "dot", "json"):
        assert "empty" in draw(graph_of(made), format) or format == "mermaid"
    ET.fromstring(draw(graph_of(made)))


def test_wait_for_that_points_back_in_build_order_is_an_edge() -> None:
    @flow
    def waits() -> object:
        later: list[Node] = []
        first = load(wait_for=later)
        later.append(fetch("a"))
        return first

    assert draw(graph_of(waits()), "text").splitlines()[1:] == ["  fetch", "  load     ← fetch"]


def test_the_same_graph_is_the_same_picture_in_every_process() -> None:
    code = (
        "from dataflow.draw.shape import Item, view\nfrom dataflow.draw.svg import svg\n"
        "ups = lambda n: tuple(f'g{m % 3}/t{m}' for m in range(n) if n % (m + 2) == 0)\n"
        "items = [Item(path=f'g{n % 3}/t{n}', task=f't{n}', upstream=ups(n)) for n in range(40)]\n"
        "print(svg(view('f', items)))"
    )
    root = Path(__file__).resolve().parent.parent
    path = os.pathsep.join(map(str, (root, root / "executors", root / "storage")))
    seen = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": path},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(seen) == 1


def test_unmapped_arguments_are_edges_too() -> None:
    @flow
    def joins() -> object:
        return load.map([1, 2], unmapped(fetch("a")))

    assert "load   ×2  ← fetch" in draw(graph_of(joins()), "text")
