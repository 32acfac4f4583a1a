"""A crash at every place: before and after each durable step of a run, at its first passages, its last, and between."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.chaos.harness import Case
from tests.chaos.zygote import Zygote

PRELOAD = {"DASK_DISTRIBUTED__WORKER__PRELOAD": '["tests.chaos.faulting"]'}


class Crash(NamedTuple):
    """Where somebody dies.

    Parameters
    ----------
    name : str
        The place.
    number : int
        Its passage, in the process that dies.
    when : str
        Before or after.
    scope : str
        "process": a driver or a worker alone; "session": a driver with all of its processes, at once.
    """

    name: str
    number: int
    when: str
    scope: str

    def __str__(self) -> str:
        return f"{self.name}-{self.number}-{self.when}-{self.scope}"


def passages(zygote: Zygote, folder: Path, executor: str) -> Counter[str]:
    """How often a clean run passes each place."""
    trace = folder / "trace"
    case = Case(zygote, folder, executor, env=PRELOAD)
    case.finish(CHAOS_TRACE=str(trace))
    assert not case.check(), case.problems
    return Counter(line.split()[0] for line in trace.read_text().splitlines() if line.endswith("before"))


def crashes(passed: Counter[str], scopes: Sequence[str], most: int) -> list[Crash]:
    """A spread of crashes, at most so many passages of each place."""
    found = []
    for name, count in sorted(passed.items()):
        spread = {1, count} if most == 2 else {round(1 + n * (count - 1) / max(1, most - 1)) for n in range(most)}
        found += [
            Crash(name, n, when, scope) for n in sorted(spread) for when in ("before", "after") for scope in scopes
        ]
    return found


def crash(zygote: Zygote, folder: Path, executor: str, where: Crash) -> Case:
    """A run that is crashed there, taken up, and seen to its end."""
    case = Case(zygote, folder, executor, env=PRELOAD)
    marker = folder / "crashed"
    fault = "|".join([where.name, str(where.number), where.when, where.scope, str(marker)])
    case.see_end(case.start(CHAOS_FAULT=fault))
    case.look()
    case.finish()
    case.check()
    case.crashed = marker.exists()
    return case
