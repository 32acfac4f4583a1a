"""What every script does with its system: warm it up, run a workload by the clock, check what came out, print it."""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path

from benchmarks.systems.workloads import EXPECTED, TEN, WORKLOADS, Workload, settled

WARM_UP = range(-TEN, 0)

Opened = Callable[[str, Path], AbstractContextManager[Mapping[str, Workload]]]
"""Opens a system: takes a variant and a new folder, gives the workloads that it offers."""


def main(
    opened: Opened,
    module: str,
    *,
    variants: Sequence[str] = ("",),
    packages: Sequence[str],
    not_offered: Mapping[str, str] | None = None,
) -> int:
    """Run what the command line says and print one line of JSON.

    `seconds` is the time from the first call until the caller has the value, without imports, without the start of
    clusters and servers, without a warm-up of ten numbers. `value` is what came out. `not_offered` says why there is
    neither: a workload that the system has no idea of.

    Returns
    -------
    int
        0, or 1 where the value is wrong.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("n", type=int)
    parser.add_argument("variant", nargs="?", choices=variants, default=variants[0])
    parser.add_argument("--folder", type=Path, help="where the system keeps what it keeps; a new one by default")
    parser.add_argument("--fill", action="store_true", help="only fill the cache")
    given = parser.parse_args()
    line: dict[str, object] = {"workload": given.workload, "n": given.n, "variant": given.variant}
    line["versions"] = {name: version(name) for name in packages}
    if given.workload in (not_offered or {}):
        print(json.dumps(line | {"not_offered": (not_offered or {})[given.workload]}))
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as made:
        folder = given.folder or Path(made)
        if given.workload == "warm" and not given.fill:
            again = [str(given.n), *([given.variant] if given.variant else []), "--fill", "--folder", str(folder)]
            subprocess.run([sys.executable, "-m", module, "warm", *again], check=True, stdout=subprocess.DEVNULL)
        with opened(given.variant, folder) as offered:
            work, items = offered[given.workload], range(given.n)
            work(WARM_UP)
            if given.fill:
                work(items)
                return 0
            seconds, value = timed(work, items)
            value = settled(value)
    right = value == EXPECTED[given.workload](items)
    line |= {"seconds": seconds, "value": sum(value) if isinstance(value, list) else value, "right": right}
    line["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    # Some systems print; the line stands alone, at the end.
    print("\n" + json.dumps(line), flush=True)
    sys.stderr.flush()
    os._exit(0 if right else 1)  # threads that a system leaves behind are not waited for


def timed(work: Workload, items: range) -> tuple[float, object]:
    """Seconds that a workload takes on a clean heap, and its value."""
    gc.collect()
    begin = time.perf_counter()
    value = work(items)
    return time.perf_counter() - begin, value
