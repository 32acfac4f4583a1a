"""Digests of values: equal for equal values of the same types, everywhere; different otherwise; an error where none."""

from __future__ import annotations

import collections
import datetime as dt
import functools
import json
import math
import os
import re
import subprocess
import sys
import threading
import uuid
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dataflow.canonical import NotCanonical, digest
from tests.canonical_samples import Colour, Opaque, Order, Point, Settings, Token, samples

ROOT = Path(__file__).resolve().parent.parent


def test_every_kind_has_a_digest_and_no_two_samples_have_one() -> None:
    found = collections.defaultdict(list)
    for name, value in samples().items():
        found[digest(value)].append(name)
        assert digest([value]) != digest(value)
    assert [names for names in found.values() if len(names) > 1] == []


def test_digests_do_not_depend_on_the_process(tmp_path: Path) -> None:
    script = (
        "import json; from dataflow.canonical import digest; from tests.canonical_samples import samples\n"
        "print(json.dumps({name: digest(value) for name, value in samples().items()}))"
    )
    here = {name: digest(value) for name, value in samples().items()}
    path = os.pathsep.join(map(str, (ROOT, ROOT / "executors", ROOT / "storage")))
    for seed, flags in (("0", ()), ("1", ()), ("4000000000", ()), ("2", ("-O",))):
        done = subprocess.run(
            [sys.executable, *flags, "-c", script],
            env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
            cwd=tmp_path, capture_output=True, text=True, check=True,
        )  # fmt: skip
        there = json.loads(done.stdout)
        assert {name: (there[name], here[name]) for name in here if there[name] != here[name]} == {}, (seed, flags)


# --- equal exactly where equal --------------------------------------------------------------------------------------

SCALARS: list[Any] = [
    None, True, False, 0, 1, -1, 1.0, 0.0, -0.0, math.nan, 1j, "", "1", "a", b"", b"1", b"a", ..., Colour.RED,
    dt.date(2026, 1, 1), Decimal(1), Decimal("1.0"), Fraction(1), Path("a"), uuid.UUID(int=1), np.int64(1),
    np.float64(1),
]  # fmt: skip
# Fractions and Decimals of one hash cannot be compared.
KEYS = [value for value in SCALARS if not isinstance(value, Decimal | Fraction | complex)]
VALUES = st.recursive(
    st.sampled_from(SCALARS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.lists(st.sampled_from(KEYS), max_size=3).map(set),
        st.lists(st.sampled_from(KEYS), max_size=3).map(frozenset),
        st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
        st.builds(Point, inner, inner),
        st.builds(Order, inner, inner),
        st.lists(inner, max_size=3).map(collections.deque),
    ),
    max_leaves=6,
)


def told(value: Any) -> object:
    """What a value is, as something that Python compares: types and texts."""
    if isinstance(value, dict):
        return "dict", frozenset((told(k), told(v)) for k, v in value.items())
    if isinstance(value, set | frozenset):
        return type(value), frozenset(map(told, value)), len(value)
    if isinstance(value, Order):
        return Order, told(value.number), told(value.items), told(value.note)
    if isinstance(value, list | tuple | collections.deque):
        return type(value), tuple(map(told, value))
    return type(value), repr(value)


@settings(max_examples=1500, deadline=None)
@given(VALUES, VALUES)
def test_digests_are_equal_exactly_where_values_and_types_are(one: object, other: object) -> None:
    assert (digest(one) == digest(other)) == (told(one) == told(other))


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(st.text(max_size=4), VALUES, max_size=30), st.sets(st.text(max_size=4), max_size=30), st.randoms()
)
def test_the_order_of_dicts_and_sets_does_not_matter(pairs: dict[str, Any], texts: set[str], random: Any) -> None:
    shuffled, members = list(pairs.items()), list(texts)
    random.shuffle(shuffled)
    random.shuffle(members)
    assert digest([pairs, texts]) == digest([dict(shuffled), set(members)])


@settings(max_examples=300, deadline=None)
@given(VALUES)
def test_a_shared_part_counts_like_a_copy_of_it(value: Any) -> None:
    pair, copies = [value, value], [[value, value], [value, value]]
    assert digest([pair, pair]) == digest(copies)


