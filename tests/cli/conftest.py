"""The command line as a user meets it: a folder with a file of flows, and a call that gives code, output and errors."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from dataflow.cli import main
from tests.cli.working import WORK

ROOT = Path(__file__).resolve().parent.parent.parent
FLOWS = '''"""Flows for the tests of the command line."""

import enum
import logging
import os
from dataclasses import dataclass
from datetime import date
from typing import Literal

from dataflow import Pause, Skip, flow, task, unmapped


def mark(name):
    """One line for each time a body ran."""
    descriptor = os.open("ledger.txt", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, f"{name}\\n".encode())
    os.close(descriptor)


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass
class Box:
    width: int
    height: int = 1


@task
def extract(n: int) -> list[int]:
    mark("extract")
    return list(range(n))


@task(retries=1, log_prints=True)
def transform(x: int, bad: int) -> int:
    print("transforming", x)
    logging.getLogger("shop").warning("price of %s", x)
    if x == bad:
        raise ValueError(f"row {x} has no price")
    if x == 1:
        raise Skip("nothing to do")
    return x * x


@task
def load(xs: list[int]) -> int:
    return sum(xs)


@flow
def etl(n: int = 4, bad: int = -1, region: Literal["eu", "us"] = "eu"):
    return load(transform.map(extract(n), unmapped(bad)))


@task
def repeat(value):
    return value


@flow
def typed(
    day: date,
    box: Box,
    colour: Colour = Colour.RED,
    xs: list[int] = [],
    on: bool = False,
    free=None,
    word="w",
    maybe: int | None = 3,
):
    return repeat([day.isoformat(), box.width, box.height, colour.value, xs, on, free, word, maybe])


@task
def approve():
    raise Pause("a person must look")


@flow
def waits():
    return approve()


@task
def text():
    return "two\\nlines"


@flow
def says():
    return text()


@task
def large():
    return list(range(100_000))


@flow
def much():
    return large()


@flow
def nothing():
    return None


@flow
def inner(x: int):
    return load([x])


@flow
def outer(n: int = 3):
    return inner.map(extract(n))


@flow
def broken(how: str = "raise"):
    if how == "raise":
        return {}["key"]
    return load(extract(1) if extract(1) else 2)


@task
def hold(seconds: float):
    mark("hold")
    import time

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not os.path.exists("release"):
        time.sleep(0.01)


@flow
def slow(seconds: float = 60.0, n: int = 3):
    return hold.map([seconds] * n)


if __name__ == "__main__":
    mark("main")
'''


@dataclass(frozen=True)
class Said:
    """What a call gave."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> dict[str, object]:
        """Standard output as one JSON document."""
        loaded: dict[str, object] = json.loads(self.out)
        assert loaded["schema"] == 1
        return loaded

    @property
    def lines(self) -> list[dict[str, object]]:
        """Standard output as a JSON document for each line."""
        loaded: list[dict[str, object]] = [json.loads(line) for line in self.out.splitlines()]
        assert all(line["schema"] == 1 for line in loaded)
        return loaded


Call = Callable[..., Said]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with `flows.py` in it."""
    (tmp_path / "flows.py").write_text(FLOWS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def work(folder: Path) -> Path:
    """The current folder, with `work.py` in it: flows that fail, ask and take their time."""
    (folder / "work.py").write_text(WORK, encoding="utf-8")
    return folder


@pytest.fixture
def cli(folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Call]:
    """Calls the command line in this process."""
    for name in ("NO_COLOR", "FORCE_COLOR", "CI", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    path, modules = list(sys.path), set(sys.modules)

    def call(*arguments: str) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        captured = capsys.readouterr()
        code = ended.value.code
        assert isinstance(code, int)
        return Said(code, captured.out, captured.err)

    yield call
    sys.path[:] = path
    import cloudpickle

    for name in set(sys.modules) - modules:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(folder)):
            if name in cloudpickle.list_registry_pickle_by_value():
                cloudpickle.unregister_pickle_by_value(sys.modules[name])
            del sys.modules[name]


def environment(**more: str) -> dict[str, str]:
    """The environment of a process that finds the three packages where they stand."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "executors", ROOT / "storage")))
    dropped = {"NO_COLOR", "FORCE_COLOR", "CI", "COLUMNS"}
    return {**{name: value for name, value in os.environ.items() if name not in dropped}, "PYTHONPATH": path, **more}


@pytest.fixture
def script(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The words that start the command line in a process of its own, as the installed script does."""
    file = tmp_path_factory.mktemp("bin") / "dataflow"
    file.write_text("from dataflow.cli import main\n\nif __name__ == '__main__':\n    main()\n", encoding="utf-8")
    return [sys.executable, str(file)]


@pytest.fixture
def begin(folder: Path, script: list[str]) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts the command line in a process; what still runs at the end is killed."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **more: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*script, *arguments],
            cwd=folder,
            env=environment(**more),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def ran(cli: Call) -> Said:
    """`flows.py:etl` ran to success."""
    said = cli("run", "flows.py:etl")
    assert said.code == 0, said.err
    return said


@pytest.fixture
def failed(cli: Call) -> Said:
    """`flows.py:etl` failed at its third row."""
    said = cli("run", "flows.py:etl", "-p", "bad=2")
    assert said.code == 1, said.err
    return said
