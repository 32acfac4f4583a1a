"""Dask's schedulers and workers as programs of their own, to be killed; and a network between them, to be cut."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

from tests.executors.bodies import ENVIRONMENT


class Programs:
    """Starts them, and kills at the end what is left.

    State: `port`, where the scheduler listens, also one that is started anew.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def scheduler(self) -> subprocess.Popen[bytes]:
        """Returns when it listens."""
        options = f"--host 127.0.0.1 --port {self.port} --no-dashboard --dashboard-address 127.0.0.1:0"
        scheduler = self.dask("scheduler", *options.split())
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                break
            time.sleep(0.05)
        return scheduler

    def worker(self, threads: int = 1) -> subprocess.Popen[bytes]:
        """One process under a nanny; on its way."""
        return self.dask("worker", self.address, "--nthreads", str(threads), "--no-dashboard")

    def dask(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self.start("-m", "dask", *arguments)

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A Python program, in a process group of its own."""
        program = subprocess.Popen(
            [sys.executable, *arguments],
            env=ENVIRONMENT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._started.append(program)
        return program

    def kill(self, program: subprocess.Popen[bytes], number: int = signal.SIGKILL) -> None:
        """The program and all that it has started; returns when it is dead."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(program.pid, number)
        program.wait(timeout=20)

    def end(self) -> None:
        for program in self._started:
            self.kill(program)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def programs() -> Iterator[Programs]:
    made = Programs()
    try:
        yield made
    finally:
        made.end()


class Network:
    """A port that stands for another one, until it is cut; mended, it is the same port.

    State: `_listener`, None while it is cut; `_ends`, both ends of each connection that passes; `_threads`, one that
    listens, and two for each connection.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self.port = free_port()
        self._ends: list[socket.socket] = []
        self._listener: socket.socket | None = None
        self._threads: list[threading.Thread] = []
        self.mend()

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def mend(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._run(self._accept, self._listener)

    def cut(self) -> None:
        """End what passes, and let nothing pass; returns when that is so."""
        listener, self._listener = self._listener, None
        assert listener is not None
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()  # nothing new comes
        for end in self._ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (listener, *self._ends):
            end.close()
        self._ends, self._threads = [], []

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
                self._ends += (near, far)
                self._run(self._pump, near, far)
                self._run(self._pump, far, near)

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(1 << 16):
                other.sendall(data)
        with contextlib.suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)

    def _run(self, call: Callable[..., None], *arguments: socket.socket) -> None:
        thread = threading.Thread(target=call, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()


@contextlib.contextmanager
def network(port: int) -> Iterator[Network]:
    made = Network(port)
    try:
        yield made
    finally:
        made.cut()
