"""One child process: how it starts, whether it lives, and how it ends with everything that it started.

The pool over it is in `isolation`; what runs inside it is `isolated`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from dataflow import isolated
from dataflow.isolated import Channel

_BOOT = (
    "import sys, importlib.util as u; s = u.spec_from_file_location('dataflow_isolated', sys.argv[1]); "
    "m = sys.modules[s.name] = u.module_from_spec(s); s.loader.exec_module(m); m.serve(*map(int, sys.argv[2:]))"
)
_KILL_SECONDS = 5.0  # how long to wait for what got SIGKILL


class Kin(NamedTuple):
    """A row of /proc: who a process belongs to, and when it started (clock ticks), which with its id names it."""

    parent: int
    group: int
    session: int
    start: int
    alive: bool


def processes() -> dict[int, Kin] | None:
    """Every process of this machine that we can see, by its id; None where there is no /proc (proc_pid_stat(5))."""
    if not os.path.exists("/proc/self/stat"):
        return None
    rows = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):  # it ended meanwhile
                fields = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()
                parent, group, session = map(int, fields[1:4])
                rows[int(name)] = Kin(parent, group, session, int(fields[19]), fields[0] not in b"ZX")
    return rows


class Child:
    """One child process, its end of the channel, and the pipe that says that we are alive."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        watched, lifeline = os.pipe()
        self.lifeline: int | None = lifeline
        flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]  # multiprocessing uses it too
        descriptors = (theirs.fileno(), watched)
        command = [sys.executable, *flags, "-P", "-c", _BOOT, str(isolated.__file__), *map(str, descriptors)]
        try:
            # A session of its own: Ctrl-C in the terminal does not reach it, and one signal reaches all that it starts.
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, pass_fds=descriptors, start_new_session=True
            )
        except OSError:
            ours.close()
            os.close(lifeline)
            raise
        finally:
            theirs.close()
            os.close(watched)
        self.channel = Channel(ours)
        self.fresh = True  # it has run no body yet
        self.started = False  # the body runs
        self.stopped = False  # by stop_all
        self.told = False  # to end
        self.seen: dict[int, Kin] = {}  # its family when we last looked, which is when it is to end

    def exited(self) -> bool:
        """Whether it has ended; it is left unreaped, so that its id still names its group and no other."""
        if self.process.returncode is not None or not hasattr(os, "waitid"):
            return self.process.poll() is not None
        try:
            return os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
        except ChildProcessError:  # somebody in this process waits for every child
            return True

    def family(self) -> dict[int, Kin]:
        """What is alive of it and of what it started, also in other groups and sessions if it was seen before."""
        if self.process.returncode is not None:
            return {}  # reaped: its id may be another's by now
        known, rows = self.seen, processes()
        if rows is None:
            return {} if self.exited() else {self.process.pid: Kin(0, self.process.pid, self.process.pid, 0, True)}
        members = {pid for pid, kin in rows.items() if self.process.pid in (pid, kin.group, kin.session)}
        members |= {pid for pid, kin in known.items() if pid in rows and rows[pid].start == kin.start}
        while more := {pid for pid, kin in rows.items() if kin.parent in members} - members:
            members |= more
        self.seen = {pid: rows[pid] for pid in members if rows[pid].alive}
        return self.seen

    def signal(self, number: int) -> None:
        """Send a signal to the whole family."""
        if self.process.returncode is not None:
            return  # reaped, or the parent's before a fork: the id may be another's
        strays = [pid for pid, kin in self.family().items() if kin.group != self.process.pid]
        # They may be gone, or run as another user.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, number)
        for pid in strays:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, number)

    def forget(self) -> None:
        """Drop it in a forked process: it is the parent's."""
        self.channel.forget()
        if self.lifeline is not None:
            os.close(self.lifeline)
        self.process.returncode = 0  # so that nobody here signals it or waits for it

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, after so many seconds at most."""
        until = time.monotonic() + seconds
        while not (ended := self.exited()) and time.monotonic() < until:
            time.sleep(0.002)
        return ended

    def kill(self) -> None:
        """Kill the whole family and see it gone; again and again, because one may fork while it is being killed."""
        until = time.monotonic() + _KILL_SECONDS
        while self.family() and time.monotonic() < until:
            self.signal(signal.SIGKILL)
            time.sleep(0.002)

    def reap(self) -> None:
        """Close what belongs to it and collect its exit code. May be called again."""
        self.channel.close()
        if self.lifeline is not None:
            os.close(self.lifeline)
            self.lifeline = None
        with contextlib.suppress(subprocess.TimeoutExpired):  # it hangs in the kernel; `subprocess` reaps it some day
            self.process.wait(_KILL_SECONDS)
