"""A body in a child process: what comes back, what is killed, and that nothing is left behind."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cloudpickle
import psutil
import pytest

from dataflow import isolated, isolation
from dataflow.isolated import Send
from dataflow.isolation import ChildDied, ChildError, ChildStopped, ChildTimeout

# The child cannot import this file by its name: its functions travel by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

Body = Callable[[Send], bytes]


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    """Whatever a test does to its children, none is busy afterwards, and only warm ones live."""
    yield
    assert not isolation._running
    idle = {child.process.pid for child in isolation._idle}
    assert {child.pid for child in psutil.Process().children() if _alive(child.pid)} <= idle | _foreign()
    assert len(idle) <= isolation._processors()


def _foreign() -> set[int]:
    """Children of this process that are not ours: those of `multiprocessing`, which `distributed` uses."""
    ours = "dataflow_isolated"
    return {c.pid for c in psutil.Process().children() if not any(ours in word for word in c.cmdline())}


def call(body: Body, timeout: float | None = 30, grace: float = 3.0) -> bytes:
    return isolation.call(cloudpickle.dumps(body), timeout=timeout, grace=grace, on_message=_no_message)


def _no_message(message: bytes) -> None:
    raise AssertionError(f"unexpected message {message!r}")


def _alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _gone(*pids: int, within: float = 5.0) -> bool:
    until = time.monotonic() + within
    while any(map(_alive, pids)) and time.monotonic() < until:
        time.sleep(0.01)
    return not any(map(_alive, pids))


def _pids(body: Body, *, timeout: float, grace: float = 3.0) -> list[int]:
    """The process ids that a body sends before it runs out of time."""
    messages: list[bytes] = []
    with pytest.raises(ChildTimeout):
        isolation.call(cloudpickle.dumps(body), timeout=timeout, grace=grace, on_message=messages.append)
    return [int(word) for message in messages for word in message.split()]


# Bodies. What they use they import themselves or find in this module by value.


def own_pid(send: Send) -> bytes:
    return str(os.getpid()).encode()


def hold_the_lock(send: Send) -> bytes:
    send(str(os.getpid()).encode())
    return bytes(sum(range(10**13)))  # C code that never gives the interpreter lock back


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
    parent = _script("""
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


# Timeouts


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
    assert not _alive(int(messages[0]))
    assert int(call(own_pid)) != int(messages[0])


def test_a_body_that_holds_the_interpreter_lock_is_killed() -> None:
    started = time.monotonic()
    assert not any(map(_alive, _pids(hold_the_lock, timeout=0.3, grace=0.3)))
    assert 0.6 <= time.monotonic() - started < 5


def test_a_body_that_ignores_sigterm_is_killed_after_the_grace_period() -> None:
    def body(send: Send) -> bytes:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        send(own_pid(send))
        time.sleep(100)
        return b""

    started = time.monotonic()
    assert not any(map(_alive, _pids(body, timeout=0.2, grace=0.4)))
    assert 0.6 <= time.monotonic() - started < 5


def test_a_body_that_swallows_every_exception_is_killed() -> None:
    def body(send: Send) -> bytes:
        send(own_pid(send))
        while True:
            try:
                time.sleep(100)
            except BaseException:  # what a retry loop of a user does
                continue

    assert not any(map(_alive, _pids(body, timeout=0.2, grace=0.3)))


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

    pids = _pids(body, timeout=1.0, grace=0.3)
    assert len(pids) == 5
    assert not any(map(_alive, pids))


def test_a_grandchild_gets_the_grace_period_too(tmp_path: Path) -> None:
    def body(send: Send) -> bytes:
        # Not subprocess.run: it kills what it waits for as soon as it is interrupted.
        subprocess.Popen(
            ["sh", "-c", f"trap 'sleep 0.3; echo saved > {tmp_path}/state; exit' TERM; sleep 9 & wait"]
        ).wait()
        return b""

    assert _pids(body, timeout=0.5, grace=5) == []
    assert (tmp_path / "state").read_text() == "saved\n"


def test_a_flood_of_messages_does_not_outlive_the_timeout() -> None:
    def body(send: Send) -> bytes:
        while True:
            send(b"0")

    started = time.monotonic()
    _pids(body, timeout=0.3, grace=0.2)
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
    assert not any(map(_alive, pids))


# Deaths and errors


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
        isolation.call(b"not a pickle", timeout=None, on_message=_no_message)


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


# The parent's end, and parents that are not plain


def _script(text: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", textwrap.dedent(text)], stdout=subprocess.PIPE, text=True)


@pytest.mark.parametrize("busy", ["time.sleep(100)", "sum(range(10**13))"])
def test_a_killed_parent_takes_its_children_and_theirs_along(busy: str) -> None:
    parent = _script(f"""
        import cloudpickle, subprocess, threading, time
        from dataflow import isolation

        def body(send):
            import os, subprocess, time
            send(f"{{os.getpid()}} {{subprocess.Popen(['sleep', '100']).pid}}".encode())
            {busy}

        def start():
            show = lambda pids: print(pids.decode(), flush=True)
            isolation.call(cloudpickle.dumps(body), timeout=None, on_message=show)

        isolation.call(cloudpickle.dumps(lambda send: b""), timeout=None, on_message=print)
        threading.Thread(target=start).start()  # the thread that starts a child is not the one that lives on
    """)
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(_alive, pids))
    parent.kill()
    parent.communicate()
    assert _gone(*pids)


