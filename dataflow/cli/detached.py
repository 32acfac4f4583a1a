"""`dataflow run --detach`: the run goes on in a process of its own, and only its id is printed.

The other process writes the id into a pipe as soon as there is one. What it prints until then is kept, for a mistake
that it finds is told here.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from dataflow.cli import data
from dataflow.cli.problems import EXIT_FAILED, Refused

TELLS = "DATAFLOW_TELLS_ID"  # in the other process's environment: the pipe


def check_executor(executor: object) -> None:
    """Refuse an executor that runs bodies in the thread that begins the run: nobody could say that it began."""
    from dataflow.places import choose_executor

    if choose_executor(executor).inline:
        raise Refused(
            "--detach needs an executor that works beside its driver, and this one is sync", "--executor threads"
        )


def detach(
    flow: str,
    params: Sequence[str],
    executor: str | None,
    results: str | None,
    fresh: Sequence[str],
    *,
    everything: bool,
    timeout: float | None,
) -> int:
    """Start `dataflow run` with these options in the background, print the id of its run, and give the exit code."""
    words = ["run", flow, "--quiet", *(word for one in params for word in ("-p", one))]
    words += [word for one in fresh for word in ("--refresh", one)] + ["--refresh-all"] * everything
    for option, value in (("--executor", executor), ("--results", results), ("--timeout", timeout)):
        words += [] if value is None else [option, str(value)]
    reading, writing = os.pipe()
    with open(reading, encoding="ascii") as told, tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "dataflow", *words],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,  # Ctrl-C and a closed terminal are not meant for it
            pass_fds=[writing],
            env={**os.environ, TELLS: str(writing)},
        )
        os.close(writing)
        run = told.read()
        if run:
            process.returncode = 0  # nobody here waits for it
            data.emit_names([run])
            return 0
        code = process.wait()
        said.seek(0)
        sys.stderr.write(said.read().decode("utf-8", "replace"))
        return code or EXIT_FAILED


def tell_id(run_id: str) -> None:
    """Tell the process that detached this one, if one did, which run it is."""
    pipe = os.environ.pop(TELLS, None)
    if pipe is not None:
        with open(int(pipe), "w", encoding="ascii") as told:
            told.write(run_id)
