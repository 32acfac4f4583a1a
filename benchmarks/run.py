"""Measures dataflow against bare Dask, side by side, and prints one table.

    python -m benchmarks.run               everything: some minutes
    python -m benchmarks.run --quick       the bars: less than three minutes
    python -m benchmarks.run threads plan  a part

Each figure is a median of alternating rounds in one process, fewer than three where a round takes long; what counts is
the ratio, since it is the same work on the same machine in the same minute. A bar is what a figure is to stay under.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from importlib.metadata import version

from benchmarks.bars import BARS
from benchmarks.cases import CASES
from benchmarks.measure import Figure, file_microseconds

PARTS = {**BARS, **CASES}
QUICK = (*BARS, "import", "bytes")
COLUMNS = f"{'':50} {'dataflow':>10} {'bare':>10} {'ratio':>6} {'bar':>6}  bare is"


def main() -> int:
    """Run what was asked for, each part in a process of its own: one part's heap must not slow the next."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"parts: {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help=f"these parts: {', '.join(QUICK)}")
    parser.add_argument("--scale", type=float, default=1.0, help="0.01: a hundredth of the work, to try this out")
    parser.add_argument("--json", action="store_true", help="figures as lines of JSON, of one part, in this process")
    given = parser.parse_args()
    for name in given.names:
        if name not in PARTS:
            parser.error(f"there is no part {name!r}; the parts are {', '.join(PARTS)}")
    if given.json:
        for name in given.names:
            for figure in PARTS[name](lambda n: max(10, int(n * given.scale))):
                print(json.dumps(figure.to_dict()), flush=True)
        return 0
    with tempfile.TemporaryDirectory(prefix="dataflow-bench-", ignore_cleanup_errors=True) as folder:
        tempfile.tempdir = os.environ["TMPDIR"] = folder
        return _table(given.names or (QUICK if given.quick else list(PARTS)), given.scale)


def _table(names: Sequence[str], scale: float) -> int:
    began = time.monotonic()
    print(
        f"Python {platform.python_version()}, dask {version('dask')}, distributed {version('distributed')}, "
        f"{os.cpu_count()} CPUs with load {os.getloadavg()[0]:.1f}, {file_microseconds():.0f} µs for a small file\n\n"
        f"{COLUMNS}",
        flush=True,
    )
    over, broken = 0, []
    for name in names:
        command = [sys.executable, "-m", "benchmarks.run", "--json", "--scale", str(scale), name]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for figure in _figures(process):
            over += figure.is_over
            print(line(figure), flush=True)
        if process.wait():
            broken.append(name)
    load = f"load now {os.getloadavg()[0]:.1f}, {file_microseconds():.0f} µs for a small file"
    print(f"\n{time.monotonic() - began:.0f} s; {load}; {over or 'none'} over the bar (!)")
    if broken:
        print(f"broken: {', '.join(broken)}")
    return 1 if broken else 0


def _figures(process: subprocess.Popen[str]) -> Iterator[Figure]:
    assert process.stdout is not None
    for text in process.stdout:
        if text.startswith("{"):
            yield Figure(**json.loads(text))


def line(figure: Figure) -> str:
    """A figure as a line of the table.

    >>> line(Figure(what="a", ours=2.0, against="b", bare=1.0, ratio=2.0, bar=6)).split()
    ['a', '2.00', 's', '1.00', 's', '2.00', '6', 'b']
    """
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    bar = "" if figure.bar is None else f"{figure.bar:.4g}{'!' if figure.is_over else ''}"
    cells = f"{_number(figure.ours, figure.unit):>10} {_number(figure.bare, figure.unit):>10} {ratio:>6} {bar:>6}"
    return f"{figure.what:50} {cells}  {figure.against}".rstrip()


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    digits = 0 if unit in ("ms", "bytes", "MiB") else 1 if unit == "µs" else 2
    return f"{value:,.{digits}f} {unit}"


if __name__ == "__main__":
    raise SystemExit(main())
