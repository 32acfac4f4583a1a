"""While a live view stands at the bottom of the terminal, all that is printed goes above it, whoever prints it.

Task bodies print in this process and in workers, from Python and from C, and some keep the stream that they found. So
the two descriptors themselves lead to a terminal of our own meanwhile; a thread takes what comes there and hands it on.
That terminal is one to whoever asks: colours stay, and prints of workers come line by line.
"""

from __future__ import annotations

import codecs
import os
import sys
import termios
import threading
import tty
from collections.abc import Callable
from contextlib import suppress

END = b"\x00"  # terminals show nothing for it, and one byte cannot come in two parts
PATIENCE = 2.0


class Above:
    """Standard error, and standard output where it is a terminal too, lead elsewhere between `__init__` and `close`.

    Parameters
    ----------
    print_above : callable
        Takes whole lines, in a thread, between `hold` and `release`. Outside of that, what comes is written to the
        terminal as it is, at once.

    State: `terminal`, a descriptor of the real terminal; `unfinished`, what was printed since the last newline.
    """

    def __init__(self, print_above: Callable[[str], None]) -> None:
        self._print, self._held = print_above, False
        self.unfinished = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._flush()
        self._saved = {fd: os.dup(fd) for fd in (1, 2) if os.isatty(fd)}
        self.terminal = self._saved[2]
        self._ours, inner = os.openpty()
        tty.setraw(inner)
        termios.tcsetwinsize(inner, termios.tcgetwinsize(self.terminal))
        for fd in self._saved:
            os.dup2(inner, fd)
        os.close(inner)
        threading.Thread(target=self._hand_on, name="dataflow-above", daemon=True).start()

    def hold(self) -> None:
        """There is something to print above from now on."""
        self._held = True

    def settle(self) -> None:
        """Wait until what this process has printed so far was handed on."""
        self._flush()
        self._ended.clear()
        os.write(2, END)
        self._ended.wait(PATIENCE)

    def release(self, end: str = "\n") -> None:
        """Nothing stands at the bottom any more; what is unfinished there ends like this."""
        with self._lock:
            self._held = False
            if self.unfinished:
                os.write(self.terminal, f"{self.unfinished}{end}".encode())
                self.unfinished = ""

    def close(self) -> None:
        """The descriptors are again what they were. What workers still print is written as it comes."""
        self._flush()
        for fd, saved in self._saved.items():
            os.dup2(saved, fd)

    @staticmethod
    def _flush() -> None:
        sys.stdout.flush()
        sys.stderr.flush()

    def _hand_on(self) -> None:
        while True:
            try:
                data = os.read(self._ours, 65536)
            except OSError:  # everybody has closed the other side
                return
            if not data:
                return
            ended = END in data
            # A terminal that is gone takes nothing, and those who print must not wait for it.
            with self._lock, suppress(OSError):
                self._take(data.replace(END, b""))
            if ended:
                self._ended.set()

    def _take(self, data: bytes) -> None:
        if not self._held:
            os.write(self.terminal, data)
            return
        lines, newline, self.unfinished = (self.unfinished + self._decoder.decode(data)).rpartition("\n")
        if newline:
            self._print("\n".join(line.rstrip("\r").rpartition("\r")[2] for line in lines.split("\n")))
