"""`%dataflow ls` in IPython: any verb of the command line, in this process, with what it prints in the cell."""

from __future__ import annotations

import shlex
from typing import Any, cast


def verb(line: str) -> None:
    """Do what `dataflow LINE` does; `%dataflow --help` lists the verbs.

    Raises
    ------
    UsageError
        It did not succeed, which it has said itself; so the cells below do not run.
    """
    from dataflow.cli import main

    try:
        main(shlex.split(line))
    except SystemExit as exit:
        if exit.code:
            from IPython.core.error import UsageError

            raise cast(Any, UsageError)(f"%dataflow {line}: exit status {exit.code}") from None


def register(shell: Any) -> None:
    """Make `%dataflow` known to a shell of IPython."""
    shell.register_magic_function(verb, magic_name="dataflow")
