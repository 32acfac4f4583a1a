"""Runs a call in a warm child process that can be killed, with everything that it started.

It works in any thread of any process, also in daemonic ones (Dask's workers), which may not use `multiprocessing`.
State, one per process: the idle children, the ones that run a call, and the lock over both. A fork starts with none.
The child's side is `isolated`, which says what the two tell each other.
"""

from __future__ import annotations

import atexit
import math
import os
import pickle
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable

from dataflow import isolated
from dataflow.children import Child

_START_SECONDS = 60.0  # how long a child may take to start and to load the payload, where the call has a timeout
_CLOSE_SECONDS = 2.0  # how long an idle child may take to end by itself
_LOOK_SECONDS = 0.5  # how often to look whether a silent child still lives

Deliver = Callable[[bytes], None]
Frame = tuple[bytes, bytes]


class ChildTimeout(TimeoutError):
    """The body ran longer than its timeout and was killed, with the processes that it had started."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds

    def __str__(self) -> str:
        return f"the body ran longer than its timeout of {self.seconds:g} s and was killed"


class ChildDied(RuntimeError):
    """The child process ended by itself before the body returned.

    Parameters
    ----------
    how : int or str
        Its exit code, or the name of the signal that ended it.

    Examples
    --------
    >>> print(ChildDied(3))
    the body's process ended with exit code 3 before the body returned
    >>> print(ChildDied("SIGKILL"))
    the body's process was ended by SIGKILL before the body returned; if nobody killed it, the machine ran out of memory
    """

    def __init__(self, how: int | str) -> None:
        super().__init__(how)
        self.exit_code = how if isinstance(how, int) else None
        self.signal = how if isinstance(how, str) else None

    def __str__(self) -> str:
        if self.signal is None:
            return f"the body's process ended with exit code {self.exit_code} before the body returned"
        hint = "; if nobody killed it, the machine ran out of memory" if self.signal == "SIGKILL" else ""
        return f"the body's process was ended by {self.signal} before the body returned{hint}"


class ChildStopped(ChildDied):
    """`stop_all` killed the child process."""

    def __init__(self) -> None:
        super().__init__("SIGKILL")
        self.args = ()  # so that it can be pickled

    def __str__(self) -> str:
        return "the body's process was killed because everything was stopped"


class ChildError(RuntimeError):
    """The body could not be started in a child process, or let an exception out.

    Parameters
    ----------
    reason : str
        What is wrong, in one line.
    traceback : str
        The child's traceback, if it got so far.
    """

    def __init__(self, reason: str, traceback: str = "") -> None:
        super().__init__(reason, traceback)
        self.reason, self.traceback = reason, traceback

    def __str__(self) -> str:
        return self.reason


# The idle children (the last one used is the warmest, and taken first), those that run a call, and the lock over both.
# Reentrant: Ctrl-C may call `stop_all` in a thread that holds it.
_idle: list[Child] = []
_running: set[Child] = set()
_lock = threading.RLock()


def call(
    payload: bytes,
    *,
    timeout: float | None,
    grace: float = 3.0,
    on_message: Deliver,
    is_wanted: Callable[[], bool] = lambda: True,
) -> bytes:
    """Run a body in a child process and return what it returns.

    Parameters
    ----------
    payload : bytes
        The body, pickled with cloudpickle: a callable that takes `send` (it takes bytes, from any thread of the body)
        and returns bytes. It runs in the caller's working directory, environment and `sys.path`, with the caller's
        stdout and stderr and an empty stdin.
    timeout : float or None
        Seconds that the body may run. Starting a child and loading the payload do not count; they have 60 s.
    grace : float
        Seconds from SIGTERM, which raises SystemExit in the body, to SIGKILL.
    on_message : callable
        Takes each message of the body, in order, at once, in the caller's thread. While it works, the timeout is not
        looked at; what it raises ends the body.
    is_wanted : callable
        Asked a few times a second; when it says no, the body is killed as `stop_all` does it.

    Returns
    -------
    bytes
        What the body returned.

    Raises
    ------
    ChildTimeout
        The body ran too long. It is gone, with all the processes that it had started.
    ChildDied
        Its process ended first: `os._exit`, a segfault, no memory. `ChildStopped`: by `stop_all`.
    ChildError
        The payload cannot be loaded there, or the body let an exception out.

    Examples
    --------
    >>> import cloudpickle
    >>> def body(send):
    ...     send(b"half way")
    ...     return b"done"
    >>> call(cloudpickle.dumps(body), timeout=10, on_message=print)
    b'half way'
    b'done'
    """
    while True:
        child = _take()
        fit = False  # for another body
        try:
            frame = _converse(child, payload, timeout, on_message, is_wanted)
            if frame is None:
                assert timeout is not None
                return _overdue(child, timeout, grace, on_message)
            kind, content = frame
            fit = kind in (isolated.RESULT, isolated.ERROR)
            if kind == isolated.RESULT:
                return content[isolated.SECONDS.size :]
            raise ChildError(*pickle.loads(content)) if kind == isolated.ERROR else ChildDied("SIGTERM")
        except EOFError:
            if child.fresh or child.started or child.stopped:
                raise _death(child) from None
            # A warm child that ended while it was idle, or as it took the payload up. No body has run: take another.
        except (ChildDied, ChildError, ChildTimeout):
            raise
        except BaseException:  # Ctrl-C, or what on_message raised
            _terminate(child, grace, lambda frame: False)
            raise
        finally:
            if fit:
                _give_back(child)
            else:
                _end(child)


def stop_all() -> None:
    """Kill every child of this process at once; the calls that wait for them raise ChildStopped.

    >>> stop_all()
    """
    with _lock:
        idle = _idle.copy()
        _idle.clear()
        for child in _running:
            child.stopped = True
            child.signal(signal.SIGKILL)
    for child in idle:
        _end(child)


def _take() -> Child:
    """An idle child that lives, or a new one."""
    dead = []
    with _lock:
        while _idle and _idle[-1].exited():
            dead.append(_idle.pop())
        child = _idle.pop() if _idle else _start()
        _running.add(child)
    for other in dead:
        _end(other)
    return child


def _start() -> Child:
    try:
        return Child()
    except OSError as error:
        raise ChildError(f"cannot start a child process with {sys.executable!r}: {error}") from error


def _give_back(child: Child) -> None:
    child.fresh = child.started = False
    with _lock:
        _running.discard(child)
        keep = not child.stopped and len(_idle) < _processors()
        if keep:
            _idle.append(child)
    if not keep:
        _close([child])


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _converse(
    child: Child, payload: bytes, timeout: float | None, on_message: Deliver, is_wanted: Callable[[], bool]
) -> Frame | None:
    """Hand a body over and pass its messages on; the frame that ends it, or None when the time is over."""
    try:
        cwd = os.getcwd()
    except FileNotFoundError:  # somebody removed it: the child stays where it is
        cwd = None
    header = pickle.dumps((cwd, dict(os.environ), list(sys.path), list(sys.argv)))
    until = math.inf if timeout is None else time.monotonic() + _START_SECONDS
    try:
        child.channel.send(isolated.HEADER, header)
        child.channel.send(isolated.PAYLOAD, payload, wait=None if timeout is None else _START_SECONDS)
    except TimeoutError:
        return None
    except (BrokenPipeError, ConnectionResetError):
        raise EOFError from None
    gone = False
    while (left := until - time.monotonic()) > 0:
        frame = child.channel.receive(0 if gone else min(left, _LOOK_SECONDS))
        if frame is None:
            # The channel alone does not tell: what the body forked may hold a copy of the dead child's end.
            if gone:
                raise EOFError
            if not is_wanted():
                child.stopped = True
                raise EOFError
            gone = child.exited()
        elif frame[0] == isolated.STARTED:
            child.started = True
            until = math.inf if timeout is None else time.monotonic() + timeout
        elif frame[0] == isolated.MESSAGE:
            on_message(frame[1])
        else:
            return frame
    return None


def _overdue(child: Child, timeout: float, grace: float, on_message: Deliver) -> bytes:
    """End a child whose time is over. The result counts if the body had finished in time: only we were late."""
    results = []

    def take(frame: Frame) -> bool:
        kind, content = frame
        if kind == isolated.MESSAGE:  # of the body's `finally` blocks
            on_message(content)
        elif kind == isolated.RESULT:
            if isolated.SECONDS.unpack_from(content)[0] <= timeout:
                results.append(content[isolated.SECONDS.size :])
            return True
        return False

    _terminate(child, grace if child.started else 0.0, take)
    if results:
        return results[0]
    if child.stopped:
        raise ChildStopped
    if not child.started:
        raise ChildError(f"the child process did not load the payload within {_START_SECONDS:g} s")
    raise ChildTimeout(timeout)


def _terminate(child: Child, grace: float, take: Callable[[Frame], bool]) -> None:
    """Send SIGTERM and listen until the whole family is gone, the grace is over, or `take` has what it wants."""
    if child.told:  # what interrupts a grace period does not open another
        return
    child.told = True
    child.signal(signal.SIGTERM)
    until, listening = time.monotonic() + grace, True
    while (left := until - time.monotonic()) > 0:
        if listening:
            try:
                frame = child.channel.receive(min(left, 0.05))
            except EOFError:
                listening = False
                continue
            if frame is not None:
                if take(frame):
                    return
                continue
        else:
            time.sleep(min(left, 0.01))
        if not child.family():
            return


def _death(child: Child) -> Exception:
    """Why a child closed the channel before the body returned."""
    ended = child.wait(_CLOSE_SECONDS)
    _end(child)
    if child.stopped:
        return ChildStopped()
    if not ended:
        return ChildError("the body closed its process's channel to us: it may close only what it opened")
    code = child.process.returncode
    if code >= 0:
        return ChildDied(code)
    known = {number.value: number.name for number in signal.Signals}
    return ChildDied(known.get(-code, f"signal {-code}"))


def _end(child: Child) -> None:
    """Kill what is left of a child and its family, and be done with it. May be called again."""
    child.kill()
    with _lock:
        _running.discard(child)  # before its id is free for others
    child.reap()


def _close(children: Iterable[Child]) -> None:
    """Let idle children end by themselves, so that their exit handlers run, then end them."""
    for child in children:
        child.channel.close()
    for child in children:
        child.wait(_CLOSE_SECONDS)
        _end(child)


def _at_exit() -> None:
    with _lock:
        idle = _idle.copy()
        _idle.clear()
    _close(idle)
    stop_all()


def _after_fork() -> None:
    """The children are the parent's; the lock may have been held by a thread that is not here."""
    global _lock
    _lock = threading.RLock()
    for child in (*_idle, *_running):
        child.forget()
    _idle.clear()
    _running.clear()


atexit.register(_at_exit)
# Under the lock, so that no child is half made when the process forks.
os.register_at_fork(before=lambda: _lock.acquire(), after_in_parent=lambda: _lock.release(), after_in_child=_after_fork)
