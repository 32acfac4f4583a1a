"""What a comparison measured: cells, each a system with a workload and an N."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.catalogue import BY_NAME, System

Place = tuple[str, str, int]  # system, workload, N


@dataclass(kw_only=True)
class Cell:
    """One figure of the table.

    Parameters
    ----------
    system, workload, n
        Which.
    seconds : list of float
        One for each round.
    why : str
        Why there is none.
    """

    system: str
    workload: str
    n: int
    seconds: list[float] = field(default_factory=list)
    why: str = ""

    @property
    def place(self) -> Place:
        """Where it stands."""
        return self.system, self.workload, self.n

    @property
    def median(self) -> float:
        """Of its rounds."""
        return statistics.median(self.seconds)


@dataclass(kw_only=True)
class Record:
    """All cells of a comparison, and what it ran on.

    Parameters
    ----------
    machine : str
        Cores, system and Python; never a name.
    limit : float
        Seconds that a cell may take.
    rounds : int
        How many rounds a cell has that is quick enough.
    versions : dict
        Of the packages, by name.
    missing : dict
        Why a system was not installed, by its name.
    cells : list of Cell
        In the order of the catalogue.
    """

    machine: str
    limit: float
    rounds: int
    versions: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    cells: list[Cell] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Record:
        """As `write` left it."""
        data = json.loads(path.read_text())
        return cls(**data | {"cells": [Cell(**cell) for cell in data["cells"]]})

    def write(self, path: Path) -> None:
        """At once, so that what was measured survives an interruption."""
        made = path.with_suffix(".new")
        made.write_text(json.dumps(asdict(self), indent=1))
        made.replace(path)

    @property
    def by_place(self) -> Mapping[Place, Cell]:
        """Its cells, to look up."""
        return {cell.place: cell for cell in self.cells}

    def cell(self, system: System, workload: str, n: int) -> Cell:
        """The cell of this place, a new one where there is none."""
        found = self.by_place.get((system.name, workload, n))
        if found is None:
            found = Cell(system=system.name, workload=workload, n=n)
            self.cells.append(found)
        return found

    def ratio(self, cell: Cell) -> float | None:
        """How many times as long as ours it takes; None where one of both is not there, or for ours."""
        system = BY_NAME[cell.system]
        ours = self.by_place.get((system.against, cell.workload, cell.n))
        if not cell.seconds or ours is None or not ours.seconds or ours is cell:
            return None
        return cell.median / ours.median


def machine() -> str:
    """What this runs on, without its name."""
    cores = os.cpu_count()
    return f"{cores} cores, {platform.system()} on {platform.machine()}, Python {platform.python_version()}"
