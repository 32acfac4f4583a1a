"""A body in a child process: what comes back, and children that are used again."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cloudpickle
import pytest

from dataflow import isolation
from dataflow.isolated import Send
from tests.isolation.children import call, own_pid, script

# The child cannot import this file by its name: its functions travel by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


# What comes back


def test_the_result_comes_back_from_another_process() -> None:
    assert int(call(own_pid)) not in {os.getpid(), 0}


def test_a_lambda_and_a_closure_travel_by_value() -> None:
    word = b"closed over"
    assert call(lambda send: word) == word


def test_messages_arrive_in_order_while_the_body_runs() -> None:
    arrived: list[tuple[float, bytes]] = []

    def body(send: Send) -> bytes:
        for number in range(5):
            send(str(number).encode())
            time.sleep(0.05)
        return b""

    isolation.call(
        cloudpickle.dumps(body), timeout=30, on_message=lambda message: arrived.append((time.monotonic(), message))
    )
    assert [message for _, message in arrived] == [b"0", b"1", b"2", b"3", b"4"]
    assert arrived[-1][0] - arrived[0][0] > 0.15


def test_messages_of_several_threads_of_a_body_stay_whole() -> None:
    messages: list[bytes] = []

    def body(send: Send) -> bytes:
        def talk(letter: str) -> None:
            for _ in range(200):
                send(letter.encode() * 3000)

        threads = [threading.Thread(target=talk, args=(letter,)) for letter in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return b""

    isolation.call(cloudpickle.dumps(body), timeout=60, on_message=messages.append)
    assert sorted(messages) == [letter * 3000 for letter in (b"a", b"b", b"c", b"d") for _ in range(200)]


def test_fifty_megabytes_go_there_and_back() -> None:
    blob = os.urandom(1000) * 50_000
    assert call(lambda send: blob) == blob


def test_prints_and_errors_of_the_body_go_where_ours_go(capfd: pytest.CaptureFixture[str]) -> None:
    def body(send: Send) -> bytes:
        print("to stdout")
        print("to stderr", file=sys.stderr)
        assert sys.stdin.read() == ""
        return b""

    isolation.stop_all()  # a child has the descriptors that we had when it started
    call(body)
    assert capfd.readouterr() == ("to stdout\n", "to stderr\n")


def test_a_body_runs_where_its_caller_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look(send: Send) -> bytes:
        import just_written  # type: ignore[import-not-found]

        os.environ["LEFT_BEHIND"] = "yes"
        return f"{os.getcwd()} {os.environ['COLOUR']} {just_written.name} {sys.argv[-1]}".encode()

    call(own_pid)  # there is a warm child that knows nothing of what follows
    (tmp_path / "just_written.py").write_text("name = 'found'")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLOUR", "green")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["prog", "--last"])
    assert call(look).decode() == f"{tmp_path} green found --last"
    assert call(lambda send: str("LEFT_BEHIND" in os.environ).encode()) == b"False"


# Warm children


def test_a_child_is_used_again() -> None:
    assert call(own_pid) == call(own_pid) == call(own_pid)


def test_a_warm_child_that_died_idle_is_replaced_unnoticed() -> None:
    for _ in range(3):
        pid = int(call(own_pid))
        os.kill(pid, signal.SIGKILL)
        assert int(call(own_pid)) != pid


def test_a_child_whose_output_was_closed_is_not_used_again(capfd: pytest.CaptureFixture[str]) -> None:
    def close_stdout(send: Send) -> bytes:
        sys.stdout.close()
        return own_pid(send)

    def speak(send: Send) -> bytes:
        print("here")
        return own_pid(send)

    isolation.stop_all()
    assert call(close_stdout) != call(speak)
    assert capfd.readouterr().out == "here\n"


def test_eight_calls_at_once_have_eight_children() -> None:
    barrier_seconds = 1.0

    def body(send: Send) -> bytes:
        time.sleep(barrier_seconds)
        return own_pid(send)

    started = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        pids = set(threads.map(call, [body] * 8))
    assert len(pids) == 8
    assert time.monotonic() - started < 6
    assert len(isolation._idle) <= isolation._processors()


def test_a_forked_process_starts_with_no_children() -> None:
    parent = script("""
        import cloudpickle, os
        from dataflow import isolation

        def pid():
            show = cloudpickle.dumps(lambda send: str(os.getpid()).encode())
            return int(isolation.call(show, timeout=30, on_message=print))

        warm = pid()
        fork = os.fork()
        if fork == 0:
            same = not isolation._idle and pid() == pid() != warm
            isolation._at_exit()  # leaves the parent's child alone
            os._exit(0 if same else 1)
        print(os.waitstatus_to_exitcode(os.waitpid(fork, 0)[1]), pid() == warm)
    """)
    assert parent.communicate(timeout=30)[0] == "0 True\n"


def test_starting_is_quick_and_a_warm_call_is_quicker() -> None:
    isolation.stop_all()
    started = time.monotonic()
    call(own_pid)
    cold = time.monotonic() - started
    started = time.monotonic()
    for _ in range(50):
        call(own_pid)
    warm = (time.monotonic() - started) / 50
    assert cold < 2.0  # 0.07 s on a quiet machine
    assert warm < 0.05  # 0.4 ms
