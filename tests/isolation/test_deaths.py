"""A body in a child process that dies or fails: what its caller is told."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import pytest

from dataflow import isolation
from dataflow.isolated import Send
from dataflow.isolation import ChildDied, ChildError, ChildStopped, ChildTimeout
from tests.isolation.children import call, no_message, own_pid

# The child cannot import this file by its name: its functions travel by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.mark.parametrize("code", [0, 3])
def test_a_body_that_leaves_its_process(code: int) -> None:
    with pytest.raises(ChildDied, match=f"exit code {code}") as caught:
        call(lambda send: os._exit(code))
    assert (caught.value.exit_code, caught.value.signal) == (code, None)


def test_a_segfault(capfd: pytest.CaptureFixture[str]) -> None:
    def body(send: Send) -> bytes:
        ctypes.string_at(0)
        return b""

    isolation.stop_all()
    with pytest.raises(ChildDied, match="SIGSEGV") as caught:
        call(body)
    assert (caught.value.exit_code, caught.value.signal) == (None, "SIGSEGV")
    assert "in string_at" in capfd.readouterr().err  # where it happened


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_body_that_somebody_else_kills(name: str) -> None:
    def body(send: Send) -> bytes:
        os.kill(os.getpid(), signal.Signals[name])
        time.sleep(100)
        return b""

    with pytest.raises(ChildDied, match=name):
        call(body)


def test_a_death_is_seen_although_a_fork_holds_the_channel() -> None:
    def body(send: Send) -> bytes:
        # A fork that Python does not know of, so that our end of the channel stays open in it.
        if ctypes.CDLL(None).fork() == 0:
            time.sleep(100)
        os._exit(4)

    started = time.monotonic()
    with pytest.raises(ChildDied, match="exit code 4"):
        call(body, timeout=None)
    assert time.monotonic() - started < 8


def test_a_body_that_closes_every_descriptor() -> None:
    def body(send: Send) -> bytes:
        os.closerange(3, 100)
        time.sleep(100)
        return b""

    with pytest.raises(ChildError, match="it may close only what it opened"):
        call(body)


def test_a_payload_that_cannot_be_loaded() -> None:
    class Bad:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return __import__, ("no_such_module",)

    bad = Bad()
    with pytest.raises(ChildError, match="No module named 'no_such_module'") as caught:
        call(lambda send: bytes(str(bad), "utf-8"))
    assert str(caught.value).startswith("the payload cannot be loaded in the child process: ModuleNotFoundError")
    assert "Traceback" in caught.value.traceback
    with pytest.raises(ChildError, match="UnpicklingError"):
        isolation.call(b"not a pickle", timeout=None, on_message=no_message)


def test_exceptions_and_wrong_results_are_errors_with_their_text_and_the_child_lives_on() -> None:
    class Mute(BaseException):
        def __str__(self) -> str:
            raise RuntimeError

    def fail(send: Send) -> bytes:
        raise Mute

    pid = call(own_pid)
    with pytest.raises(ChildError, match=r"SystemExit: 3"):
        call(lambda send: sys.exit(3))
    with pytest.raises(ChildError, match="Mute: <exception str"):
        call(fail)
    with pytest.raises(ChildError, match="returned int, not bytes"):
        call(lambda send: 3)  # type: ignore[arg-type, return-value]
    assert call(own_pid) == pid


@pytest.mark.parametrize(
    "error", [ChildTimeout(2.5), ChildDied(3), ChildDied("SIGSEGV"), ChildStopped(), ChildError("a")]
)
def test_errors_travel(error: Exception) -> None:
    copy = cloudpickle.loads(cloudpickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)


def test_stop_all_kills_what_runs_and_the_next_call_works() -> None:
    def body(send: Send) -> bytes:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(100)
        return b""

    with ThreadPoolExecutor(3) as threads:
        calls = [threads.submit(call, body, 60) for _ in range(3)]
        while len(isolation._running) < 3 or not all(child.started for child in isolation._running):
            time.sleep(0.01)
        started = time.monotonic()
        isolation.stop_all()
        errors = [future.exception(timeout=10) for future in calls]
    assert time.monotonic() - started < 5
    assert [type(error) for error in errors] == [ChildStopped] * 3
    assert call(own_pid)
