"""A real terminal for the command line: what stands on it in the end, and keys pressed meanwhile."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import struct
import termios
import time
from collections.abc import Sequence
from pathlib import Path

import pyte

from tests.cli.conftest import environment

PATIENCE = 90.0


class Terminal:
    """A program on a terminal of its own.

    Attributes
    ----------
    raw : bytes
        All that it wrote.
    code : int or None
        Its exit code, once it has ended.
    """

    def __init__(self, words: Sequence[str], folder: Path, *, columns: int = 100, lines: int = 40, **more: str) -> None:
        self.raw = b""
        self.code: int | None = None
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            os.execvpe(words[0], list(words), environment(**{"TERM": "xterm-256color", **more}))
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.code is None:
            os.kill(self._pid, 9)
            os.waitpid(self._pid, 0)
        os.close(self._terminal)

    @property
    def shown(self) -> list[str]:
        """The lines on the screen that are not empty."""
        return [line.rstrip() for line in self._screen.display if line.strip()]

    def until(self, text: str, *, there: bool = True) -> None:
        """Wait until this stands on the screen, or does no more."""
        deadline = time.monotonic() + PATIENCE
        while any(text in line for line in self.shown) != there:
            assert time.monotonic() < deadline, self.shown
            assert self._read(), self.shown

    def wait(self) -> None:
        """Wait for more, a second at most."""
        assert self._read(), self.shown

    def press(self, keys: bytes) -> None:
        """Type something."""
        os.write(self._terminal, keys)

    def ended(self) -> list[str]:
        """Wait for its end, and give the last lines of the screen."""
        deadline = time.monotonic() + PATIENCE
        while self._read():
            assert time.monotonic() < deadline, self.shown
        if self.code is None:
            self.code = os.waitstatus_to_exitcode(os.waitpid(self._pid, 0)[1])
        return self.shown

    def _read(self) -> bool:
        if select.select([self._terminal], [], [], 1.0)[0]:
            try:
                data = os.read(self._terminal, 65536)
            except OSError:  # the other side is closed
                return False
            self.raw += data
            self._stream.feed(data)
            return bool(data)
        return True
