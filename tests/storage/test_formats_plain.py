"""Sets in the same bytes in every process, and pictures in the format of their target."""

from __future__ import annotations

import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from dataflow_storage import ResultStore, SerializationError
from dataflow_storage.serializers import by_name, by_suffix, choose, dump, load

matplotlib.use("agg")

DIGESTS = """
import sys, dataflow_storage
store = dataflow_storage.ResultStore("memory://x")
for number, value in enumerate([{"a", "b", "c", "d"}, frozenset(["x", "y", "z"]), {b"1", b"2", b"3"}]):
    print(store.put(str(number), value).reference.digest)
"""


def test_a_set_has_one_digest_in_every_process() -> None:
    path = os.pathsep.join(filter(None, sys.path))
    shown = {
        subprocess.run(
            [sys.executable, "-c", DIGESTS],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert len(shown) == 1


class Words(set[str]):
    pass


@pytest.mark.parametrize("value", [set(), {"a", "b"}, frozenset({1, 2}), {1, "a", None}, {1.5, (1, 2)}, Words("ab")])
def test_sets_come_back(value: Any) -> None:
    again = load(by_name("pickle"), memoryview(b"".join(dump(choose(value), value))))
    assert type(again) is type(value)
    assert again == value


@pytest.mark.parametrize(("suffix", "start"), [("png", b"\x89PNG"), ("svg", b"<?xml"), ("pdf", b"%PDF-")])
def test_a_figure_at_the_target_of_a_picture_is_an_image(tmp_path: Path, suffix: str, start: bytes) -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.add_subplot().plot([1, 2])
    store = ResultStore(tmp_path)
    target = store.put_target(f"plots/a.{suffix}", figure).reference
    data = Path(target.url).read_bytes()
    assert data.startswith(start)
    assert target.serializer == suffix
    image = store.get(target)
    assert (image.encode() if isinstance(image, str) else image) == data
    again = store.put_target(f"plots/b.{suffix}", image).reference
    assert again.digest == target.digest
    if suffix == "svg":
        assert ET.fromstring(data).tag.endswith("svg")
    with pytest.raises(SerializationError, match=r"it takes the .* of a"):
        store.put_target(f"plots/c.{suffix}", 1)


class Shown:
    def _repr_svg_(self) -> str:
        return "<svg/>"

    def _repr_png_(self) -> str:
        return "no bytes"


def test_what_shows_itself_is_a_picture() -> None:
    assert dump(by_suffix("a.svg", Shown()), Shown()) == [b"<svg/>"]
    with pytest.raises(SerializationError, match=r"_repr_png_\(\) did not give bytes"):
        dump(by_suffix("a.png", Shown()), Shown())
