"""Completion: the words that fit, in a real shell, and without importing anything that takes time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.cli.conftest import Call, Said

from tests.cli.conftest import environment
from tests.cli.screen import Terminal
from tests.cli.working import last


@pytest.fixture
def ask(cli: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words of the command that shells call."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return cli("completion", "words").out.splitlines()


def offered(ask: list[str], line: str) -> list[str]:
    done = subprocess.run([*ask, "zsh", line], capture_output=True, text=True, check=True)
    return [told.partition("\t")[0] for told in done.stdout.splitlines()]


def test_what_is_offered(ask: list[str], failed: Said) -> None:
    run = last()
    assert offered(ask, "dataflow re") == ["resume", "retry", "rerun", "recover", "result", "results"]
    assert offered(ask, "dataflow results ") == ["ls"]
    assert offered(ask, "dataflow run --ref") == ["--refresh", "--refresh-all"]
    assert "flows.py:etl" in offered(ask, "dataflow run fl")
    assert offered(ask, "dataflow run flows.py:e") == ["flows.py:etl"]
    assert offered(ask, "dataflow run flows.py:etl -p ") == ["n=", "bad=", "region="]
    assert offered(ask, "dataflow run flows.py:etl -p region=") == ["region=eu", "region=us"]
    assert offered(ask, "dataflow run flows.py:typed -p colour=r") == ["colour=red"]
    assert offered(ask, "dataflow run flows.py:typed -p on=") == ["on=true", "on=false"]
    assert offered(ask, "dataflow run flows.py:etl --refresh tr") == ["transform"]
    assert offered(ask, "dataflow run flows.py:etl --output=j") == ["--output=json", "--output=jsonl"]
    assert offered(ask, f"dataflow show {run.name[:3]}") == [run.name]
    assert offered(ask, f"dataflow inspect {run.id[:4]}")[-1:] == [run.id], "also by another name of the verb"
    assert offered(ask, "dataflow show @last/") == ["@last/extract", "@last/transform", "@last/load"]
    assert offered(ask, "dataflow retry @last-failed --from e") == ["extract"]
    assert offered(ask, "dataflow rerun @last -p n") == ["n="]
    assert offered(ask, "dataflow ls --flow ") == ["etl"]
    assert offered(ask, "dataflow ls --state f") == ["failed"]
    assert offered(ask, "dataflow logs @last --level w") == ["warning"]


def test_nothing_heavy_is_imported(ask: list[str], failed: Said) -> None:
    python, *rest = ask
    for line in ("dataflow show @last/", "dataflow run flows.py:etl -p re"):
        told = subprocess.run(
            [python, "-X", "importtime", *rest, "zsh", line], capture_output=True, text=True, check=True
        )
        names = {one.rpartition("|")[2].strip() for one in told.stderr.splitlines()}
        assert told.stdout
        assert not names & {"dataflow", "click", "site", "sqlalchemy", "asyncio", "inspect", "typing_extensions"}


def test_bash_completes(script: list[str], ran: Said, folder: Path, cli: Call) -> None:
    (folder / "dataflow").write_text(f'#!/bin/sh\nexec {script[0]} {script[1]} "$@"\n')
    (folder / "dataflow").chmod(0o755)
    (folder / "setup.bash").write_text(f"PS1='ready> '\nPATH=.:$PATH\n{cli('completion', 'show', 'bash').out}")
    with Terminal(["bash", "--rcfile", "setup.bash", "-i"], folder, XDG_CACHE_HOME=str(folder / "cache")) as terminal:
        terminal.until("ready>")
        terminal.press(b"dataflow hist\t")
        terminal.until("dataflow history")
        terminal.press(b"@last/tr\t")
        terminal.until("@last/transform")
        terminal.press(b"\x15dataflow run flows.py:et\t-p reg\t")
        terminal.until("dataflow run flows.py:etl -p region=")
        terminal.press(b"u\t")
        terminal.until("region=us")


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(script: list[str], ran: Said, folder: Path, cli: Call) -> None:
    (folder / "dataflow").write_text(f'#!/bin/sh\nexec {script[0]} {script[1]} "$@"\n')
    (folder / "dataflow").chmod(0o755)
    (folder / "setup.fish").write_text(f"set PATH . $PATH\n{cli('completion', 'show', 'fish').out}")
    line = "source setup.fish; complete -C 'dataflow run flows.py:etl -p region='"
    told = subprocess.run(
        ["fish", "--no-config", "-c", line], capture_output=True, text=True, cwd=folder, check=True, env=environment()
    )
    assert [one.partition("\t")[0] for one in told.stdout.splitlines()] == ["region=eu", "region=us"]


def test_the_script_for_powershell_is_whole(cli: Call) -> None:
    text = cli("completion", "show", "powershell").out
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "", text)
    assert all(bare.count(first) == bare.count(last) > 0 for first, last in ("()", "[]", "{}"))
    assert "& $at completion words" in bare
    assert "& $command @arguments powershell $line" in bare


@pytest.mark.skipif(shutil.which("pwsh") is None, reason="PowerShell is not installed")
def test_powershell_completes(script: list[str], ran: Said, folder: Path, cli: Call, tmp_path: Path) -> None:
    (folder / "dataflow").write_text(f'#!/bin/sh\nexec {script[0]} {script[1]} "$@"\n')
    (folder / "dataflow").chmod(0o755)
    ask = "$l = 'dataflow run flows.py:etl -p region='; (TabExpansion2 $l $l.Length).CompletionMatches.CompletionText"
    (folder / "try.ps1").write_text(f"{cli('completion', 'show', 'powershell').out}\n{ask}\n")
    env = environment(PATH=f"{folder}:{os.environ['PATH']}", XDG_CACHE_HOME=str(tmp_path / "cache"))
    line = ["pwsh", "-NoProfile", "try.ps1"]
    told = subprocess.run(line, capture_output=True, text=True, cwd=folder, check=True, env=env)
    assert told.stdout.split() == ["region=eu", "region=us"]


def test_install_writes_once(cli: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    script = tmp_path / ".local/share/dataflow/completion.bash"
    assert cli("completion", "install", "--shell", "bash", "--dry-run").out.splitlines() == [
        f"would write {script}",
        f"would write a line in {tmp_path / '.bashrc'}",
    ]
    assert not script.exists()
    for _ in range(2):
        assert cli("completion", "install", "--shell", "bash").code == 0
    assert (tmp_path / ".bashrc").read_text().count("source ") == 1
    assert "complete -o default -F _dataflow dataflow" in script.read_text()
    monkeypatch.setenv("SHELL", "/usr/bin/pwsh")
    cli("completion", "install")
    assert (tmp_path / ".config/powershell/profile.ps1").read_text().endswith('completion.ps1"\n')
    monkeypatch.setenv("SHELL", "/bin/tcsh")
    assert "hint: --shell bash" in cli("completion", "install").err
