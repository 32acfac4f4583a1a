"""The configuration, which is Dask's: section `dataflow`, with the defaults of `dataflow.yaml` beside this file."""

from __future__ import annotations

import functools
import os
from pathlib import Path


@functools.cache
def _load_defaults() -> None:
    import dask.config
    import yaml

    defaults = yaml.safe_load(Path(__file__).with_name("dataflow.yaml").read_text(encoding="utf-8"))
    dask.config.update_defaults(defaults)


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
    import dask.config

    _load_defaults()
    value: object = dask.config.get(f"dataflow.{name}")
    return value


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
