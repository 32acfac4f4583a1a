"""JupyterLab in a real browser: what a person sees who opens a notebook, runs it, and presses the button."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from tests.pictures import graph_of, report
from tests.storage.servers import Server, ServerMissing, free_ports, or_skip

if TYPE_CHECKING:
    from playwright.sync_api import Page

ROOT = Path(__file__).resolve().parent.parent
FLOW = """\
import threading
from dataflow import flow, get_run, task

@task
def slow(x):
    threading.Event().wait(0.1)
    return x

@flow
def long(n: int = 8):
    return slow.map(range(n))

long
"""
OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
SLOW = 60_000  # milliseconds for one thing to be seen, on a machine that does much else


def browser() -> str:
    """Where Chromium is."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        raise ServerMissing("there is no chromium: install it, as `make test` does for root on Debian")
    return found


def lab(folder: Path) -> Server:
    """JupyterLab on a folder, with nothing of the person who runs the tests."""
    browser()
    (port,), token = free_ports(1), secrets.token_hex()
    command = [
        sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser", "--ip=127.0.0.1", f"--port={port}",
        "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={folder}",
    ]  # fmt: skip
    own = {
        name: str(folder / name.lower()) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
    }
    settings = Path(own["JUPYTER_CONFIG_DIR"], "lab/user-settings/@jupyterlab/apputils-extension")
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text('{"fetchNews": "false", "checkForUpdates": false}')
    path = os.pathsep.join(str(ROOT / part) for part in (".", "executors", "storage"))
    environment = {**own, "IPYTHONDIR": str(folder / "ipython"), "PYTHONPATH": path}
    server = Server("http", port, command, folder, {"token": token}, environment)
    server.start()
    return server


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    """JupyterLab with a notebook that comes from elsewhere, and so is not trusted: it shows a graph."""
    shown = [graph_of(report("monday"))._repr_mimebundle_(), {"text/html": "<svg><circle id='stripped'/></svg>foreign"}]
    cells: list[Any] = [
        nbformat.v4.new_code_cell(FLOW, outputs=[nbformat.v4.new_output("display_data", one) for one in shown]),
        nbformat.v4.new_code_cell("long.run(n=2_000)"),
        nbformat.v4.new_code_cell("run = long.submit(n=20)\nrun.progress()"),
    ]
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}  # else it asks which
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=kernel), tmp_path / "flow.ipynb")
    server = or_skip(lab, tmp_path)
    from playwright.sync_api import sync_playwright

    try:
        with (
            sync_playwright() as playwright,
            playwright.chromium.launch(executable_path=browser(), args=OPTIONS) as chromium,
        ):
            made = chromium.new_page()
            made.set_default_timeout(SLOW)
            made.goto(f"http://127.0.0.1:{server.port}/lab/tree/flow.ipynb?token={server.options['token']}")
            yield made
    finally:
        server.stop()


def test_a_notebook_shows_pictures_though_not_trusted_goes_live_and_is_interrupted(page: Page) -> None:
    from playwright.sync_api import expect

    expect.set_options(timeout=SLOW)
    page.get_by_text("foreign").wait_for()
    page.get_by_text("Python 3 (ipykernel) | Idle").wait_for()  # else a cell is not run, without a word
    graph, blocking, submitted = page.locator(".jp-CodeCell").all()
    picture = graph.locator("img[src^='data:image/svg+xml']")
    assert graph.locator("#stripped").count() == 0  # so it is not trusted
    assert picture.evaluate("image => image.decode().then(() => image.naturalWidth > 100 && image.clientHeight > 40)")

    run_next = page.locator("[data-command='notebook:run-cell-and-select-next']")
    run_next.click()
    expect(graph.locator(".jp-InputPrompt")).to_have_text("[1]:")
    run_next.click()
    view = blocking.locator(".jp-OutputArea-output").first
    expect(view).to_contain_text(re.compile(r"· [1-9]\d* % ·"))
    begun = view.inner_text().splitlines()[0]
    expect(view).not_to_contain_text(begun)
    expect(view).to_contain_text(re.compile(r"· \d+ % ·"))
    page.locator("[data-command='notebook:interrupt-kernel']").click()
    expect(view).to_contain_text("cancelled by the interrupt button")
    expect(blocking).to_contain_text("RunFailed")

    run_next.click()
    expect(submitted).to_contain_text("20/20")  # when the cell itself has ended
    assert submitted.locator(".jp-OutputArea-output").count() == 1
