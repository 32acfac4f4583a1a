"""When a result of an earlier run may be used again: the `cache` option of a task."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from dataflow.errors import OptionError
from dataflow.retries import as_seconds


@dataclass(frozen=True, kw_only=True)
class Cache:
    """A task's caching, checked. `cache` makes one.

    Parameters
    ----------
    expires : float or None
        Seconds after which a result is not used any more.
    ignore : tuple of str
        Arguments that do not count.
    key : callable or None
        Makes what counts instead of the arguments.
    version : str or None
        Counts instead of the code.
    scope : str
        ``"everywhere"``, ``"flow"``, or any other name that sets results apart.
    """

    expires: float | None = None
    ignore: tuple[str, ...] = ()
    key: Callable[[Mapping[str, object]], object] | None = None
    version: str | None = None
    scope: str = "everywhere"


def cache(
    *,
    expires: float | timedelta | None = None,
    ignore: Sequence[str] = (),
    key: Callable[[Mapping[str, object]], object] | None = None,
    version: str | None = None,
    scope: str = "everywhere",
) -> Cache:
    """Say how a task's results are used again: ``@task(cache=cache(expires=timedelta(days=1)))``.

    A result is used again for the same task, the same code and the same inputs, by any run that shares the result
    store.

    Parameters
    ----------
    expires : float or timedelta, optional
        Seconds (more than 0) after which a result is not used any more.
    ignore : sequence of str
        Names of arguments that do not count.
    key : callable(arguments) -> value, optional
        Makes, of a dict of the arguments' values, what counts instead of them.
    version : str, optional
        Counts instead of the code: results stay good until it changes.
    scope : str
        ``"everywhere"`` (default), ``"flow"`` for runs of the same flow only, or a name that sets results apart.

    Raises
    ------
    OptionError
        A value is not what the option takes.

    Examples
    --------
    >>> cache(expires=timedelta(hours=1), ignore=["verbose"])
    Cache(expires=3600.0, ignore=('verbose',), key=None, version=None, scope='everywhere')
    """
    seconds = None if expires is None else as_seconds(expires)
    if expires is not None and not seconds:
        raise OptionError("cache", "expires", expires, "seconds (more than 0) or a timedelta")
    if isinstance(ignore, str) or not all(isinstance(name, str) for name in ignore):
        raise OptionError("cache", "ignore", ignore, "a list of names of arguments")
    if key is not None and not callable(key):
        raise OptionError("cache", "key", key, "a callable(arguments)")
    if key is not None and ignore:
        raise OptionError("cache", "ignore", ignore, "nothing where key= says what counts")
    for name, text in (("version", version), ("scope", scope)):
        if not (isinstance(text, str) and text) and not (name == "version" and text is None):
            raise OptionError("cache", name, text, "a text")
    return Cache(expires=seconds, ignore=tuple(ignore), key=key, version=version, scope=scope)
