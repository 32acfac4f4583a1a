"""What a person sees in a notebook: a real Jupyter kernel, asked by its own protocol."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

ROOT = Path(__file__).resolve().parent.parent
FLOW = """
import threading
from dataflow import flow, get_run, task

@task(log_prints=True)
def fetch(x):
    print("got", x)
    return x

@task
def clean(x):
    if x == 3:
        raise ValueError(f"row {x} has no price")
    return 2 * x

@task
def load(xs):
    return sum(xs)

@task
def slow(x):
    threading.Event().wait(0.1)
    return x

@flow
def etl(n: int = 3):
    return load(clean.map(fetch.map(range(n))))

@flow
def long(n: int):
    return slow.map(range(n))
"""
ANSI = re.compile(r"\x1b\[[0-9;]*m")
Message = dict[str, Any]


class Cells:
    """A notebook: cells that run one after another in a kernel."""

    def __init__(self, manager: KernelManager) -> None:
        self._manager = manager
        self._client: Any = manager.client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def run(self, code: str, meanwhile: Callable[[Message], None] | None = None) -> list[Message]:
        """What a cell shows, message by message; each is also handed to `meanwhile` as it comes."""
        asked = self._client.execute(code)
        found: list[Message] = []
        while True:
            message = self._client.get_iopub_msg(timeout=60)
            kind, content = message["msg_type"], message["content"]
            if message["parent_header"].get("msg_id") == asked and content.get("execution_state") == "idle":
                return found
            if kind in ("display_data", "update_display_data", "execute_result", "error", "stream"):
                found.append({"kind": kind, **content})
                if meanwhile is not None:
                    meanwhile(found[-1])

    def interrupt(self) -> None:
        """Press the button."""
        self._manager.interrupt_kernel()

    def matches(self, code: str) -> list[str]:
        """What Tab offers at the end of this."""
        offered: list[str] = self._client.complete(code, reply=True, timeout=60)["content"]["matches"]
        return offered

    def close(self) -> None:
        self._client.stop_channels()


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cells]:
    home = tmp_path_factory.mktemp("kernel")
    path = os.pathsep.join(str(ROOT / part) for part in (".", "executors", "storage"))
    manager = KernelManager(kernel_name="python3")
    env = {**os.environ, "PYTHONPATH": path, "DATAFLOW_HOME": str(home), "IPYTHONDIR": str(home / "ipython")}
    manager.start_kernel(env=env, cwd=str(home), extra_arguments=["--log-level=ERROR"])
    made = Cells(manager)
    try:
        assert made.run(FLOW) == []
        yield made
    finally:
        made.close()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()


def text(message: Message) -> str:
    return str(message["data"]["text/plain"])


def when_running(cells: Cells) -> Callable[[Message], None]:
    """Press the button, once, when a picture shows that something runs."""
    pressed: list[str] = []

    def look(message: Message) -> None:
        if not pressed and "data" in message and "running" in text(message):
            pressed.append(text(message))
            cells.interrupt()

    return look


def test_a_run_is_shown_in_one_output_that_ends_with_how_it_ended(cells: Cells) -> None:
    first, *rest, result = cells.run("run = long.run(n=12)\nrun")
    assert first["kind"] == "display_data"
    assert {message["kind"] for message in rest} == {"update_display_data"}
    assert {message["transient"]["display_id"] for message in rest} == {first["transient"]["display_id"]}
    assert re.match(r"✓ long · \S+ · success · [\d.]+ s\n  ✓ slow  12/12  [\d.]+ s$", text(rest[-1]))
    assert "<script" not in rest[-1]["data"]["text/html"]
    assert "<style" not in rest[-1]["data"]["text/html"]
    # Its picture stands there already.
    assert set(result["data"]) == {"text/plain"}


def test_a_run_of_another_cell_shows_how_it_stands(cells: Cells) -> None:
    cells.run("run = etl.run(n=2)")
    (shown,) = cells.run("get_run('@last')")
    assert "<table" in shown["data"]["text/html"]
    assert "✓ clean  2/2" in text(shown)


def test_the_interrupt_button_cancels_cleanly(cells: Cells) -> None:
    shown = cells.run("long.run(n=10_000)", when_running(cells))
    assert "⊘" in text(shown[-2])
    assert shown[-1]["ename"] == "RunFailed"
    (told,) = cells.run("print(get_run('@last').state.type)")
    assert told["text"] == "Cancelled\n"


@pytest.mark.parametrize("code", ["await long.arun(n=10_000)", "run = long.submit(n=10_000)\nawait run"])
def test_the_interrupt_button_cancels_what_is_awaited(cells: Cells, code: str) -> None:
    shown = cells.run(code, when_running(cells))
    assert [message["ename"] for message in shown if message["kind"] == "error"] == ["CancelledError"]
    told = cells.run("print(get_run('@last').wait().state.type)")
    assert [message["text"] for message in told if message["kind"] == "stream"] == ["Cancelled\n"]


def test_a_run_can_be_awaited(cells: Cells) -> None:
    shown = cells.run("run = await etl.arun(n=3)\nprint(run.result(), (await etl.submit(n=2)).result())")
    assert [message["text"] for message in shown if message["kind"] == "stream"] == ["6 2\n"]
    assert "✓ load   1/1" in text(next(message for message in reversed(shown) if "data" in message))


def test_a_submitted_run_can_be_shown_without_waiting(cells: Cells) -> None:
    begun = cells.run("run = long.submit(n=8)\nrun.progress()")[0]
    # The kernel's own loop draws it, also while other cells run.
    shown = cells.run("import asyncio\nfrom dataflow import live\n_ = await asyncio.gather(*live._views.values())")
    later = [m for m in shown if m["transient"]["display_id"] == begun["transient"]["display_id"]]
    assert "✓ slow  8/8" in text(later[-1])


@pytest.mark.parametrize("cell", ["run.wait();", "_ = list(iter(lambda: run.state.is_final, True))"])
def test_a_cell_that_blocks_leaves_the_last_picture_of_a_run_that_was_shown_before_it(cells: Cells, cell: str) -> None:
    begun = cells.run("run = long.submit(n=8)\nrun.progress()")[0]
    last = cells.run(cell)[-1]  # of this cell: nbclient leaves out what comes after it
    assert last["transient"]["display_id"] == begun["transient"]["display_id"]
    assert "✓ slow  8/8" in text(last)
    assert cells.run("1")[0]["kind"] == "execute_result"  # it is shown no more


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_a_failure_shows_the_users_frames_only_and_names_their_cell(cells: Cells, executor: str) -> None:
    *shown, error = cells.run(f"etl.run(n=5, executor={executor!r})")
    told = ANSI.sub("", "\n".join(error["traceback"]))
    assert "etl.run(n=5" in told
    line = FLOW[: FLOW.index("raise ValueError")].count("\n")  # a kernel does not count the empty one at the top
    assert f'Cell In[1], line {line}, in clean\n        raise ValueError(f"row {{x}} has no price")' in told
    assert str(ROOT / "dataflow") not in told
    assert len(told.splitlines()) <= 20
    assert "✕ clean  4/5 · 1 failed" in text(shown[-1])
    assert "clean [3]: failed: ValueError: row 3 has no price" in text(shown[-1])
    (broken,) = cells.run("get_run('@last')['clean'][3].result()")
    assert str(ROOT / "dataflow") not in ANSI.sub("", "\n".join(broken["traceback"]))
    assert "Cell In[1], line" in broken["evalue"]


def test_what_a_flows_body_raises_is_told_in_the_users_frames_only(cells: Cells) -> None:
    cells.run("@flow\ndef broken():\n    return {}['price']")
    for call in ("broken()", "broken.run()", "await broken.arun()"):
        (error,) = cells.run(call)
        assert error["ename"] == "KeyError"
        assert str(ROOT / "dataflow") not in ANSI.sub("", "\n".join(error["traceback"]))


def test_what_cannot_be_sent_is_named_without_the_way_to_it(cells: Cells) -> None:
    cells.run("lock = threading.Lock()\n@task\ndef guarded(x):\n    with lock:\n        return x\n")
    cells.run("@flow\ndef guards(x):\n    return guarded(x)")
    (error,) = [m for m in cells.run("guards.run(1, executor='processes')") if m["kind"] == "error"]
    assert "task 'guarded' uses the variable 'lock'" in error["evalue"]
    assert len(ANSI.sub("", "\n".join(error["traceback"])).splitlines()) <= 6


def test_names_and_indices_complete_by_tab(cells: Cells) -> None:
    cells.run("run = etl.run(n=2); kids = run['clean']")
    assert cells.matches('run["cl') == ["clean"]
    assert cells.matches("kids[") == ["0", "1"]


def test_a_flow_a_task_run_and_log_lines_show_themselves(cells: Cells) -> None:
    (flow,) = cells.run("etl")
    assert 'src="data:image/svg+xml;base64,' in flow["data"]["text/html"]
    assert text(flow).startswith("Flow(etl(n: int = 3))\netl: 3 tasks")
    cells.run("run = etl.run(n=2)")
    (child,) = cells.run("run['clean'][1]")
    assert "clean[1]" in child["data"]["text/html"]
    assert ">2</pre>" in child["data"]["text/html"]
    (lines,) = cells.run("run.logs()")
    assert re.search(r"^\d\d:\d\d:\d\d\.\d{3} INFO  fetch\[[01]\]  got [01]$", text(lines), re.MULTILINE)
    (table,) = cells.run("run.to_frame()")
    assert "<table" in table["data"]["text/html"]


def test_the_picture_can_be_switched_off(cells: Cells) -> None:
    assert cells.run("import dask\nwith dask.config.set({'dataflow.notebook.progress': False}): etl.run(n=2)") == []


def test_the_command_line_is_a_magic(cells: Cells) -> None:
    shown = cells.run("%load_ext dataflow\netl.run(n=2)\n%dataflow show @last/clean -o json")
    assert '"clean"' in "".join(message["text"] for message in shown if message["kind"] == "stream")
    told = cells.run("%dataflow lss")
    assert "did you mean 'dataflow ls'?" in "".join(message["text"] for message in told if message["kind"] == "stream")
    assert cells.run("%dataflow show '@last'")  # quoted as in a shell


def test_a_terminals_ipython_shows_the_same_in_text(tmp_path: Path) -> None:
    script = tmp_path / "shown.ipy"
    script.write_text(
        f"{FLOW}\n%load_ext dataflow\ndisplay(etl(n=2), etl.run(n=2))\n%dataflow ls --failed\netl.run(n=5)"
    )
    path = os.pathsep.join(str(ROOT / part) for part in (".", "executors", "storage"))
    ran = subprocess.run(
        [sys.executable, "-m", "IPython", "--colors=NoColor", str(script)],
        env={**os.environ, "PYTHONPATH": path, "IPYTHONDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 1
    assert "clean  ×2  ← fetch" in ran.stdout
    assert "✓ clean  2/2" in ran.stdout
    assert "no runs" in ran.stdout + ran.stderr
    assert re.search(r"Cell In\[1\], line \d+, in clean\n +raise ValueError", ran.stdout + ran.stderr)
