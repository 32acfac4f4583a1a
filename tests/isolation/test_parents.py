"""The parent's end, and parents that are not plain: no child outlives them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time

import cloudpickle
import psutil
import pytest

from dataflow import isolated
from dataflow.isolated import Send
from tests.isolation.children import alive, call, gone, no_message, own_pid, script

# The child cannot import this file by its name: its functions travel by value.
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.mark.parametrize("busy", ["time.sleep(100)", "sum(range(10**13))"])
def test_a_killed_parent_takes_its_children_and_theirs_along(busy: str) -> None:
    parent = script(f"""
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
    assert all(map(alive, pids))
    parent.kill()
    parent.communicate()
    assert gone(*pids)


def test_idle_children_end_with_their_parent() -> None:
    parent = script("""
        import cloudpickle, os
        from dataflow import isolation
        show = lambda send: str(os.getpid()).encode()
        print(isolation.call(cloudpickle.dumps(show), timeout=None, on_message=print).decode())
    """)
    out, _ = parent.communicate(timeout=30)
    assert parent.returncode == 0
    assert gone(int(out))


def test_ctrl_c_reaches_only_the_parent_which_then_ends_the_body() -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent("""
            import cloudpickle, os, time
            from dataflow import isolation

            def body(send):
                try:
                    send(str(os.getpid()).encode())
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
    assert gone(pid)


def test_functions_of_main_work_and_the_child_imports_little() -> None:
    parent = script("""
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
            return os.getpid(), isolation.call(payload, timeout=timeout, grace=0.5, on_message=no_message)
        except isolation.ChildTimeout as error:
            return os.getpid(), str(error)

    def sleep(send: Send) -> bytes:
        time.sleep(100)
        return b""

    with (
        distributed.LocalCluster(
            n_workers=1,
            threads_per_worker=2,
            dashboard_address=None,
            scheduler_kwargs={"dashboard_address": "127.0.0.1:0"},  # else it opens its usual port, which may be taken
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        quick = client.submit(run, cloudpickle.dumps(own_pid), 30, pure=False)
        slow = client.submit(run, cloudpickle.dumps(sleep), 0.5, pure=False)
        worker, child = quick.result(timeout=60)
        assert psutil.Process(int(child)).ppid() == worker
        assert slow.result(timeout=60) == (worker, "the body ran longer than its timeout of 0.5 s and was killed")
        again = client.submit(run, cloudpickle.dumps(own_pid), 30, pure=False).result(timeout=60)
        assert again == (worker, child)
    assert gone(int(child))


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
