"""A body in a child process that runs out of time is ended, with all that it started."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import cloudpickle
import pytest

from dataflow import isolation
from dataflow.isolated import Send
from dataflow.isolation import ChildTimeout
from tests.isolation.children import alive, call, hold_the_lock, own_pid, sent_pids

# The child cannot import this file by its name: its functions travel by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def test_a_sleeping_body_is_ended_by_its_timeout_and_its_finally_runs() -> None:
    messages: list[bytes] = []

    def body(send: Send) -> bytes:
        send(own_pid(send))
        try:
            time.sleep(100)
        finally:
            send(b"cleaned up")
        return b""

    started = time.monotonic()
    with pytest.raises(ChildTimeout, match=r"^the body ran longer than its timeout of 0.3 s and was killed$") as caught:
        isolation.call(cloudpickle.dumps(body), timeout=0.3, grace=5, on_message=messages.append)
    assert caught.value.seconds == 0.3
    assert time.monotonic() - started < 3  # it did not wait for the grace period
    assert messages[1] == b"cleaned up"
    assert not alive(int(messages[0]))
    assert int(call(own_pid)) != int(messages[0])


def test_a_body_that_holds_the_interpreter_lock_is_killed() -> None:
    started = time.monotonic()
    assert not any(map(alive, sent_pids(hold_the_lock, timeout=0.3, grace=0.3)))
    assert 0.6 <= time.monotonic() - started < 5


def test_a_body_that_ignores_sigterm_is_killed_after_the_grace_period() -> None:
    def body(send: Send) -> bytes:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        send(own_pid(send))
        time.sleep(100)
        return b""

    started = time.monotonic()
    assert not any(map(alive, sent_pids(body, timeout=0.2, grace=0.4)))
    assert 0.6 <= time.monotonic() - started < 5


def test_a_body_that_swallows_every_exception_is_killed() -> None:
    def body(send: Send) -> bytes:
        send(own_pid(send))
        while True:
            try:
                time.sleep(100)
            except BaseException:  # what a retry loop of a user does
                continue

    assert not any(map(alive, sent_pids(body, timeout=0.2, grace=0.3)))


def test_what_the_body_started_is_killed_with_it() -> None:
    def body(send: Send) -> bytes:
        shell = subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 100 & echo $!; wait; wait"], stdout=subprocess.PIPE)
        apart = subprocess.Popen(["sleep", "100"], start_new_session=True)  # out of reach of killpg
        assert shell.stdout is not None
        below = shell.stdout.readline()
        forked = os.fork()
        if forked == 0:
            time.sleep(100)
            os._exit(0)
        send(f"{os.getpid()} {shell.pid} {int(below)} {apart.pid} {forked}".encode())
        time.sleep(100)
        return b""

    pids = sent_pids(body, timeout=1.0, grace=0.3)
    assert len(pids) == 5
    assert not any(map(alive, pids))


def test_a_grandchild_gets_the_grace_period_too(tmp_path: Path) -> None:
    def body(send: Send) -> bytes:
        # Not subprocess.run: it kills what it waits for as soon as it is interrupted.
        subprocess.Popen(
            ["sh", "-c", f"trap 'sleep 0.3; echo saved > {tmp_path}/state; exit' TERM; sleep 9 & wait"]
        ).wait()
        return b""

    assert sent_pids(body, timeout=0.5, grace=5) == []
    assert (tmp_path / "state").read_text() == "saved\n"


def test_a_flood_of_messages_does_not_outlive_the_timeout() -> None:
    def body(send: Send) -> bytes:
        while True:
            send(b"0")

    started = time.monotonic()
    sent_pids(body, timeout=0.3, grace=0.2)
    assert time.monotonic() - started < 10


def test_a_body_that_finished_in_time_has_not_timed_out_however_late_we_look() -> None:
    def body(send: Send) -> bytes:
        send(b"")
        return b"x" * 10_000_000  # more than the channel holds

    slow = isolation.call(cloudpickle.dumps(body), timeout=0.5, on_message=lambda message: time.sleep(1))
    assert len(slow) == 10_000_000


def test_the_time_to_load_the_payload_does_not_count() -> None:
    class Slow:
        def __reduce__(self) -> tuple[Callable[[float], None], tuple[float]]:
            return time.sleep, (0.6,)

    slow = Slow()
    assert call(lambda send: str(slow).encode(), timeout=0.3) == b"None"


def test_an_error_in_on_message_ends_the_body() -> None:
    pids: list[int] = []

    def refuse(message: bytes) -> None:
        pids.append(int(message))
        raise ZeroDivisionError

    def body(send: Send) -> bytes:
        send(own_pid(send))
        time.sleep(100)
        return b""

    with pytest.raises(ZeroDivisionError):
        isolation.call(cloudpickle.dumps(body), timeout=None, on_message=refuse)
    assert not any(map(alive, pids))
