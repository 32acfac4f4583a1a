"""What changes a task's code hash and what does not, by one edit at a time of a package on disk."""

from __future__ import annotations

import importlib
import json
import operator
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial, wraps
from pathlib import Path
from typing import Any

import pytest

from dataflow import task
from dataflow.code import code_hash, hash_of, parts, unhashable
from dataflow.definition import Definition

ROOT = Path(__file__).resolve().parent.parent

HELPERS = '''
FACTOR = 3
UNUSED = 1
def clean(x, *, strict=False):
    """Clean."""
    return x * FACTOR + inner(x)
def inner(x):
    return [y + 1 for y in (x, x)]
def lazily(x):
    return x - 1
def unused(x):
    return x
'''
MAIN = '''
"""A module."""
import dataclasses, enum, functools, json, logging
from dataflow import task
from pkg import helpers
from pkg.helpers import inner as renamed

log = logging.getLogger("one")
THRESHOLD = 5
NAMES = frozenset({"alpha", "beta", "gamma"})
TABLE = {"double": lambda x: 2 * x, "same": lambda x: x}

def decorated(times):
    def wrap(fn):
        @functools.wraps(fn)
        def wrapper(*args):
            return [fn(*args) for _ in range(times)]
        return wrapper
    return wrap

@decorated(2)
def twice(x):
    return x + 10

@functools.lru_cache
def remembered(x):
    return x + 20

def even(n):
    return n == 0 or odd(n - 1)
def odd(n):
    return n != 0 and even(n - 1)

class Base:
    def shared(self):
        return 1
class Model(Base):
    limit = 7
    def __init__(self, k=1):
        self.k = k
    def __call__(self, x):
        return self.k * x
    @property
    def size(self):
        return 2
    @staticmethod
    def fixed():
        return 3
@dataclasses.dataclass
class Config:
    """Settings."""
    depth: int = 4
    tags: list = dataclasses.field(default_factory=list)
class Level(enum.Enum):
    LOW = 1
    HIGH = 2
MODEL = Model()
added = functools.partial(even, 4)

@task
def other(x):
    return x + 30

def adder(n):
    def add(x, step=1):
        return x + n + step
    return add
one, two = adder(1), adder(2)

@task(retries=2)
def work(x, unit: int = 60, *, mode="fast"):
    """Work."""
    from pkg.helpers import lazily
    total = helpers.clean(x) + renamed(x) + lazily(x)  # a comment
    if total > THRESHOLD or x in NAMES or x in {"delta", "epsilon", "zeta"}:
        log.info("many")
        return TABLE["double"](twice(x)), even(x), remembered(x), added()
    class Local:
        """Local."""
        def go(self):
            return unit
    return [MODEL(y) for y in (x,)], Config().depth, Level.LOW, one(x) - two(x), json.dumps(other.fn(x)), Local().go()
'''