def test_idle_children_end_with_their_parent() -> None:
    parent = _script("""
        import cloudpickle, os
        from dataflow import isolation
        show = lambda send: str(os.getpid()).encode()
        print(isolation.call(cloudpickle.dumps(show), timeout=None, on_message=print).decode())
    """)
    out, _ = parent.communicate(timeout=30)
    assert parent.returncode == 0
    assert _gone(int(out))


def test_ctrl_c_reaches_only_the_parent_which_then_ends_the_body() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent("""
            import cloudpickle, os, time
            from dataflow import isolation

            def body(send):
                send(str(os.getpid()).encode())
                try:
                    time.sleep(100)
                except BaseException as error:
                    print(type(error).__name__, flush=True)

            try:
                show = lambda pid: print(pid.decode(), flush=True)
                isolation.call(cloudpickle.dumps(body), timeout=None, on_message=show)
            except KeyboardInterrupt:
                print("interrupted")
        """)],
        stdout=subprocess.PIPE, text=True, process_group=0,
    )  # fmt: skip
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    os.killpg(parent.pid, signal.SIGINT)
    out, _ = parent.communicate(timeout=30)
    assert out == "SystemExit\ninterrupted\n"
    assert _gone(pid)


def test_functions_of_main_work_and_the_child_imports_little() -> None:
    parent = _script("""
        import cloudpickle, sys
        from dataflow import isolation

        class Local:
            pass

        def helper():
            return isinstance(Local(), Local)

        def body(send):
            import sys
            heavy = {"dask", "distributed", "dataflow", "pandas", "asyncio"} & set(sys.modules)
            return f"{helper()} {sorted(heavy)}".encode()

        print(isolation.call(cloudpickle.dumps(body), timeout=None, on_message=print).decode())
    """)
    assert parent.communicate(timeout=30)[0] == "True []\n"


def test_where_the_kernel_does_not_help_a_thread_watches() -> None:
    watched, lifeline = os.pipe()
    child = subprocess.Popen(
        [sys.executable, "-c", f"""if True:
            import threading, time
            from dataflow import isolated
            threading.Thread(target=isolated.watch, args=({watched},), daemon=True).start()
            print("ready", flush=True)
            time.sleep(100)
        """],
        stdout=subprocess.PIPE, pass_fds=(watched,), start_new_session=True,
    )  # fmt: skip
    os.close(watched)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    os.close(lifeline)
    child.communicate(timeout=10)
    assert child.returncode == -signal.SIGKILL


def test_inside_a_daemonic_worker_process_of_distributed() -> None:
    distributed = pytest.importorskip("distributed")

    def run(payload: bytes, timeout: float) -> tuple[int, object]:
        from dataflow import isolation

        try:
            return os.getpid(), isolation.call(payload, timeout=timeout, grace=0.5, on_message=_no_message)
        except isolation.ChildTimeout as error:
            return os.getpid(), str(error)

    def sleep(send: Send) -> bytes:
        time.sleep(100)
        return b""

    with (
        distributed.LocalCluster(n_workers=1, threads_per_worker=2, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        quick = client.submit(run, cloudpickle.dumps(own_pid), 30, pure=False)
        slow = client.submit(run, cloudpickle.dumps(sleep), 0.5, pure=False)
        worker, child = quick.result(timeout=60)
        assert psutil.Process(int(child)).ppid() == worker
        assert slow.result(timeout=60) == (worker, "the body ran longer than its timeout of 0.5 s and was killed")
        again = client.submit(run, cloudpickle.dumps(own_pid), 30, pure=False).result(timeout=60)
        assert again == (worker, child)
    assert _gone(int(child))


def test_send_in_a_forked_process_says_what_is_wrong() -> None:
    def body(send: Send) -> bytes:
        reading, writing = os.pipe()
        if os.fork() == 0:
            try:
                send(b"from the fork")
            except RuntimeError as error:
                os.write(writing, str(error).encode())
            os._exit(0)
        os.wait()
        return os.read(reading, 200)

    assert b"only the body's can send" in call(body)


def test_the_parts_of_a_frame_may_arrive_apart() -> None:
    import socket

    ours, theirs = socket.socketpair()
    channel = isolated.Channel(ours)
    whole = isolated._FRAME.pack(isolated.MESSAGE, 4) + b"four"
    for byte in whole[:-1]:
        theirs.send(bytes([byte]))
        assert channel.receive(wait=0.001) is None
    theirs.send(whole[-1:])
    assert channel.receive(wait=0.001) == (isolated.MESSAGE, b"four")
    theirs.close()
    channel.close()
