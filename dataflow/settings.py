"""The configuration, which is Dask's: section `dataflow`, with the defaults of `dataflow.yaml` beside this file."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any


@functools.cache
def _config() -> ModuleType:
    """`dask.config` with our defaults in it.

    Reading the record of a run needs nothing else of Dask, and importing the whole package takes a third of a second:
    where nobody has, only this module of it is loaded. A later `import dask` finds and keeps it.
    """
    import yaml

    found = importlib.util.find_spec("dask")
    if "dask" in sys.modules or found is None:
        config = importlib.import_module("dask.config")
    else:
        stand_in = ModuleType("dask")
        stand_in.__path__ = list(found.submodule_search_locations or [])
        sys.modules["dask"] = stand_in
        try:
            config = importlib.import_module("dask.config")
        finally:
            del sys.modules["dask"]
    config.update_defaults(yaml.safe_load(Path(__file__).with_name("dataflow.yaml").read_text(encoding="utf-8")))
    return config


def get(name: str) -> object:
    """A setting, by its name below `dataflow`.

    Raises
    ------
    KeyError
        There is no such setting.

    Examples
    --------
    >>> get("tasks.grace")
    3.0
    """
    try:
        value: object = _config().get(f"dataflow.{name}")
    except KeyError:  # a `with dask.config.set(...)` around the first look took our defaults away when it was left
        _config.cache_clear()
        value = _config().get(f"dataflow.{name}")
    return value


def batch() -> str | int:
    """How many task runs share a Dask task, where a task does not say.

    Raises
    ------
    ValueError
        The setting is neither "auto" nor a number.
    """
    told = get("tasks.batch")
    if told == "auto" or (isinstance(told, int) and told >= 1):
        return told
    raise ValueError(f"dataflow.tasks.batch is {told!r}: give 'auto', or a whole number, at least 1")


def concurrency() -> int:
    """How many `async def` task runs of a Dask task run at the same time.

    Raises
    ------
    ValueError
        The setting is no number.
    """
    told = get("tasks.concurrency")
    if isinstance(told, int) and not isinstance(told, bool) and told >= 1:
        return told
    raise ValueError(f"dataflow.tasks.concurrency is {told!r}: give a whole number, at least 1")


def changed() -> dict[str, object]:
    """Settings that are not as by default, by name."""
    import yaml

    defaults = yaml.safe_load(Path(__file__).with_name("dataflow.yaml").read_text(encoding="utf-8"))["dataflow"]

    def differing(prefix: str, before: object) -> dict[str, object]:
        found: dict[str, object] = {}
        for name, value in before.items() if isinstance(before, dict) else ():
            if isinstance(value, dict) and value:
                found |= differing(f"{prefix}{name}.", value)
            elif get(f"{prefix}{name}") != value:
                found[f"{prefix}{name}"] = get(f"{prefix}{name}")
        return found

    return differing("", defaults)


def dask_annotations() -> Mapping[str, Any]:
    """What `dask.annotate` says here; nobody has said anything where Dask was not imported."""
    dask = sys.modules.get("dask.base")
    said: Mapping[str, Any] = {} if dask is None else dask.get_annotations()
    return said


def home() -> Path:
    """The folder where runs and results rest unless settings say otherwise."""
    told = os.environ.get("DATAFLOW_HOME") or get("home")
    return Path(str(told)).expanduser().absolute() if told else Path.home() / ".dataflow"


def results_url() -> str:
    """Where results go."""
    return str(get("results.url") or home() / "results")


def runs_url() -> str:
    """Where the record of runs is."""
    return str(get("runs.url") or home() / "runs.db")
