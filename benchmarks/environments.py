"""Environments of the peers: one for each set of packages, under `.venv/bench`; what does not install is reported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from benchmarks.catalogue import QUIET, System

TOP = Path(__file__).resolve().parents[1]
BENCH = TOP / ".venv" / "bench"
LONGEST_INSTALL = 900.0  # seconds


def python(system: System) -> str:
    """The interpreter that runs a system."""
    if not system.packages:
        return sys.executable
    return str(_folder(system) / "bin" / "python")


def variables(system: System) -> dict[str, str]:
    """The environment that its process gets: no telemetry, and nothing that the shell says of other Pythons."""
    left_out = ("PYTHONHOME", "VIRTUAL_ENV", "CONDA_PREFIX", *(() if not system.packages else ("PYTHONPATH",)))
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return kept | QUIET | dict(system.environment)


def install(system: System) -> str:
    """Make sure that a system is installed.

    Returns
    -------
    str
        Empty, or why it is not.
    """
    if not system.packages:
        return ""
    folder, wanted = _folder(system), " ".join(system.packages)
    stamp = folder / "installed.txt"
    if stamp.exists() and stamp.read_text() == wanted:
        return ""
    uv = [sys.executable, "-m", "uv"]
    folder.parent.mkdir(parents=True, exist_ok=True)
    for command in (
        [*uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)],
        [*uv, "pip", "install", "--quiet", "--python", python(system), *system.packages],
    ):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LONGEST_INSTALL)
        except subprocess.TimeoutExpired:
            return f"the installation took longer than {LONGEST_INSTALL:.0f} s"
        if done.returncode:
            return reason(done.stderr)
    stamp.write_text(wanted)
    return ""


def reason(text: str) -> str:
    """The gist of an installer's complaint, without addresses and paths.

    >>> reason("warning: slow\\nerror: nothing at https://example.org/simple for\\n  peer in /tmp/x/y")
    'error: nothing at … for peer in …'
    """
    lines = " ".join(text[max(text.rfind("error:"), 0) :].split())
    return re.sub(r"https?://\S+|(?<!\S)/\S+", "…", lines)[:200]


def _folder(system: System) -> Path:
    return BENCH / re.split(r"[<>=!~\[]", system.packages[0])[0]
