"""Reads the files and modules that have flows, as a script's own folder would, and without running what runs them.

State: `_loaded`, what was read from files: it may be read again; `_reading`, how many this thread is reading now.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import sysconfig
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from dataflow.errors import DataflowError, FlowNotFound, RunWhileLoading, did_you_mean

_loaded: dict[str, ModuleType] = {}
_reading = threading.local()


class FlowNotLoaded(DataflowError, ImportError):
    """A file or module with flows raised while it was read. `.report` has the user's own frames."""

    def __init__(self, what: str, error: BaseException) -> None:
        self.report = _user_text(error)
        super().__init__(f"{what} cannot be loaded: {type(error).__name__}: {error}")


def is_file(where: str) -> bool:
    """Whether a person means a file, not a module."""
    return where.endswith(".py") or os.sep in where or Path(where).is_file()


def load_file(given: str) -> ModuleType:
    """Read a file as a module of its own name; what it runs under `__main__` does not run."""
    path = Path(given)
    if not path.is_file():
        near = [str(other) for other in path.parent.glob("*.py")] if path.parent.is_dir() else []
        what = "is a folder" if path.is_dir() else "does not exist"
        raise FlowNotFound(f"file {given!r} {what}.{did_you_mean(str(path), near)}")
    path = path.resolve()
    name, root = _module_name(path)
    _add_to_path(root)
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise FlowNotFound(f"file {given!r} is no Python file: its name does not end in .py.")
    module = importlib.util.module_from_spec(spec)
    known = set(sys.modules)
    before = sys.modules.get(name)
    sys.modules[name] = module
    try:
        with _reported(f"file {given!r}"):
            if "." in name:
                importlib.import_module(name.rpartition(".")[0])
            # Not the loader's own exec_module: that writes a __pycache__ beside the file and trusts one that is there.
            exec(compile(path.read_bytes(), str(path), "exec", dont_inherit=True), module.__dict__)
    except BaseException:
        sys.modules.pop(name, None)
        if before is not None:
            sys.modules[name] = before
        raise
    _loaded[name] = module
    _by_value([name, *(set(sys.modules) - known)], root)
    return module


def load_module(name: str) -> ModuleType:
    """Import a module, also one beside the working directory."""
    here = Path.cwd()
    _add_to_path(here)
    known = set(sys.modules)
    try:
        found = importlib.util.find_spec(name) if all(part.isidentifier() for part in name.split(".")) else None
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise FlowNotLoaded(f"module {name!r}", error) from error
        found = None
    except Exception as error:  # a parent package raised, or this is no name of a module
        raise FlowNotLoaded(f"module {name!r}", error) from error
    if found is None:
        nearby = did_you_mean(name, [path.stem for path in here.glob("*.py")]).replace("'?", ".py'?")
        hint = nearby or " Give a file, such as flows.py:etl, or a module that Python finds."
        raise FlowNotFound(f"there is no file and no module {name!r}.{hint}")
    with _reported(f"module {name!r}"):
        module = importlib.import_module(name)
    _by_value([name, *(set(sys.modules) - known)], here)
    return module


def _module_name(path: Path) -> tuple[str, Path]:
    """Its dotted name, as the packages around it give it, and the folder that this name starts from."""
    parts, folder = [path.stem], path.parent
    while (folder / "__init__.py").is_file() and folder.name.isidentifier():
        parts.insert(0, folder.name)
        folder = folder.parent
    name = ".".join(parts)
    taken = sys.modules.get(name)
    strange = taken is not None and taken is not _loaded.get(name) and getattr(taken, "__file__", None) != str(path)
    # A file called json.py or dataflow.py does not stand in for the module that everybody else means.
    if strange or parts[0] in sys.stdlib_module_names:
        return f"flows_of_{path.stem}", path.parent
    return name, folder


def _add_to_path(folder: Path) -> None:
    """Let the folder's modules be found, after those of Python itself: worker processes inherit the path, and a
    `json.py` beside the file would break each of them."""
    if str(folder) in sys.path:
        return
    library = sysconfig.get_path("stdlib")
    places = [n for n, path in enumerate(sys.path) if path.startswith(library) and not path.endswith("-packages")]
    sys.path.insert(places[-1] + 1 if places else 0, str(folder))


def _by_value(names: list[str], root: Path) -> None:
    """Functions of these modules travel whole, where the modules are the user's own."""
    import cloudpickle

    installed = [Path(path) for key, path in sysconfig.get_paths().items() if key in ("stdlib", "purelib", "platlib")]
    for name in names:
        module = sys.modules.get(name)
        file = getattr(module, "__file__", None)
        if module is None or not isinstance(file, str):
            continue
        path = Path(file).resolve()
        if path.is_relative_to(root) and not any(path.is_relative_to(folder) for folder in installed):
            cloudpickle.register_pickle_by_value(module)


@contextmanager
def _reported(what: str) -> Iterator[None]:
    _reading.depth = getattr(_reading, "depth", 0) + 1
    try:
        yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise FlowNotLoaded(what, error) from error
    finally:
        _reading.depth -= 1


def refuse_runs(flow: str) -> None:
    """Raise `RunWhileLoading` where a file is being read only for its flows."""
    if getattr(_reading, "depth", 0):
        raise RunWhileLoading(flow)


def _user_text(error: BaseException) -> str:
    """The traceback with the user's own frames, where there are any."""
    told = traceback.TracebackException.from_exception(error, compact=True)
    ours = ("<frozen", os.path.dirname(__file__) + os.sep)
    others = tuple(sysconfig.get_paths()[key] + os.sep for key in ("stdlib", "purelib", "platlib"))
    part: traceback.TracebackException | None = told
    while part is not None:
        frames = [frame for frame in part.stack if not frame.filename.startswith(ours)]
        own = [frame for frame in frames if not frame.filename.startswith(others)]
        part.stack = traceback.StackSummary.from_list(own or frames)
        part = part.__cause__ or part.__context__
    text = "".join(told.format())
    return text if told.stack else text.replace("Traceback (most recent call last):\n", "")
