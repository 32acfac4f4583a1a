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
    """An object pickled; raises `NotPortable` with the task's name."""
    import cloudpickle

    try:
        return bytes(cloudpickle.dumps(made))
    except Exception as error:
        name = getattr(made, "name", None) or str(getattr(made, "key", "")).rpartition("-")[0].rpartition("-")[0]
        raise NotPortable(str(name or type(made).__name__), str(error)) from error
