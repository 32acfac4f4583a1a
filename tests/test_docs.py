"""The documents tell the truth: every block of code in them is run, in order, with one home for each document.

```` ```python ````            run; the blocks of a document share their names. With `>>>`, as a doctest.
```` ```python title=etl.py ```` written to that file, for the commands and blocks after it, and run by itself.
```` ```console ````           each `$ command` is run and must succeed; what stands below it must be printed, `…` fits
                               anything. `$ make …` is not run, since that is what runs this: its target must exist.
Any other fence must be in a language of `PLAIN`, or have `<!-- not run: why -->` on the line above it.
Links must lead somewhere.
"""

from __future__ import annotations

import doctest
import os
import re
import runpy
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
PLAIN = {"text", "mermaid", "dot", "svg", "json", "yaml", "toml", "sql"}
FENCE = re.compile(r"^(?P<mark>`{3,}|~{3,})(?P<info>[^\n`]*)\n(?P<body>.*?)^(?P=mark)[ \t]*$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: \S.* -->\n\Z")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block: its language, the file it names, its text, and the line of the document where the text starts."""

    language: str
    title: str | None
    body: str
    line: int


def blocks(text: str) -> list[Block]:
    """The blocks to run, in order.

    >>> [(b.language, b.title, b.line) for b in blocks("# A\\n```python title=a.py\\n1\\n```\\n```text\\nx\\n```\\n")]
    [('python', 'a.py', 3)]
    """
    found = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("body")) + 1
        words = match["info"].split()
        language = words[0] if words else ""
        if NOT_RUN.search(text[: match.start()]) or language in PLAIN:
            continue
        if language not in ("python", "console"):
            raise ValueError(f"line {line - 1}: a fence in {language or 'no language'!r} is neither run nor plain text")
        title = next((word.removeprefix("title=") for word in words[1:] if word.startswith("title=")), None)
        found.append(Block(language=language, title=title, body=match["body"], line=line))
    return found


def run_python(block: Block, names: dict[str, object], document: Path) -> None:
    if block.title is not None:
        Path(block.title).write_text(block.body, encoding="utf-8")
        runpy.run_path(block.title)
    elif ">>>" in block.body:
        test = doctest.DocTestParser().get_doctest(block.body, names, document.name, str(document), block.line - 1)
        runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
        outcome = runner.run(test, clear_globs=False)
        names.update(test.globs)
        assert outcome.failed == 0, f"{document.name}:{block.line}: its output is not what the document says"
    else:
        # Blank lines in front: a traceback names the document's own line, and shows it.
        exec(compile("\n" * (block.line - 1) + block.body, document, "exec"), names)


def commands(body: str) -> list[tuple[str, str]]:
    r"""Commands of a console block and what is said to be printed.

    >>> commands("$ a \\\n  b\nx\ny\n$ c\n")
    [('a \\\n  b', 'x\ny'), ('c', '')]
    """
    split = re.split(r"^\$ ((?:.*\\\n)*.*)\n?", body, flags=re.MULTILINE)
    assert not split[0].strip(), f"a console block starts with a command, not with {split[0]!r}"
    return [(command, said.strip("\n")) for command, said in zip(split[1::2], split[2::2], strict=True)]


def fits(said: str, printed: str) -> bool:
    """Whether output is what the document says: line ends apart, `…` fits anything.

    >>> fits("run … Success", "run brisk-otter  Success  \\n"), fits("a", "b")
    (True, False)
    """
    parts = [re.escape(" ".join(part.split())) for part in said.split("…")]
    return re.fullmatch(r"\s*" + ".*".join(parts) + r"\s*", " ".join(printed.split())) is not None


def run_console(block: Block, where: str) -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    path = os.pathsep.join(map(str, (ROOT, ROOT / "executors", ROOT / "storage")))
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": path}
    for command, said in commands(block.body):
        if command.startswith("make "):
            unknown = [word for word in command.split()[1:] if "=" not in word and word not in targets]
            assert not unknown, f"{where}:{block.line}: no such target: {unknown}"
            continue
        done = subprocess.run(command, shell=True, env=env, capture_output=True, text=True, timeout=300, check=False)
        printed = done.stderr + done.stdout
        told = f"{where}:{block.line}: $ {command}\nprinted:\n{printed}"
        assert done.returncode == 0, told
        # Progress goes to stderr: a document may show it or leave it out.
        assert not said or fits(said, done.stdout) or fits(said, printed), f"{told}\nsaid:\n{said}"


@pytest.mark.timeout(600)
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_code_runs(document: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    # What a newcomer has at hand in a clone.
    for folder in ("examples", "notebooks", "docs"):
        if (ROOT / folder).is_dir():
            Path(folder).symlink_to(ROOT / folder)
    monkeypatch.syspath_prepend(tmp_path / "cwd")
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks(document.read_text(encoding="utf-8")):
        if block.language == "python":
            run_python(block, names, document)
        else:
            run_console(block, document.name)
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]  # the next document may have a file of that name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    text = FENCE.sub("", document.read_text(encoding="utf-8"))
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"[a-z]+:|#", link)]
    broken = [link for link in links if not (document.parent / link.split("#")[0]).exists()]
    assert not broken
