"""A sink that keeps what arrives, and programs of their own for what pytest would hide."""

from __future__ import annotations

import logging
import subprocess
import sys
import textwrap
import time

Line = tuple[int, str, str]
log = logging.getLogger("tests.capture")


class Lines(list[Line]):
    """A sink."""

    def __call__(self, created: float, level: int, name: str, message: str) -> None:
        assert abs(created - time.time()) < 5
        self.append((level, name, message))

    @property
    def messages(self) -> list[str]:
        return [message for _, _, message in self]


def script(text: str) -> tuple[str, str]:
    """What a program writes to stdout and stderr: for what pytest's own handlers and streams would hide."""
    head = "import logging, sys\nfrom dataflow.capture import *\nfrom dataflow.capture import capturing, current_sink\n"
    head += "lines = []\ndef sink(*line): lines.append(line[1:])\n"
    done = subprocess.run([sys.executable, "-c", head + textwrap.dedent(text)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr
