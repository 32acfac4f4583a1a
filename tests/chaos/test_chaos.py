"""A short part of `make chaos`: whoever dies, the run ends as a clean one does, and nothing committed runs again."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.chaos import injecting
from tests.chaos.chaos import Chaos, Tally
from tests.chaos.zygote import Zygote

PLACES = 8


def check(tally: Tally) -> None:
    assert tally.problems == []
    assert tally.kills > 0


def test_workers_that_die_at_random(chaos: Chaos) -> None:
    check(chaos.workers(4))


@pytest.mark.parametrize("executor", ["threads:2", "sync", "cluster"])
def test_drivers_that_die_at_random(chaos: Chaos, executor: str) -> None:
    check(chaos.drivers(3, executor))


def test_a_scheduler_that_dies_at_random(chaos: Chaos) -> None:
    check(chaos.scheduler(2))


def test_drivers_that_die_at_a_durable_step(zygote: Zygote, tmp_path: Path) -> None:
    passed = injecting.passages(zygote, tmp_path / "clean", "threads:2")
    crashes = injecting.crashes(passed, ("process",), 3)
    for crash in random.Random(1).sample(crashes, PLACES):
        case = injecting.crash(zygote, tmp_path / str(crash), "threads:2", crash)
        assert case.problems == [], crash
