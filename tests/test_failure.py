"""What a failure says shows the person's own lines."""

from __future__ import annotations

import textwrap
import threading

import pandas
import pytest

from dataflow.failure import describe
from dataflow_storage.errors import SerializationError
from dataflow_storage.serializers import dump, resolve


def test_what_an_installed_package_did_in_the_end_is_left_out() -> None:
    with pytest.raises(KeyError) as raised:
        pandas.DataFrame({"price": [1]})["prize"]
    failure = describe(raised.value)
    own = [frame for frame in failure["frames"] if frame["user"]]
    assert [frame["file"] for frame in own] == [__file__]
    assert len(failure["text"].splitlines()) < 15 < len(failure["full"].splitlines())


def test_a_frame_of_the_persons_that_a_package_called_is_shown_with_what_called_it() -> None:
    def broken(price: int) -> int:
        raise ValueError(f"no price: {price}")

    with pytest.raises(ValueError, match="no price") as raised:
        textwrap.re.sub("a", broken, "a")  # type: ignore[attr-defined]
    names = [frame["name"] for frame in describe(raised.value)["frames"] if frame["user"]]
    assert names[-1] == "broken"
    assert "sub" in names


def test_what_the_framework_alone_did_is_told_without_frames() -> None:
    lock = threading.Lock()
    with pytest.raises(SerializationError) as raised:
        dump(resolve("pickle", lock), lock)
    inside = raised.value.__traceback__
    assert inside is not None
    failure = describe(raised.value.with_traceback(inside.tb_next))  # as it is where a task's result is stored
    assert "cannot pickle" in failure["text"]
    assert "File" not in failure["text"]
    assert "File" in failure["full"]
