"""`dataflow doctor`: look at what this installation needs, one short check after the other. Nothing is changed."""

from __future__ import annotations

import os
import re
import shutil
import socket
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from urllib.parse import urlsplit

import click

from dataflow import __version__, settings, states
from dataflow.cli import data
from dataflow.cli.problems import EXIT_FAILED, EXIT_OK, explain
from dataflow.cli.standing import is_left
from dataflow.cli.terminal import Printer, amount, several

OK, WARNING, PROBLEM = "ok", "warning", "problem"
SHOWN_AS = {OK: "Success", WARNING: "Waiting", PROBLEM: "Failed"}
PACKAGES = ("dask", "distributed", "cloudpickle", "sqlalchemy", "fsspec", "pydantic")
LITTLE = 1e9  # bytes of a disk that is nearly full
SKEW = 5.0  # seconds that clocks may differ
REACH = 3.0  # seconds for a scheduler to answer
SECRET = re.compile(r"key|secret|token|password|passwd|credential|auth", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one check found.

    Parameters
    ----------
    check : str
        What was looked at.
    state : str
        "ok", "warning" or "problem".
    message, hint : str
        What was found; what to do, where something is wrong.
    """

    check: str
    state: str = OK
    message: str
    hint: str = ""


@click.command("doctor", short_help="Look at what this installation needs, and say what is wrong.")
@data.reading_option
def command(output: str) -> int:
    """Look at what this installation needs, and say what is wrong. Nothing is changed; secrets are not printed.

    The exit code is 1 where there is a problem. With -o wide each check is one line; -o name prints only
    the names of those that found something wrong.
    """
    findings = [found for check in CHECKS for found in _checked(check)]
    if output == "json":
        data.emit({"checks": [asdict(one) for one in findings]})
    elif output == "jsonl":
        data.emit_lines({"type": "check", **asdict(one)} for one in findings)
    elif output == "name":
        data.emit_names(one.check for one in findings if one.state != OK)
    else:
        printer = Printer()
        size = max(len(one.check) for one in findings)
        for one in findings:
            hint = f"{printer.tint('hint:', 'busy')} {one.hint}" if one.hint else ""
            gap = "  " if output == "wide" else f"\n{'':<{size + 4}}"
            told = f"{one.message}{gap if hint else ''}{hint}"
            printer.line(f"{printer.state(SHOWN_AS[one.state], f'{one.check:<{size}}')}  {told}")
    return EXIT_FAILED if any(one.state == PROBLEM for one in findings) else EXIT_OK


def _checked(check: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """What a check finds; what breaks it is a problem of its own."""
    try:
        yield from check()
    except Exception as error:
        message, hint, _ = explain(error)
        yield Finding(check=check.__name__, state=PROBLEM, message=hidden(message.splitlines()[0]), hint=hint)


def versions() -> Iterator[Finding]:
    """What runs here."""
    python = f"Python {'.'.join(map(str, sys.version_info[:3]))}"
    yield Finding(check="version", message=f"dataflow {__version__}, {python}, {sys.platform}")
    missing, found = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    hint = f"pip install {' '.join(missing)}" if missing else ""
    told = ", ".join([*found, *(f"no {name}" for name in missing)])
    yield Finding(check="packages", state=PROBLEM if missing else OK, message=told, hint=hint)


def configuration() -> Iterator[Finding]:
    """What was set otherwise than by default."""
    changed = settings.changed()
    told = ", ".join(f"{name}={masked(name, value)}" for name, value in changed.items())
    yield Finding(check="settings", message=told or "all as by default")


def home() -> Iterator[Finding]:
    """The folder of runs and results, and its disk."""
    folder = settings.home()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if not os.access(there, os.W_OK | os.X_OK):
        hint = "give another one in DATAFLOW_HOME"
        yield Finding(check="home", state=PROBLEM, message=f"{folder} cannot be written", hint=hint)
    else:
        yield Finding(check="home", message=f"{folder}{'' if folder.exists() else ', made with the first run'}")
    disk = shutil.disk_usage(there)
    little = disk.free < LITTLE
    yield Finding(
        check="disk",
        state=WARNING if little else OK,
        message=f"{amount(disk.free)} free of {amount(disk.total)}",
        hint="dataflow prune --older-than 30d --keep-last 50" if little else "",
    )


def record() -> Iterator[Finding]:
    """The record of runs: its schema, and runs that nobody drives."""
    from dataflow.places import open_runs
    from dataflow_storage.tables import HEAD, VERSIONS

    url = settings.runs_url()
    path = url.partition("://")[2].removeprefix("/") if url.startswith("sqlite:") else url
    if "://" not in path:
        if not Path(path).exists():
            yield Finding(check="record", message=f"{path}, made with the first run")
            return
        with closing(sqlite3.connect(f"{Path(path).absolute().as_uri()}?mode=ro", uri=True)) as connection:
            found = connection.execute(f"select version_num from {VERSIONS.name}").fetchone()
        size = amount(sum(Path(f"{path}{end}").stat().st_size for end in ("", "-wal") if Path(f"{path}{end}").exists()))
        if found != (HEAD,):
            other = f"{path}: its schema is {found and found[0]}, and this version's {HEAD}"
            yield Finding(
                check="record", state=WARNING, message=other, hint="the next command that opens it upgrades it"
            )
            return
        yield Finding(check="record", message=f"{path}, {size}, schema {HEAD}")
    else:
        open_runs().runs(limit=1)
        yield Finding(check="record", message=f"{hidden(url)}, schema {HEAD}")
    store = open_runs()
    left = [row for row in store.runs(state=(states.PENDING, states.RUNNING), limit=None) if is_left(row)]
    names = ", ".join(row.name for row in left[:5])
    yield Finding(
        check="leases",
        state=WARNING if left else OK,
        message=f"{several(len(left), 'run')} without a driver: {names}" if left else "no run is without a driver",
        hint="dataflow recover" if left else "",
    )


def results() -> Iterator[Finding]:
    """The result store, and what processes that died left in it."""
    from dataflow.places import open_results
    from dataflow_storage import cleaning

    url = settings.results_url()
    store = open_results(url)
    store.find("doctor/nothing")  # it answers, and has no such thing
    yield Finding(check="results", message=hidden(store.url))
    old = cleaning.claims(store, time.time() - 86400.0)
    yield Finding(
        check="claims",
        state=WARNING if old else OK,
        message=f"{several(len(old), 'claim')} of processes that died" if old else "none that was left",
        hint="dataflow prune takes them away" if old else "",
    )


def clock() -> Iterator[Finding]:
    """The time, its zone, and whether the disk agrees."""
    now = datetime.now().astimezone()
    home = settings.home()
    told = f"{now:%Y-%m-%d %H:%M:%S} {now.tzname()} (UTC{now:%z})"
    if now.year < 2026:
        yield Finding(check="clock", state=PROBLEM, message=f"{told} cannot be", hint="set the machine's clock")
        return
    newest = max((file.stat().st_mtime for file in home.glob("runs.db*")), default=0.0) if home.exists() else 0.0
    ahead = newest - time.time()
    wrong = ahead > SKEW
    message = f"{told}; the record was written {ahead:.0f} s in the future" if wrong else told
    yield Finding(
        check="clock",
        state=WARNING if wrong else OK,
        message=message,
        hint="let the machines that share it agree on the time (NTP)" if wrong else "",
    )


def executor() -> Iterator[Finding]:
    """Where flows run; a scheduler is asked whether it is there."""
    told = settings.get("executor")
    address = str(told or "")
    if "://" not in address:
        yield Finding(check="executor", message=f"{address or 'threads'}, {several(os.cpu_count() or 1, 'CPU')}")
        return
    parts = urlsplit(address)
    try:
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=REACH):
            yield Finding(check="executor", message=f"{hidden(address)} answers")
    except OSError as error:
        yield Finding(
            check="executor",
            state=PROBLEM,
            message=f"{hidden(address)} does not answer: {error.strerror or error}",
            hint="start the scheduler, or run with --executor threads",
        )


CHECKS = (versions, configuration, home, record, results, clock, executor)


def masked(name: str, value: object) -> object:
    """A setting without its secrets.

    >>> masked("results.storage_options", {"key": "AKIA", "endpoint_url": "http://me:pw@host"})
    {'key': '***', 'endpoint_url': 'http://me:***@host'}
    """
    if SECRET.search(name.rpartition(".")[2]) and value is not None:
        return "***"
    if isinstance(value, Mapping):
        return {key: masked(str(key), inner) for key, inner in value.items()}
    return hidden(value) if isinstance(value, str) else value


def hidden(url: str) -> str:
    """A text with URLs, without their passwords."""
    return re.sub(r"(://[^/@:\s]*):[^/@\s]*@", r"\1:***@", url)
