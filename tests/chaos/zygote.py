"""A warm process that forks others. Importing costs a second, and chaos needs hundreds of drivers.

`python -m tests.chaos.zygote` reads requests, a JSON object a line, and answers each with the id of the process that
it has forked: the leader of a session of its own, which calls a function of `tests.chaos.driving` and ends.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

ROOT = Path(__file__).resolve().parents[2]


class Proc:
    """A process that is not our child, told by a descriptor that no later process of its number can take."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self._fd: int | None = os.pidfd_open(pid)
        except ProcessLookupError:  # it has ended already
            self._fd = None

    def wait(self, seconds: float) -> bool:
        """Whether it has ended, after so many seconds at most."""
        if self._fd is not None and select.select([self._fd], [], [], max(0.0, seconds))[0]:
            os.close(self._fd)
            self._fd = None
        return self._fd is None

    def signal(self, number: int) -> None:
        """Send it a signal; nothing happens where it has ended."""
        if self._fd is not None:
            signal.pidfd_send_signal(self._fd, number)

    def kill_all(self) -> None:
        """Kill it and all of its session at once, as when the machine dies."""
        for pid in members(self.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.wait(10.0)


def members(session: int) -> list[int]:
    """The processes of a session, and those whose parent is one: a body in a child process has a session of its own."""
    found: dict[int, tuple[int, int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            if fields[0] not in b"ZX":
                found[int(name)] = int(fields[1]), int(fields[3])
    inside = {pid for pid, (_, of) in found.items() if of == session}
    return sorted(inside | {pid for pid, (parent, _) in found.items() if parent in inside})


class Zygote:
    """Forks processes on request."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=environment(),
            text=True,
        )

    def fork(self, call: str, *args: object, log: Path, env: Mapping[str, str]) -> Proc:
        """A process that calls `module:function` with these arguments, and has this added to its environment."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"call": call, "args": args, "log": str(log), "env": dict(env)}) + "\n")
        self._process.stdin.flush()
        return Proc(int(self._process.stdout.readline()))

    def close(self) -> None:
        """End it; what it forked goes on."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def environment() -> dict[str, str]:
    """This process's, with the checkout on Python's path."""
    path = os.pathsep.join(str(folder) for folder in (ROOT, ROOT / "executors", ROOT / "storage"))
    return {**os.environ, "PYTHONPATH": path}


def serve(requests: IO[str], answers: IO[str]) -> Mapping[str, object] | None:
    """Fork for each request; returns in the child with its request, and with None when there are no more."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody here waits for them
    while line := requests.readline():
        pid = os.fork()
        if pid == 0:
            return dict(json.loads(line))
        answers.write(f"{pid}\n")
        answers.flush()
    return None


def become(request: Mapping[str, object]) -> None:
    """Be the process that was asked for."""
    os.setsid()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    log = os.open(str(request["log"]), os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((null, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    environment = request["env"]
    assert isinstance(environment, dict)
    os.environ.update(environment)

    import dask

    from tests.chaos import faulting

    dask.config.refresh()
    faulting.install()
    if "CHAOS_HOST" in environment:  # it plays another machine
        socket.gethostname = lambda: environment["CHAOS_HOST"]
    arguments = request["args"]
    assert isinstance(arguments, list)
    module, _, function = str(request["call"]).partition(":")
    getattr(importlib.import_module(module), function)(*arguments)


def main() -> None:
    import distributed  # noqa: F401

    from tests.chaos import driving, faulting  # noqa: F401

    request = serve(sys.stdin, sys.stdout)
    if request is not None:
        become(request)


if __name__ == "__main__":
    main()