def test_ranges_that_are_equal_have_one_digest() -> None:
    assert digest(range(0, 3, 2)) == digest(range(0, 4, 2)) != digest(range(0, 5, 2))
    assert digest(range(3, 0)) == digest(range(0))


# --- where there is none --------------------------------------------------------------------------------------------

LOCK = threading.Lock()


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (LOCK, "argument (a _thread.lock)"),
        ({"config": Order(1, note=LOCK)}, "argument['config'].note (a _thread.lock)"),
        ([1, (2, {"a": Opaque()})], "argument[1][1]['a'] (a tests.canonical_samples.Opaque)"),
        (Token(LOCK), "argument.__dask_tokenize__() (a _thread.lock)"),
        (functools.partial(print, LOCK), "argument.args[0] (a _thread.lock)"),
        (np.array([1, LOCK], object), "argument[1] (a _thread.lock)"),
        (pd.DataFrame({"a": [LOCK]}), "argument['a'][0] (a _thread.lock)"),
        (Settings.model_construct(host=LOCK), "argument.host (a _thread.lock)"),
        (iter([]), "argument (a list_iterator)"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_has_no_digest_is_named(value: object, where: str) -> None:
    with pytest.raises(NotCanonical) as caught:
        digest(value)
    assert str(caught.value).startswith(f"{where} has no digest")
    assert "ignore=" in str(caught.value)
    assert "key=" in str(caught.value)
    assert isinstance(caught.value, TypeError)


def test_an_object_that_fails_when_it_is_read_is_named() -> None:
    class Broken(dict[str, int]):
        def __getattribute__(self, name: str) -> object:
            raise OSError("gone")

    with pytest.raises(NotCanonical, match=r"argument\[0\] .* reading it failed: OSError: gone"):
        digest([Broken()])


def test_what_contains_itself_has_none() -> None:
    loop: list[object] = []
    loop.append({"again": loop})
    with pytest.raises(
        NotCanonical, match=re.escape("argument[0]['again'] (a list) has no digest: it contains itself")
    ):
        digest(loop)


def test_a_function_that_holds_what_has_no_digest_is_named_with_it() -> None:
    def guarded() -> object:
        return LOCKED

    LOCKED = threading.Lock()
    with pytest.raises(NotCanonical, match="LOCKED"):
        digest([guarded])


def test_depth_costs_no_recursion() -> None:
    def nested(inside: object, depth: int) -> object:
        for _ in range(depth):
            inside = [inside]
        return inside

    assert digest(nested(1, 10_000)) != digest(nested(2, 10_000))
    with pytest.raises(NotCanonical, match=r"argument\[0\]\[0\].* … .*\[0\] \(a _thread.lock\)"):
        digest(nested(LOCK, 10_000))


def test_parts_that_are_shared_many_times_are_read_once() -> None:
    value: object = [1]
    for _ in range(200):
        value = [value, value]
    assert len(digest(value)) == 64


def test_special_is_asked_for_objects_and_not_for_plain_data() -> None:
    asked: list[object] = []

    def special(value: object) -> bytes | None:
        asked.append(value)
        return b"upstream" if isinstance(value, Opaque) else None

    node = Opaque()
    made = digest({"a": [node, 1, "x", (2.0,), {3}]}, special=special)
    assert asked == [node]
    assert made == digest({"a": [Opaque(LOCK), 1, "x", (2.0,), {3}]}, special=lambda value: b"upstream")
    assert made != digest({"a": [node, 1, "x", (2.0,), {3}]}, special=lambda value: b"another")
    assert digest(node, special=special) != digest(b"upstream")


def test_only_packages_that_are_there_are_asked() -> None:
    code = (
        "import sys; from dataflow.canonical import digest; import decimal, pathlib, enum\n"
        "digest([1, {'a': decimal.Decimal(1)}, pathlib.Path('a'), len])\n"
        "print(*(m for m in ('numpy', 'pandas', 'pyarrow', 'pydantic') if m in sys.modules))"
    )
    path = os.pathsep.join(map(str, (ROOT, ROOT / "executors", ROOT / "storage")))
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []
