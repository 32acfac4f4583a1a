"""Executors in programs of their own: their end, Ctrl-C, scripts without a guard."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.executors.bodies import ENVIRONMENT


class TestPrograms:
    """In processes of their own, as people run them."""

    def run(self, *args: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *args], env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False, **options
        )

    def test_the_end_is_quiet_and_quick(self) -> None:
        ended = self.run("-m", "tests.executors.scripts", "ends")
        assert ended.stderr == ""
        assert ended.stdout.splitlines() == [
            "Done(fragment=1, lost={})",
            "closed, body runs: False",
            "Done(fragment=3, lost={})",
        ]
        assert ended.returncode == 0

    def test_ctrl_c_is_left_to_the_driver(self) -> None:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.executors.scripts", "interrupted"],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert [*lines, *out.splitlines(keepends=True)] == [
            "Sent(payload='begins')\n",
            "heard [2]\n",
            "Done(fragment=1, lost={}) {'a': 7}\n",
            "closed\n",
        ]
        assert err == ""

    def test_a_script_without_a_guard_is_told(self, tmp_path: Path) -> None:
        script = tmp_path / "mine.py"
        script.write_text(
            "from dataflow_executors import DaskExecutor\n\nexecutor = DaskExecutor(workers=2)\nexecutor.start(print)\n"
        )
        ended = self.run(str(script))
        assert ended.returncode == 1
        last = ended.stderr.splitlines()[-1]
        assert last.startswith(f"dataflow_executors.base.NoMainGuard: {script}, line 4, starts worker processes")
        assert 'if __name__ == "__main__":' in last
        assert ended.stderr.count("NoMainGuard:") == 1

    def test_a_script_without_a_guard_that_starts_it_elsewhere(self, tmp_path: Path) -> None:
        (tmp_path / "helper.py").write_text(
            "import threading\nfrom dataflow_executors import DaskExecutor\n\ndef go():\n"
            "    thread = threading.Thread(target=DaskExecutor(workers=1).start, args=(print,))\n"
            "    thread.start()\n    thread.join()\n"
        )
        script = tmp_path / "mine.py"
        script.write_text("import helper\n\nhelper.go()\n")
        assert "mine.py, line 3, starts worker processes" in self.run(str(script)).stderr

    def test_import_is_light(self) -> None:
        code = (
            "import sys, dataflow_executors, dataflow_executors.base, dataflow_executors.blobs\n"
            "print(sorted({'dask', 'distributed', 'cloudpickle', 'asyncio'} & set(sys.modules)))"
        )
        assert self.run("-c", code).stdout == "[]\n"
