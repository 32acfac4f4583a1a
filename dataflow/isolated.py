"""The child's side of `isolation`: frames, and the loop that runs one body after another in a child process.

The child loads this file alone, by its path, so it imports the standard library and nothing of ours.
State of a child: the channel to its parent, and whether SIGTERM may interrupt now (`_Stop`).
"""

from __future__ import annotations

import contextlib
import faulthandler
import fcntl
import os
import pickle
import signal
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from types import FrameType

# Kinds of frames. To the child: a header (pickled place of the call), then the payload. From the child:
HEADER, PAYLOAD = b"H", b"P"
STARTED = b"S"  # the payload is loaded, the body runs now
MESSAGE = b"M"  # a message of the body
RESULT = b"R"  # seconds that the body took (double), then what it returned
ERROR = b"E"  # there is no result, and why: pickled (reason, traceback)
TERMINATED = b"T"  # SIGTERM ended the body; this child ends too

_FRAME = struct.Struct("!cQ")
SECONDS = struct.Struct("!d")

Send = Callable[[bytes], None]
Body = Callable[[Send], bytes]


class Channel:
    """Frames (a kind and bytes) over one end of a socket pair; `receive` can be given up and taken up again.

    Examples
    --------
    >>> ours, theirs = (Channel(end) for end in socket.socketpair())
    >>> theirs.send(MESSAGE, b"half ", b"way")
    >>> ours.receive(wait=1)
    (b'M', b'half way')
    >>> ours.receive(wait=0) is None
    True
    >>> theirs.close(); ours.receive(wait=None)
    Traceback (most recent call last):
    EOFError: the other side closed the channel
    >>> ours.close()
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._lock = threading.Lock()
        self._kind: bytes | None = None  # None: the buffer is for the next frame's head
        self._buffer, self._filled = bytearray(_FRAME.size), 0

    def send(self, kind: bytes, *parts: bytes, wait: float | None = None) -> None:
        """Send one frame; `wait` (seconds) is how long that may take before a TimeoutError, None for ever."""
        with self._lock:
            self._end.settimeout(wait)
            self._end.sendall(_FRAME.pack(kind, sum(map(len, parts))))
            for part in parts:
                self._end.sendall(part)

    def receive(self, wait: float | None) -> tuple[bytes, bytes] | None:
        """The next frame; None if it is not here in full after `wait` seconds. Raises EOFError at the end."""
        until = None if wait is None else time.monotonic() + wait
        while True:
            while self._filled < len(self._buffer):
                self._end.settimeout(None if until is None else max(0.0, until - time.monotonic()))
                try:
                    count = self._end.recv_into(memoryview(self._buffer)[self._filled :])
                except (BlockingIOError, TimeoutError):
                    return None
                except ConnectionResetError:  # the other side left without reading everything
                    count = 0
                if count == 0:
                    raise EOFError("the other side closed the channel")
                self._filled += count
            whole, self._filled = self._buffer, 0
            if self._kind is None:
                self._kind, length = _FRAME.unpack(whole)
                self._buffer = bytearray(length)
            else:
                kind, self._kind, self._buffer = self._kind, None, bytearray(_FRAME.size)
                return kind, bytes(whole)

    def close(self) -> None:
        """End the conversation, also for copies of this end in other processes."""
        with contextlib.suppress(OSError):  # the other side may have gone before
            self._end.shutdown(socket.SHUT_RDWR)
        self._end.close()

    def forget(self) -> None:
        """Close this process's copy of the end: after a fork, the conversation is the other process's."""
        self._end.close()


class _Stop:
    """Turns SIGTERM into SystemExit in the body, so that its `finally` blocks run, but never amid a frame."""

    def __init__(self) -> None:
        self.asked = False
        self._held = 0

    def arm(self) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)

    def disarm(self) -> None:
        if signal.getsignal(signal.SIGTERM) == self._on_signal:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        if not self._held:
            self.leave()

    def leave(self) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        self._held += 1
        try:
            yield
        finally:
            self._held -= 1


def serve(channel_fd: int, lifeline_fd: int) -> None:
    """Run bodies until the parent closes the channel. The whole life of a child process.

    Parameters
    ----------
    channel_fd : int
        This side's end of the socket pair.
    lifeline_fd : int
        The reading end of a pipe whose only writing end is the parent's: it closes when the parent is gone.
    """
    for descriptor in (channel_fd, lifeline_fd):
        os.set_inheritable(descriptor, False)  # what the body starts must not keep them open
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # the thread that started us may have blocked some
    end_with_parent(lifeline_fd)
    if sys.stderr is not None:
        faulthandler.enable()  # a segfault then says where, on stderr
    channel, stop = Channel(socket.socket(fileno=channel_fd)), _Stop()

    def forget() -> None:
        stop.disarm()
        channel.forget()
        with contextlib.suppress(OSError):  # a body that closes every descriptor, as daemons do, closed this one
            os.close(lifeline_fd)

    os.register_at_fork(after_in_child=forget)
    stop.arm()
    try:
        while not stop.asked and _serve_one(channel, stop):
            pass
    except EOFError:
        pass  # the parent closed the channel: that is how it ends
    finally:
        # At once: a thread that a body left behind can keep this process up, and the parent must not wait for that.
        channel.close()


def _serve_one(channel: Channel, stop: _Stop) -> bool:
    """Run one body; False when this process is not fit for another."""
    header, payload = channel.receive(None), channel.receive(None)
    assert header is not None
    assert payload is not None
    stop.arm()  # the body before may have installed a handler of its own
    started: float | None = None
    result, problem = b"", None
    try:
        _go_to(*pickle.loads(header[1]))
        body: Body = pickle.loads(payload[1])
        del payload
        with stop.hold():
            channel.send(STARTED)
        started = time.monotonic()
        result = _checked(body(_sender(channel, stop)))
    except BaseException as error:  # whatever the body raises is the parent's to judge
        problem = _described(error, loading=started is None)
    with stop.hold():
        ended, terminated = time.monotonic(), stop.asked
        whole = _flushed()
        if terminated:
            channel.send(TERMINATED)
        elif problem is not None:
            channel.send(ERROR, problem)
        else:
            channel.send(RESULT, SECONDS.pack(ended - (started or ended)), result)
    return whole


def _go_to(cwd: str | None, environ: dict[str, str], path: list[str], argv: list[str]) -> None:
    """Be where the caller is, whatever the body before has changed."""
    if cwd is not None:
        os.chdir(cwd)
    if environ != dict(os.environ):
        os.environ.clear()
        os.environ.update(environ)
    sys.path[:], sys.argv[:] = path, argv


def _sender(channel: Channel, stop: _Stop) -> Send:
    process, main = os.getpid(), threading.main_thread()

    def send(message: bytes) -> None:
        """Deliver one message to the parent; from any thread of the body's process."""
        if os.getpid() != process:
            raise RuntimeError("send() was called in a process forked from the body's: only the body's can send.")
        if threading.current_thread() is not main:
            channel.send(MESSAGE, message)
            return
        asked = stop.asked
        with stop.hold():
            channel.send(MESSAGE, message)
        if stop.asked and not asked:
            stop.leave()

    return send


