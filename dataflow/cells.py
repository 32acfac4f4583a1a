"""Tracebacks in a notebook: they name the cell, not the kernel's own file for it, and have no frames of ours."""

from __future__ import annotations

import linecache
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from dataflow.failure import framework_folders, has_users_frames

_FRAME = re.compile(
    r'^(?P<margin>[ |]*)File "(?P<file>[^"\n]+)", line (?P<line>\d+)(?P<rest>.*)\n(?P<code>(?P=margin)  )?', re.M
)


def in_cells(details: Mapping[str, object]) -> Mapping[str, object]:
    """What an exception said, with the names of cells, and the lines of code that another process could not know.

    Only the process of the notebook knows its cells: elsewhere this changes nothing.

    Parameters
    ----------
    details : mapping
        As `failure.describe` makes them.
    """
    module = sys.modules.get("IPython")
    shell = module.get_ipython() if module is not None else None
    if not hasattr(getattr(shell, "compile", None), "format_code_name"):
        return details
    frames = details.get("frames")
    named: dict[str, object] = {
        name: _named(str(text), shell) for name, text in details.items() if name in ("text", "full")
    }
    if isinstance(frames, list):
        named["frames"] = [{**frame, "file": _cell(frame["file"], shell) or frame["file"]} for frame in frames]
    return {**details, **named}


def told(error: BaseException) -> list[str]:
    """The traceback of an error of ours as IPython shows it, without frames of ours, nor causes that have no others."""
    import IPython

    hidden = (*framework_folders(), f"{Path(IPython.__file__).parent}{os.sep}")
    frames: list[TracebackType] = []
    at = error.__traceback__
    while at is not None:
        if not at.tb_frame.f_code.co_filename.startswith(hidden):
            frames.append(at)
        at = at.tb_next
    chain: TracebackType | None = None
    for one in reversed(frames):
        chain = TracebackType(chain, one.tb_frame, one.tb_lasti, one.tb_lineno)
    cause, context, suppressed = error.__cause__, error.__context__, error.__suppress_context__
    above = cause or (None if suppressed else context)
    if above is not None and not has_users_frames(above):
        error.__cause__ = None  # which also hides the context
    try:
        shell = IPython.get_ipython()
        shown: list[str] = shell.InteractiveTB.structured_traceback(type(error), error, chain, tb_offset=0)
    finally:
        error.__cause__, error.__context__, error.__suppress_context__ = cause, context, suppressed
    return shown


def _named(text: str, shell: Any) -> str:
    def name(found: re.Match[str]) -> str:
        cell = _cell(found["file"], shell)
        if cell is None:
            return found[0]
        code = linecache.getline(found["file"], int(found["line"])).strip()
        below = found["code"] or (f"{found['margin']}  {code}\n" if code else "")
        return f"{found['margin']}Cell {cell}, line {found['line']}{found['rest']}\n{below}"

    return _FRAME.sub(name, text)


def _cell(file: str, shell: Any) -> str | None:
    """A cell's name, such as `In[3]`; None for what is a file."""
    known = shell.compile.format_code_name(file)
    return None if known is None else str(known[1])
