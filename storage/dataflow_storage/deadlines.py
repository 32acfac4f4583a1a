"""Calls to a storage with an end of our own: several attempts with random pauses between them, within a deadline.

`Attempts` decides and does no I/O; `call` and `call_async` do what it says. A client library may retry within an
attempt as it likes: an attempt that takes too long is given up.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future
from typing import TypeVar

from dataflow_storage.errors import StoreUnavailable
from dataflow_storage.verdicts import Verdict, judge, say

__all__ = ["Attempts", "call", "call_async", "on_loop"]

T = TypeVar("T")

_SLOWEST = 1_000_000  # bytes per second; a link that is slower than this counts as stalled
_ATTEMPTS = 3  # there is time for so many attempts that stall; more, when they fail sooner


class Attempts:
    """The attempts at one call.

    Parameters
    ----------
    url : str
        What is called, for the message.
    what : str
        What the call does, as a verb: "read", "write".
    timeout : float
        Seconds for a small call with all its attempts.
    size : int
        Bytes it moves; each megabyte gets a second more.
    secrets : frozenset of str
        What must not be shown.

    Examples
    --------
    >>> attempts = Attempts("s3://b/x", "read", 30.0)
    >>> 9.9 < attempts.seconds() <= 10.0
    True
    >>> 0 <= attempts.failed(ConnectionResetError("gone")) <= 0.1
    True
    """

    def __init__(
        self, url: str, what: str, timeout: float, size: int = 0, secrets: frozenset[str] = frozenset()
    ) -> None:
        self._url, self._what, self._timeout, self._secrets = url, what, timeout, secrets
        self._each = timeout / _ATTEMPTS + size / _SLOWEST
        self.total = self._each * _ATTEMPTS
        self._pause = timeout / 300
        self._longest_pause = timeout / 10
        self._started = time.monotonic()
        self._tries = 0

    def seconds(self) -> float:
        """How long the next attempt may take."""
        return max(0.001, min(self._each, self._started + self.total - time.monotonic()))

    def part(self, size: int) -> Attempts:
        """The attempts at a part of this call."""
        return Attempts(self._url, self._what, self._timeout, size, self._secrets)

    def failed(self, error: BaseException) -> float:
        """Say how many seconds to wait before the next attempt.

        Raises
        ------
        BaseException
            The error itself, where it tells something about the object: it exists, it is not there.
        StoreUnavailable
            There is no use in another attempt, or no time.
        """
        self._tries += 1
        verdict = judge(error)
        if verdict not in (Verdict.FINAL, Verdict.AGAIN):
            raise error
        said = say(error, self._secrets)
        if verdict is Verdict.FINAL:
            denied = "permission denied: " if isinstance(error, PermissionError) else ""
            raise self._end(f"cannot {self._what} it: {denied}{said}", error, transient=False)
        pause = random.uniform(0, min(self._longest_pause, self._pause * 2 ** min(self._tries - 1, 20)))
        passed = time.monotonic() - self._started
        if passed + pause >= self.total:
            said = "no answer" if isinstance(error, TimeoutError) and not str(error) else said
            tries = "once" if self._tries == 1 else f"{self._tries} times"
            raise self._end(f"cannot {self._what} it, tried {tries} in {passed:.1f} s: {said}", error, transient=True)
        return pause

    def _end(self, reason: str, error: BaseException, *, transient: bool) -> StoreUnavailable:
        unavailable = StoreUnavailable(self._url, reason, transient=transient)
        shown = "".join(map(str, error.args))
        # A cause is shown in a traceback as it is.
        unavailable.__cause__ = None if any(secret in shown for secret in self._secrets) else error
        unavailable.__suppress_context__ = True
        return unavailable


async def call_async(attempts: Attempts, make: Callable[[], Awaitable[T]]) -> T:
    """Await what `make` makes, again and again, until it succeeds or the attempts end."""
    while True:
        try:
            return await asyncio.wait_for(make(), attempts.seconds())
        except Exception as error:
            pause = attempts.failed(error)
        await asyncio.sleep(pause)


def call(attempts: Attempts, make: Callable[[], T]) -> T:
    """Call `make` in a thread, again and again, until it succeeds or the attempts end; what stalls is left behind."""
    while True:
        try:
            return _in_thread(make).result(attempts.seconds())
        except Exception as error:
            pause = attempts.failed(error)
        time.sleep(pause)


def _in_thread(make: Callable[[], T]) -> Future[T]:
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(make())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="dataflow storage call", daemon=True).start()
    return future


_BLOCKED = 10.0  # seconds; a loop that is so late does not run any more


def on_loop(loop: asyncio.AbstractEventLoop, make: Callable[[], Awaitable[T]], seconds: float) -> T:
    """Run a coroutine on a loop of another thread and wait; an interrupt here ends it there.

    Parameters
    ----------
    loop : asyncio.AbstractEventLoop
        It runs already.
    make : callable
        Makes what is awaited.
    seconds : float
        When `make` has ended by itself.
    """

    async def run() -> T:
        return await make()

    future = asyncio.run_coroutine_threadsafe(run(), loop)
    try:
        return future.result(seconds + _BLOCKED)
    except CancelledError:
        raise ConnectionError("the client was closed meanwhile") from None
    finally:
        future.cancel()
