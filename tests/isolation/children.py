"""Calls in a child process, what such a call runs, and whether a process lives."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable

import cloudpickle
import psutil
import pytest

from dataflow import isolation
from dataflow.isolated import Send
from dataflow.isolation import ChildTimeout

# The child cannot import this file by its name: its functions travel by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

Body = Callable[[Send], bytes]


def call(body: Body, timeout: float | None = 30, grace: float = 3.0) -> bytes:
    return isolation.call(cloudpickle.dumps(body), timeout=timeout, grace=grace, on_message=no_message)


def no_message(message: bytes) -> None:
    raise AssertionError(f"unexpected message {message!r}")


def alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def gone(*pids: int, within: float = 5.0) -> bool:
    until = time.monotonic() + within
    while any(map(alive, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    return not any(map(alive, pids))


def sent_pids(body: Body, *, timeout: float, grace: float = 3.0) -> list[int]:
    """The process ids that a body sends before it runs out of time."""
    messages: list[bytes] = []
    with pytest.raises(ChildTimeout):
        isolation.call(cloudpickle.dumps(body), timeout=timeout, grace=grace, on_message=messages.append)
    return [int(word) for message in messages for word in message.split()]


def script(text: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(text)], stdout=subprocess.PIPE, text=True)


# Bodies. What they use they import themselves or find in this module by value.


def own_pid(send: Send) -> bytes:
    return str(os.getpid()).encode()


def hold_the_lock(send: Send) -> bytes:
    send(str(os.getpid()).encode())
    return bytes(sum(range(10**13)))  # C code that never gives the interpreter lock back
