"""Standard output for what a command itself prints: what the user's code prints meanwhile goes to standard error."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class _Kept:
    """`stdout`, where it leads elsewhere for now: the real one."""

    stdout: TextIO | None = None


@contextmanager
def alone() -> Iterator[None]:
    """Within it, only what is written to `stdout()` goes to standard output.

    The descriptor itself leads elsewhere, so that programs and worker processes that are started meanwhile are heeded,
    too. Nothing happens where Python's standard output is not the process's.
    """
    python = sys.__stdout__
    if python is None or sys.stdout is not python or _Kept.stdout is not None:
        yield
        return
    python.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    try:
        with open(real, "w", encoding=python.encoding, errors=python.errors, closefd=False) as _Kept.stdout:
            yield
    finally:
        _Kept.stdout = None
        python.flush()
        os.dup2(real, 1)
        os.close(real)


def stdout() -> TextIO:
    """Standard output, also within `alone`."""
    return _Kept.stdout or sys.stdout
