"""What the settings choose: the executor, the result store, and the record of runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from dataflow import settings

# Each is imported where it is opened: whoever only reads the record starts in half the time.
if TYPE_CHECKING:
    from dataflow_executors import Executor
    from dataflow_storage import ResultStore, RunStore


def choose_executor(given: object) -> Executor:
    """The executor that was asked for, else the configured one, else the default."""
    from dataflow_executors import choose

    return choose(settings.get("executor") if given is None else given)  # type: ignore[arg-type]


def open_results(url: str) -> ResultStore:
    """The result store at a URL, as configured."""
    from dataflow_storage import ResultStore

    options = settings.get("results.storage_options")
    root = settings.get("results.target_root")
    return ResultStore(
        url,
        dict(options) if isinstance(options, Mapping) else {},
        target_root=None if root is None else str(root),
        fsync=bool(settings.get("results.fsync")),
        timeout=float(str(settings.get("results.timeout"))),
        compression=str(settings.get("results.compression")),
        signing_key=cast("str | None", settings.get("results.signing_key")),
        pickle=bool(settings.get("results.pickle")),
    )


def open_runs(url: str | None = None) -> RunStore:
    """The record of runs at a URL, or as configured."""
    from dataflow_storage import RunStore

    url = url or settings.runs_url()
    if "://" in url:
        return RunStore(url)
    path = Path(url).expanduser().absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():  # somebody has deleted it: a new one is wanted, not a complaint
        _latest.cache_clear()
    return _latest(str(path))


@lru_cache(maxsize=1)
def _latest(path: str) -> RunStore:
    """The file that was used last stays open: runs follow each other, and opening takes longer than a small run."""
    from dataflow_storage import RunStore

    return RunStore(path)
