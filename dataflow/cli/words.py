"""What may stand where the cursor is: the words that the shells offer. Run as a script, by path, at each press of Tab.

    python -I -S words.py TABLE SHELL LINE [BREAKS]

It imports nothing but small parts of the standard library, and nothing of dataflow, so that it answers in the time
that an interpreter needs to start. What verbs there are stands in the JSON file TABLE; flows and parameters are read
from the source of the file that is named, which is not run; runs and tasks from the record, if that is a SQLite file.

LINE is the command line up to the cursor; BREAKS, of bash alone, the signs that part words there. Each line that is
printed is a word and, but for bash, a tab and what it means; nothing at all lets the shell offer files.
"""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

MOST = 50
STATES = ("pending", "running", "paused", "success", "failed", "cancelled", "crashed")
LEVELS = ("debug", "info", "warning", "error", "critical")
EXECUTORS = ("sync", "threads", "processes", "threads:4", "processes:4")
Words = list[tuple[str, str]]


def split(line: str) -> list[str]:
    """The words of an unfinished line, the last of which is being written; quotes are taken away.

    >>> split("dataflow show 'a b' @l"), split("dataflow run ")
    (['dataflow', 'show', 'a b', '@l'], ['dataflow', 'run', ''])
    """
    words, word, quote = [], "", ""
    for letter in line:
        if quote:
            word, quote = (word, "") if letter == quote else (word + letter, quote)
        elif letter in "'\"":
            quote = letter
        elif letter.isspace():
            words += [word] if word else []
            word = ""
        elif letter != "\\":
            word += letter
    return [*words, word]


def offered(table: dict[str, Any], line: str) -> Words:
    """The words that fit at the end of this line, in the order in which they are shown."""
    _, *before, current = split(line)
    verb, arguments, open_option = table, list[str](), None
    for word in before:
        if open_option is not None:
            open_option = None
        elif word.startswith("-"):
            found = next((one for one in verb.get("options", ()) if word in one["names"]), None)
            open_option = found if found is not None and found["takes"] else None
        elif word := table["aliases"].get(word, word) if verb is table else word:
            if word in verb.get("verbs", {}):
                verb = verb["verbs"][word]
            else:
                arguments.append(word)
    if open_option is not None:
        return fitting(values(table, open_option["takes"], arguments, current), current)
    name, equals, value = current.partition("=")
    if current.startswith("--") and equals:
        takes = next((one["takes"] for one in verb.get("options", ()) if name in one["names"]), None)
        return [(f"{name}={word}", told) for word, told in fitting(values(table, takes, arguments, value), value)]
    if current.startswith("-"):
        return fitting([(n, one["help"]) for one in verb.get("options", ()) for n in one["names"][-1:]], current)
    if verb.get("verbs"):
        return fitting([(one, found["help"]) for one, found in verb["verbs"].items()], current)
    kinds = verb.get("arguments", [])
    kind = kinds[min(len(arguments), len(kinds) - 1)] if kinds else None
    return fitting(values(table, kind, arguments, current), current)


def fitting(words: Words, current: str) -> Words:
    """Those that begin like this."""
    return [(word, told) for word, told in words if word.startswith(current)]


def values(table: dict[str, Any], kind: Any, arguments: list[str], current: str) -> Words:
    """What a value of some kind may be: a list of choices, or the name of a kind."""
    if isinstance(kind, list):
        return [(word, "") for word in kind]
    fixed = {"STATE": STATES, "LEVEL": LEVELS, "WHERE": EXECUTORS}.get(kind)
    if fixed:
        return [(word, "") for word in fixed]
    if kind == "FILE[:FLOW]":
        return flows(current)
    if kind == "NAME=VALUE":
        return parameters(table, arguments, current)
    if kind == "RUN" or (kind == "RUN/TASK" and "/" not in current):
        return runs(table, current)
    if kind == "RUN/TASK":
        run, _, _ = current.partition("/")
        return [(f"{run}/{task}", told) for task, told in tasks(table, run)]
    if kind == "TASK":
        where = arguments[0] if arguments else ""
        return tasks_in(where) if ".py" in where else tasks(table, where.partition("/")[0])
    if kind == "FLOW":
        rows = query(table, "select flow, count(*) from runs group by flow order by max(created) desc limit ?", MOST)
        return [(flow, f"{count} runs") for flow, count in rows]
    return []


def query(table: dict[str, Any], sql: str, *given: object) -> list[Any]:
    """Rows of the record of runs; none where it cannot be read."""
    import sqlite3

    url = os.environ.get("DASK_DATAFLOW__RUNS__URL") or table.get("runs") or ""
    home = os.environ.get("DATAFLOW_HOME") or table.get("home") or "~/.dataflow"
    path = os.path.expanduser(url or os.path.join(home, "runs.db"))
    path = "/" + path.removeprefix("sqlite:").lstrip("/") if path.startswith("sqlite:") else path
    if not os.path.isfile(path):
        return []
    try:
        connection = sqlite3.connect(path, timeout=0.2)
        try:
            connection.execute("pragma query_only = 1")
            return connection.execute(sql, given).fetchall()
        finally:
            connection.close()
    except sqlite3.Error:
        return []