# What is edited, what takes its place, and the part that must be told as changed.
MATTERS = {
    "a constant": ("> THRESHOLD or", "> THRESHOLD + 1 or", "pkg.main.work"),
    "an operator": ("helpers.clean(x) +", "helpers.clean(x) -", "pkg.main.work"),
    "a default": ("unit: int = 60", "unit: int = 61", "pkg.main.work"),
    "a keyword's default": ('mode="fast"', 'mode="slow"', "pkg.main.work"),
    "a name of another package": ("json.dumps", "json.loads", "pkg.main.work"),
    "a set in the code": ('"delta", "epsilon"', '"delta", "eta"', "pkg.main.work"),
    "a nested class": ("            return unit", "            return -unit", "pkg.main.work"),
    "a global number": ("THRESHOLD = 5", "THRESHOLD = 6", "pkg.main.THRESHOLD"),
    "a global number's type": ("THRESHOLD = 5", "THRESHOLD = 5.0", "pkg.main.THRESHOLD"),
    "a global set": ('"gamma"})', '"delta"})', "pkg.main.NAMES"),
    "a function in a table": ("lambda x: 2 * x", "lambda x: 3 * x", "pkg.main.<lambda>"),
    "functions in a table, exchanged": ('{"double": lambda x: 2 * x, "same": lambda x: x}',
                                        '{"same": lambda x: 2 * x, "double": lambda x: x}', "pkg.main.TABLE"),
    "a decorator": ("fn(*args) for", "fn(*args[:1]) for", "pkg.main.decorated.<locals>.wrap.<locals>.wrapper"),
    "a decorator's argument": ("@decorated(2)", "@decorated(3)", "pkg.main.decorated.<locals>.wrap.<locals>.wrapper"),
    "a decorated function": ("x + 10", "x + 11", "pkg.main.twice"),
    "a function in lru_cache": ("x + 20", "x + 21", "pkg.main.remembered"),
    "a function that is reached through another": ("n != 0 and", "n and", "pkg.main.odd"),
    "an argument of a partial": ("partial(even, 4)", "partial(even, 5)", "pkg.main.work"),
    "a method": ("return self.k * x", "return self.k + x", "pkg.main.Model.__call__"),
    "a property": ("        return 2\n", "        return 22\n", "pkg.main.Model.size"),
    "a static method": ("        return 3\n", "        return 33\n", "pkg.main.Model.fixed"),
    "an attribute of a class": ("limit = 7", "limit = 8", "pkg.main.Model"),
    "a base class": ("        return 1\n", "        return 11\n", "pkg.main.Base.shared"),
    "a dataclass's default": ("depth: int = 4", "depth: int = 5", "pkg.main.Config"),
    "a member of an enum": ("LOW = 1", "LOW = 3", "pkg.main.Level"),
    "another task": ("x + 30", "x + 31", "pkg.main.other"),
    "a variable around a function": ("adder(1), adder(2)", "adder(1), adder(3)", "pkg.main.adder.<locals>.add#2"),
    "such variables, exchanged": ("adder(1), adder(2)", "adder(2), adder(1)", "pkg.main.adder.<locals>.add"),
    "a default of an inner function": ("step=1", "step=2", "pkg.main.adder.<locals>.add"),
    "a function of a module of the package": ("x * FACTOR", "x + FACTOR", "pkg.helpers.clean"),
    "a constant of a module of the package": ("FACTOR = 3", "FACTOR = 4", "pkg.helpers.FACTOR"),
    "a function that was imported under another name": ("y + 1 for", "y + 2 for", "pkg.helpers.inner"),
    "a function that is imported in the body": ("    return x - 1\nd", "    return x - 2\nd", "pkg.helpers.lazily"),
}  # fmt: skip
DOES_NOT = {
    "the function's docstring": ('"""Work."""', '"""Labour."""'),
    "no docstring": ('    """Work."""\n', ""),
    "a helper's docstring": ('    """Clean."""\n', ""),
    "a class's docstring": ('    """Settings."""\n', ""),
    "the docstring of a class in a function": ('        """Local."""\n', ""),
    "a module's docstring": ('"""A module."""', ""),
    "a comment": ("  # a comment", ""),
    "its place": ("log = ", "\n\n\nimport math\nlog = "),
    "an annotation": ("unit: int = 60", "unit: float = 60"),
    "how annotations are read": ('"""A module."""', "from __future__ import annotations"),
    "how a number is written": ("x + 10", "x + 0xA"),
    "the order of a set": ('"alpha", "beta", "gamma"', '"gamma", "alpha", "beta"'),
    "the order of a set in the code": ('"delta", "epsilon", "zeta"', '"zeta", "epsilon", "delta"'),
    "a logger": ('getLogger("one")', 'getLogger("two")'),
    "a function that is not reached": ("def unused(x):\n    return x", "def unused(x):\n    return -x"),
    "a constant that is not reached": ("UNUSED = 1", "UNUSED = 2"),
    "options": ("retries=2", "retries=3"),
}  # fmt: skip


def write(folder: Path, old: str = "", new: str = "") -> Path:
    (folder / "pkg").mkdir(parents=True)
    found = 0
    for name, text in (("__init__.py", ""), ("helpers.py", HELPERS), ("main.py", MAIN)):
        found += text.count(old) if old else 1
        (folder / "pkg" / name).write_text(text.replace(old, new) if old else text)
    assert found, f"{old!r} is nowhere"
    return folder


@contextmanager
def imported(folder: Path) -> Iterator[Any]:
    """The package in a folder, as if no other were of its name."""
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield importlib.import_module("pkg.main")
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == "pkg"]:
            del sys.modules[name]


