"""What Dask could not do, told in our words: which tasks killed their worker, why one was lost, what cannot be sent."""

from __future__ import annotations

from collections.abc import Mapping

from dataflow.errors import NotPortable


def blamed(lost: Mapping[str, BaseException]) -> dict[str, str]:
    """Keys whose worker died under them, as Dask tells."""
    blamed: dict[str, str] = {}
    for error in lost.values():
        key = getattr(error, "task", None)
        if key is not None and type(error).__name__ == "KilledWorker":
            blamed[str(key)] = f"its worker died while it ran ({getattr(error, 'last_worker', 'unknown')})"
    return blamed


def reason(lost: Mapping[str, BaseException]) -> str:
    """Why a task run was lost, as far as it is known."""
    for error in lost.values():
        return f"Dask could not finish it: {type(error).__name__}: {error}"
    return "Dask finished it, but its outcome never arrived"


def portable(made: object) -> bytes:
    """An object pickled; raises `NotPortable` with the task's name, and the variable that cannot be sent."""
    from dataflow.pickles import dumps

    try:
        return dumps(made)
    except Exception as error:
        name = getattr(made, "name", None) or str(getattr(made, "key", "")).rpartition("-")[0].rpartition("-")[0]
        function = getattr(made, "fn", None)
        variable = None if function is None else stuck(function)
        raise NotPortable(str(name or type(made).__name__), variable, str(error)) from error


def stuck(function: object, known: frozenset[int] = frozenset()) -> str | None:
    """The variable that a function uses and that cannot be sent with it, if that is what is wrong.

    >>> import threading
    >>> lock = threading.Lock()
    >>> def guard():
    ...     with lock:
    ...         pass
    >>> stuck(lambda: guard())
    'lock'
    """
    import inspect

    import cloudpickle

    if not inspect.isfunction(function) or id(function) in known:
        return None
    used = inspect.getclosurevars(function)
    for name, value in {**used.globals, **used.nonlocals}.items():
        try:
            cloudpickle.dumps(value)
        except Exception:
            return stuck(value, known | {id(function)}) or name
    return None