def _checked(result: object) -> bytes:
    if not isinstance(result, bytes):
        raise TypeError(f"the call returned {type(result).__name__}, not bytes")
    return result


def _described(error: BaseException, *, loading: bool) -> bytes:
    what = traceback.format_exception_only(error)[-1].strip()
    reason = f"the payload cannot be loaded in the child process: {what}" if loading else what
    return pickle.dumps((reason, "".join(traceback.format_exception(error))))


def _flushed() -> bool:
    """Whether what the body printed is out; False when it closed or broke its output."""
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):
        return False
    return True


def end_with_parent(lifeline_fd: int) -> None:
    """Have this process's whole group killed when the other end of the pipe closes.

    On Linux the kernel does it (`fcntl(2)`, F_SETSIG), so it also works while a body holds the interpreter lock.
    PR_SET_PDEATHSIG would not do: it fires when the *thread* that started us ends. Elsewhere a thread watches.
    """
    try:
        fcntl.fcntl(lifeline_fd, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline_fd, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline_fd, fcntl.F_SETFL, fcntl.fcntl(lifeline_fd, fcntl.F_GETFL) | os.O_ASYNC)
    except (AttributeError, OSError):
        threading.Thread(target=watch, args=(lifeline_fd,), name="dataflow-lifeline", daemon=True).start()
        return
    os.set_blocking(lifeline_fd, False)
    with contextlib.suppress(BlockingIOError):
        os.read(lifeline_fd, 1)  # returns only at the end of the pipe: the parent left before we were armed
        os.killpg(0, signal.SIGKILL)


def watch(lifeline_fd: int) -> None:
    """Kill this process's group when the other end of the pipe closes; the way that needs no help of the kernel."""
    os.read(lifeline_fd, 1)
    os.killpg(0, signal.SIGKILL)
