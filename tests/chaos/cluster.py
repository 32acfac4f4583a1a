"""A scheduler and workers in processes of their own, as on a real cluster, of which any may be killed.

`python -m tests.chaos.cluster ADDRESS COUNT` is what watches the workers: each that dies is started again at once.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.chaos.zygote import ROOT, environment

PATIENCE = 60.0
PAUSE_SECONDS = 0.1  # before a worker that has ended is started again


class Cluster:
    """A scheduler on a port of its own, and nannies in one more process.

    Parameters
    ----------
    folder : Path
        For logs.
    workers : int
        Worker processes, of one thread each.
    """

    def __init__(self, folder: Path, workers: int = 2) -> None:
        self.folder, self.count = folder, workers
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._log = (folder / "cluster.log").open("ab")
        self.scheduler: subprocess.Popen[bytes] | None = None
        self.nannies: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Cluster:
        self.start_scheduler()
        self.start_workers()
        return self

    def __exit__(self, *error: object) -> None:
        self.stop_workers()
        self.kill_scheduler()
        self._log.close()

    def start_scheduler(self) -> None:
        """Start it, and wait until it listens."""
        where = ["--host", "127.0.0.1", "--port", str(self.port), "--dashboard-address", "127.0.0.1:0", "--no-show"]
        self.scheduler = self._popen("-m", "distributed.cli.dask_scheduler", *where)
        deadline = time.monotonic() + PATIENCE
        while not listens(self.port):
            assert time.monotonic() < deadline, "the scheduler does not listen"
            assert self.scheduler.poll() is None, "the scheduler has ended"
            time.sleep(0.02)

    def kill_scheduler(self) -> None:
        """As when its machine is switched off."""
        if self.scheduler is not None:
            self.scheduler.kill()
            self.scheduler.wait()

    def start_workers(self) -> None:
        """Start the nannies, and wait for their workers."""
        self.nannies = self._popen("-m", "tests.chaos.cluster", self.address, str(self.count))
        deadline = time.monotonic() + PATIENCE
        while len(self.workers()) < self.count:
            assert time.monotonic() < deadline, "the workers do not come"
            time.sleep(0.02)

    def stop_workers(self) -> None:
        """Kill the workers, and those who would start them again."""
        if self.nannies is not None:
            for pid in [*self.workers(), self.nannies.pid]:
                kill(pid)
            self.nannies.wait()

    def workers(self) -> list[int]:
        """Processes of workers now: what the fork server has forked."""
        assert self.nannies is not None
        found = []
        try:
            for child in psutil.Process(self.nannies.pid).children():
                if "forkserver" in " ".join(child.cmdline()):
                    found += [each.pid for each in child.children()]
        except psutil.NoSuchProcess:
            return []
        return sorted(found)

    def kill_worker(self, chance: random.Random) -> bool:
        """Kill one of them. Whether there was one."""
        alive = self.workers()
        return bool(alive) and kill(chance.choice(alive))

    def _popen(self, *arguments: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            stdout=self._log,
            stderr=self._log,
            cwd=ROOT,
            env=environment(),
            start_new_session=True,
        )


def kill(pid: int) -> bool:
    """Whether there was such a process to kill."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def free_port() -> int:
    """A port that nobody listens on, and that the system gives nobody."""
    while True:
        port = random.randrange(22_001, 32_000)
        if not listens(port):
            return port


def listens(port: int) -> bool:
    """Whether somebody answers there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def watch(address: str, count: int) -> None:
    """Keep so many workers alive, also when the scheduler goes and comes back: somebody always starts them again."""
    import asyncio

    from distributed import Nanny

    async def keep() -> None:
        while True:
            try:
                async with Nanny(address, nthreads=1) as nanny:
                    await nanny.finished()
            except (OSError, TimeoutError, RuntimeError) as error:  # "Nanny failed to start"
                print(f"no scheduler: {error}", file=sys.stderr, flush=True)
            await asyncio.sleep(PAUSE_SECONDS)

    await asyncio.gather(*(keep() for _ in range(count)))


def main() -> None:
    import asyncio
    import multiprocessing
    from multiprocessing import forkserver

    import dask

    # A worker comes back in a tenth of a second: it is forked from a process that has imported everything.
    dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"})
    multiprocessing.set_forkserver_preload(["distributed", "dataflow.runner", "tests.chaos.flow60"])
    forkserver.ensure_running()
    asyncio.run(watch(sys.argv[1], int(sys.argv[2])))


if __name__ == "__main__":
    main()