def runs(table: dict[str, Any], current: str) -> Words:
    """Runs by name, and by id where the word looks like one; the newest first."""
    rows = query(table, "select name, id, flow, state from runs order by created desc limit ?", MOST)
    found = [(name, f"{flow} {state.lower()}") for name, _, flow, state in rows]
    if current and set(current) <= set("0123456789abcdef"):
        like = "select id, flow, state from runs where id >= ? and id < ? order by created desc limit ?"
        found += [
            (one, f"{flow} {state.lower()}") for one, flow, state in query(table, like, current, f"{current}g", MOST)
        ]
    return [*found, ("@last", "the newest run"), ("@last-failed", "the newest that failed")] if rows else []


def tasks(table: dict[str, Any], run: str) -> Words:
    """The tasks of a run on record."""
    rows: list[Any] = []
    if run == "@last":
        rows = query(table, "select id from runs order by created desc limit 1")
    elif run == "@last-failed":
        bad = "select id from runs where state in ('Failed', 'Crashed') order by created desc limit 1"
        rows = query(table, bad)
    elif run:
        rows = query(table, "select id from runs where name = ? or (id >= ? and id < ?) limit 1", run, run, f"{run}g")
    of_run = "select path, width from nodes where run_id = ? and kind != 'internal' order by position limit 500"
    found = query(table, of_run, rows[0][0]) if rows else []
    return [(path, "" if width is None else f"{width} children") for path, width in found]


def parsed(where: str) -> Any:
    """The source of `FILE[:FLOW]`, which is not run; None where it cannot be read."""
    import ast

    try:
        with open(os.path.expanduser(where.partition(":")[0]), encoding="utf-8") as file:
            return ast.parse(file.read())
    except (OSError, SyntaxError, ValueError):
        return None


def marked(tree: Any, mark: str) -> list[Any]:
    """The functions of a module that are decorated as flows, or tasks."""
    return [
        one for one in getattr(tree, "body", ()) if any(_name(d) == mark for d in getattr(one, "decorator_list", ()))
    ]


def _name(decorator: Any) -> str:
    while not hasattr(decorator, "id") and not hasattr(decorator, "attr"):
        if not hasattr(decorator, "func"):
            return ""
        decorator = decorator.func
    return str(getattr(decorator, "attr", None) or decorator.id)


def flows(current: str) -> Words:
    """The files here that have flows; with a colon, the flows of that file."""
    where, colon, _ = current.partition(":")
    if colon:
        return [(f"{where}:{one.name}", "flow") for one in marked(parsed(where), "flow")]
    folder = os.path.dirname(where)
    try:
        names = sorted(os.listdir(folder or "."))
    except OSError:
        return []
    found: Words = []
    for name in names:
        path = os.path.join(folder, name)
        if not path.startswith(where) or name.startswith("."):
            continue
        if os.path.isdir(path):
            found.append((f"{path}/", "folder"))
        elif name.endswith(".py"):
            inside = marked(parsed(path), "flow")
            found += [(path, "file")] if len(inside) == 1 else []
            found += [(f"{path}:{one.name}", "flow") for one in inside] if len(inside) > 1 else []
    return found


def tasks_in(where: str) -> Words:
    """The tasks that a file defines."""
    return [(one.name, "task") for one in marked(parsed(where), "task")]


def parameters(table: dict[str, Any], arguments: list[str], current: str) -> Words:
    """`name=` of each parameter of the flow; behind that, its values where they are few."""
    where = arguments[0] if arguments else ""
    if ".py" not in where:
        by_run = "select parameters from runs where name = ? limit 1"
        if where == "@last":
            by_run = "select parameters from runs where ? = '@last' order by created desc limit 1"
        rows = query(table, by_run, where)
        return [(f"{name}=", "") for name in json.loads(rows[0][0])] if rows else []
    import ast

    tree = parsed(where)
    wanted = where.partition(":")[2]
    found = next((one for one in marked(tree, "flow") if wanted in ("", one.name)), None)
    if found is None:
        return []
    name, equals, _ = current.partition("=")
    words: Words = []
    for one in [*found.args.posonlyargs, *found.args.args, *found.args.kwonlyargs]:
        kind = ast.unparse(one.annotation) if one.annotation else ""
        if not equals:
            words.append((f"{one.arg}=", kind))
        elif one.arg == name:
            words += [(f"{name}={value}", kind) for value in _few(tree, one.annotation, kind)]
    return words


def _few(tree: Any, annotation: Any, kind: str) -> list[str]:
    """The values of a bool, a Literal, or an Enum of the same file."""
    import ast

    if kind == "bool":
        return ["true", "false"]
    if re.match(r"(typing\.)?Literal\[", kind):
        inner = annotation.slice
        return [str(one.value) for one in getattr(inner, "elts", [inner]) if isinstance(one, ast.Constant)]
    made = next((one for one in tree.body if isinstance(one, ast.ClassDef) and one.name == kind), None)
    assigned = [one.value for one in getattr(made, "body", ()) if isinstance(one, ast.Assign)]
    is_enum = made is not None and any("Enum" in ast.unparse(base) for base in made.bases)
    return [str(one.value) for one in assigned if is_enum and isinstance(one, ast.Constant)]


def main(arguments: list[str]) -> None:
    """Print what is offered."""
    table_file, shell, line, *rest = arguments
    with open(table_file, encoding="utf-8") as file:
        table = json.load(file)
    # What bash replaces begins after a colon or an equals sign, if those part words; what is before stands.
    parting = [sign for sign in ":=" if sign in (rest[0] if rest else "")] if shell == "bash" else []
    cut = max((split(line)[-1].rfind(sign) + 1 for sign in parting), default=0)
    for word, told in offered(table, line):
        sys.stdout.write(f"{word[cut:]}\n" if shell == "bash" else f"{word}\t{' '.join(told.split())}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
