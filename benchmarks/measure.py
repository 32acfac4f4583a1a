"""How things are measured: two things in turn, in a fresh home each time, warmed up; the medians are compared."""

from __future__ import annotations

import gc
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

ROUNDS = 3
ENOUGH_SECONDS = 10.0  # that the rounds of one comparison take together; no more are begun then

Timer = Callable[[], float]  # does the thing once and says how long it took


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of the table.

    Parameters
    ----------
    what : str
        What was measured.
    ours : float
        dataflow's, in `unit`.
    unit : str
        "s", "ms", "µs", "MiB" or "bytes"; of `bare` too.
    against : str
        What it is compared with.
    bare : float or None
        That one's.
    ratio : float or None
        `ours` by `bare`.
    bar : float or None
        What the ratio, or `ours` where there is none, is to stay under.
    """

    what: str
    ours: float
    unit: str = "s"
    against: str = ""
    bare: float | None = None
    ratio: float | None = None
    bar: float | None = None

    @property
    def is_over(self) -> bool:
        """Whether it misses its bar."""
        value = self.ours if self.ratio is None else self.ratio
        return self.bar is not None and value > self.bar

    def to_dict(self) -> dict[str, object]:
        """As plain data; the way back is `Figure(**data)`."""
        return asdict(self)


@contextmanager
def fresh_home() -> Iterator[str]:
    """Within it, runs and results go to a new folder.

    The folder stays until everything has been measured: ext4 shuns the inodes of files that were deleted in the last
    minutes, and looks at each of them for every file that it creates, which may take a millisecond then.
    """
    before = os.environ.get("DATAFLOW_HOME")
    folder = tempfile.mkdtemp(prefix="home-")
    os.environ["DATAFLOW_HOME"] = folder
    try:
        yield folder
    finally:
        if before is None:
            del os.environ["DATAFLOW_HOME"]
        else:
            os.environ["DATAFLOW_HOME"] = before


def file_microseconds() -> float:
    """What it costs here to create a small file: every result of a call is one."""
    folder = tempfile.mkdtemp(prefix="files-")

    def create() -> None:
        for n in range(1_000):
            file = os.open(f"{folder}/{n}", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.write(file, b"x" * 500)
            os.close(file)

    return 1e6 * seconds(create) / 1_000


def seconds(call: Callable[[], object]) -> float:
    """How long one call takes, on a clean heap; what it returns is dropped afterwards."""
    gc.collect()
    begin = time.perf_counter()
    kept = call()
    took = time.perf_counter() - begin
    del kept
    return took


def in_turn(*timers: Timer, rounds: int = ROUNDS) -> list[float]:
    """Medians of timers, asked in turn, so that whatever else the machine does meets all of them."""
    begin, taken = time.monotonic(), list[list[float]]()
    while len(taken) < rounds and (not taken or time.monotonic() - begin < ENOUGH_SECONDS):
        taken.append([timer() for timer in timers])
    return [statistics.median(column) for column in zip(*taken, strict=True)]


def compare(
    what: str,
    ours: Timer,
    bare: Timer,
    against: str,
    *,
    bar: float | None = None,
    rounds: int = ROUNDS,
) -> Figure:
    """The figure of a timer against another."""
    mine, theirs = in_turn(ours, bare, rounds=rounds)
    return Figure(what=what, ours=mine, against=against, bare=theirs, ratio=mine / theirs, bar=bar)