def read(folder: Path, old: str = "", new: str = "") -> tuple[str, dict[str, str]]:
    with imported(write(folder, old, new)) as main:
        found = parts(main.work.fn)
        assert hash_of(found) == code_hash(main.work.fn) == main.work.definition.code
        assert unhashable(main.work.fn) == []
        return code_hash(main.work.fn), found


@pytest.mark.parametrize(("old", "new", "part"), MATTERS.values(), ids=MATTERS)
def test_it_matters(tmp_path: Path, old: str, new: str, part: str) -> None:
    (before, known), (after, found) = read(tmp_path / "one"), read(tmp_path / "two", old, new)
    assert before != after
    changed = {name for name in known.keys() | found.keys() if known.get(name) != found.get(name)}
    assert part in changed
    # Parts refer to each other by name: a change is told where it is, not wherever it is felt.
    assert len(changed) <= 2, changed


@pytest.mark.parametrize(("old", "new"), DOES_NOT.values(), ids=DOES_NOT)
def test_it_does_not_matter(tmp_path: Path, old: str, new: str) -> None:
    assert read(tmp_path / "one") == read(tmp_path / "two", old, new)


def python(code: str, folder: Path, seed: str, *arguments: str) -> dict[str, Any]:
    path = os.pathsep.join(map(str, (ROOT, ROOT / "executors", ROOT / "storage", folder)))
    done = subprocess.run(
        [sys.executable, *arguments, "-c", code],
        env={**os.environ, "PYTHONPATH": path, "PYTHONHASHSEED": seed},
        cwd=folder, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_it_is_the_same_in_every_process(tmp_path: Path) -> None:
    code, found = read(tmp_path / "one")
    write(tmp_path / "two")
    tell = "import json; from dataflow.code import *; from pkg.main import work; print(json.dumps(parts(work.fn)))"
    for seed, flags in (("0", ()), ("1", ()), ("77", ("-O",))):
        there = python(tell, tmp_path / "two", seed, *flags)
        assert there == found
        assert hash_of(there) == code


def test_it_is_the_same_after_a_journey_to_a_process_that_never_saw_the_module(tmp_path: Path) -> None:
    one = MAIN.replace("from pkg import helpers", "import math as helpers").replace("from pkg.helpers", "from math")
    one = one.replace("import inner as renamed", "import floor as renamed").replace(
        "import lazily", "import ceil as lazily"
    )
    one = one.replace("@functools.lru_cache\n", "")  # cloudpickle takes such a function by name only
    ship = (
        "import cloudpickle, json, pathlib\nfrom dataflow.code import *\n"
        "pathlib.Path('shipped').write_bytes(cloudpickle.dumps(work.fn)); print(json.dumps(parts(work.fn)))"
    )
    load = (
        "import json, pickle, pathlib\nfrom dataflow.code import *\n"
        "print(json.dumps(parts(pickle.loads(pathlib.Path('shipped').read_bytes()))))"
    )
    here = python(one + ship, tmp_path, "1")
    there = python(load, tmp_path, "2")
    assert there == here
    assert {"__main__.work", "__main__.THRESHOLD", "__main__.odd", "__main__.Model.__call__"} <= here.keys()
    # A script that is imported, by whatever name, has the same code.
    (tmp_path / "script.py").write_text(one)
    named = python(
        "import json, script; from dataflow.code import *; print(json.dumps(parts(script.work.fn)))", tmp_path, "3"
    )
    assert hash_of(named) == hash_of(here)


def test_a_name_is_not_code() -> None:
    def one(x: int) -> int:
        return x + 1

    def another(x: int) -> int:
        return x + 1

    assert code_hash(one) == code_hash(another) == code_hash(lambda x: x + 1)
    assert code_hash(one) != code_hash(lambda x: x + 2) != code_hash(lambda y: y + 2)


def test_what_a_function_closes_over_counts() -> None:
    def scaled(by: object) -> Callable[[Any], object]:
        return lambda x: x * by

    assert code_hash(scaled(2)) == code_hash(scaled(2)) != code_hash(scaled(2.0))
    assert code_hash(scaled({"a": {1, 2}})) == code_hash(scaled({"a": {2, 1}}))
    assert code_hash(scaled(abs)) != code_hash(scaled(len))
    assert code_hash(scaled(lambda: 1)) != code_hash(scaled(lambda: 2))


def test_what_has_no_digest_is_named_and_does_not_change_the_hash() -> None:
    def made(client: object, size: int = 3) -> Callable[..., object]:
        def helper() -> object:
            return client

        def body(x: int, lock: object = threading.Lock(), *, free: int = size) -> object:
            return helper(), client, x, lock, free

        return body

    one, other = made(threading.Event()), made(threading.Event())
    assert code_hash(one) == code_hash(other)
    assert code_hash(one) != code_hash(made(threading.Event(), 4))
    found = unhashable(one)
    assert found[:2] == ["lock", "client"]
    assert [name.rpartition(".")[2] for name in found[2:]] == ["helper: client"]
    assert unhashable(lambda x: x) == []


class Multiplier:
    def __init__(self, by: object) -> None:
        self.by = by

    def __call__(self, x: int) -> object:
        return x, self.by

    def method(self, x: int) -> object:
        return self.by, x


def test_callables_count_with_what_they_hold() -> None:
    two, three = Multiplier(2), Multiplier(3)
    assert code_hash(two) == code_hash(Multiplier(2)) != code_hash(three)
    assert code_hash(two.method) == code_hash(Multiplier(2).method) != code_hash(three.method)
    assert code_hash(two.method) != code_hash(two)
    assert unhashable(two) == unhashable(two.method) == []
    assert unhashable(Multiplier(threading.Lock())) == ["Multiplier"]
    assert unhashable(Multiplier(threading.Lock()).method) == ["Multiplier"]
    assert code_hash(partial(two.method, 1)) != code_hash(partial(two.method, 2)) or unhashable(partial(two.method, 1))
    assert code_hash(partial(pow, 2)) != code_hash(partial(pow, 3))


def test_what_wraps_a_function_and_what_is_wrapped_both_count() -> None:
    def wrapped(fn: Callable[[int], int], add: int) -> Callable[[int], int]:
        @wraps(fn)
        def wrapper(x: int) -> int:
            return fn(x) + add

        return wrapper

    def body(x: int) -> int:
        return x

    def changed(x: int) -> int:
        return -x

    assert len({code_hash(made) for made in (body, wrapped(body, 1), wrapped(body, 2), wrapped(changed, 1))}) == 4
    assert code_hash(lru_cache(body)) == code_hash(lru_cache(body)) != code_hash(lru_cache(changed))


def test_functions_of_other_packages_count_by_name() -> None:
    assert code_hash(operator.getitem) == code_hash(operator.getitem) != code_hash(operator.setitem)
    assert list(parts(operator.getitem)) == ["_operator.getitem (builtin_function_or_method)"]
    assert list(parts(lambda x: json.dumps(x))) == [
        f"{__name__}.test_functions_of_other_packages_count_by_name.<locals>.<lambda>"
    ]


def test_a_definition_takes_its_code_along() -> None:
    @task
    def body(x: int) -> int:
        return x

    shipped = body.definition.shipped()
    assert vars(shipped)["code"] == body.definition.code == code_hash(body.fn)
    travelled = pickle.loads(pickle.dumps(Definition(name="abs", fn=abs).shipped()))
    assert vars(travelled)["code"] == code_hash(abs)


def test_a_function_that_was_redefined_since_counts_for_the_next_run(tmp_path: Path) -> None:
    with imported(write(tmp_path)) as main:
        before = main.work.definition.shipped().code
        main.odd = lambda n: n == 7
        assert main.work.definition.shipped().code != before


def test_a_module_beside_a_script_is_the_users_code(tmp_path: Path) -> None:
    (tmp_path / "flows.py").write_text("import helpers\ndef body(x):\n    return helpers.norm(x)\n")

    def told(norm: str) -> dict[str, str]:
        (tmp_path / "helpers.py").write_text(norm)
        script = "import json, flows; from dataflow.code import parts; print(json.dumps(parts(flows.body)))"
        path = os.pathsep.join(map(str, (tmp_path, ROOT, ROOT / "executors", ROOT / "storage")))
        env = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=True)
        return dict(json.loads(done.stdout))

    one, same, two = (
        told("def norm(x):\n    return x\n"),
        told("# why\ndef norm(x):\n    return x\n"),
        told("def norm(x):\n    return -x\n"),
    )
    assert one == same
    assert {name for name in one if one[name] != two[name]} == {"helpers.norm"}
