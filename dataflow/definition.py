"""What a task is: a function, a name and a policy. Options are checked here, where they are written.

A Definition is shipped to workers once; its hooks stay with the driver.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING

from dataflow.cache import Cache
from dataflow.errors import OptionError, TargetError, UnknownOption
from dataflow.retries import NO_DELAY, Delay, always_zero, as_delay, as_seconds
from dataflow.templates import Template
from dataflow.triggers import Manual, Trigger, all_successful

if TYPE_CHECKING:
    from dataflow_storage import Serializer

Hook = Callable[[object, object], object]
SERIALIZERS = ("auto", "pickle", "json", "parquet", "arrow", "npy", "text", "bytes")


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The options of a task that its runs obey, checked and normalised."""

    retries: int = 0
    retry_delay: Delay = NO_DELAY
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    retry_if: Callable[[BaseException], bool] | None = None
    timeout: float | None = None
    isolation: str = "thread"
    trigger: Trigger = all_successful
    skip_on_upstream_skip: bool = True
    persist: bool = True
    target: Template | None = None
    serializer: str | Serializer = "auto"
    resources: Mapping[str, float] = field(default_factory=dict)
    priority: int = 0
    workers: tuple[str, ...] = ()
    batch: str | int | bool = "auto"
    log_prints: bool | None = None
    cache: Cache | None = None

    @property
    def may_defer(self) -> bool:
        """Whether a task run may end its Dask task before it is final, as far as the options tell."""
        return isinstance(self.trigger, Manual) or (self.retries > 0 and not always_zero(self.retry_delay))


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A function, what it is called, and its policy.

    Parameters
    ----------
    name : str
        What its nodes are called.
    fn : callable
        The plain function. For a deferred subflow, a callable that builds its graph.
    policy : Policy
        How its runs behave.
    version : str, optional
        Stands for the code's hash in identities, where given.
    builds : bool
        `fn` returns a graph that joins the run, not a value.
    internal : bool
        Ours, not the user's: an operator on a node, the shape of a subflow's outputs.
    outputs : int
        How many values it returns, so that they can be unpacked.
    """

    name: str
    fn: Callable[..., object]
    policy: Policy = Policy()
    version: str | None = None
    tags: tuple[str, ...] = ()
    description: str = ""
    builds: bool = False
    internal: bool = False
    outputs: int = 1
    hooks: Mapping[str, Hook] = field(default_factory=dict)

    @functools.cached_property
    def parts(self) -> Mapping[str, str]:
        """A digest for each function, class and constant that counts, by name; empty where the version counts."""
        from dataflow.code import parts  # only runs need it: `import dataflow` stays light

        return {} if self.version is not None else parts(self.fn)

    @functools.cached_property
    def code(self) -> str:
        """Identity of the code: the version where given, else a hash of the function (16 hex digits)."""
        from dataflow.code import hash_of

        return self.version if self.version is not None else hash_of(self.parts)

    def shipped(self) -> Definition:
        """The copy that travels to workers: without hooks, and with the code's identity as it is here and now."""
        copy = replace(self, hooks={})
        # Cached properties travel: a worker may see less of the function's module, or another version of it.
        vars(copy).setdefault("code", copy.code)
        return copy


def make_policy(where: str, options: Mapping[str, object]) -> Policy:
    """Check options and normalise them.

    Raises
    ------
    OptionError
        A value is not what the option takes.
    UnknownOption
        There is no such option.
    """
    made: dict[str, object] = {}
    for option, value in options.items():
        check = _CHECKS.get(option)
        if check is None:
            raise UnknownOption(where, option, [*_CHECKS, "name", "tags", "description", "version", "outputs", *HOOKS])
        wanted, normalise = check
        try:
            accepted, normal = normalise(value)
        except ValueError as error:  # a template says itself what is wrong with it
            raise TargetError(where, str(value), str(error)) from error
        if not accepted:
            raise OptionError(where, option, value, wanted)
        made[option] = normal
    if made.get("timeout") is not None:
        if made.get("isolation", "process") == "thread":
            raise OptionError(
                where, "isolation", "thread", "'process' where there is a timeout: only a process can be killed"
            )
        made["isolation"] = "process"
    if isinstance(made.get("target"), Template) and made.get("persist") is False:
        raise OptionError(where, "persist", False, "True where there is a target")
    if made.get("cache") is not None and made.get("persist") is False:
        raise OptionError(where, "persist", False, "True where there is a cache: what is not stored cannot be found")
    return Policy(**made)  # type: ignore[arg-type]


Checked = tuple[bool, object]


def _count(value: object) -> Checked:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0, value


def _delay(value: object) -> Checked:
    delay = as_delay(value)
    return delay is not None, delay


def _exceptions(value: object) -> Checked:
    group = value if isinstance(value, tuple | list) else (value,)
    return bool(group) and all(isinstance(e, type) and issubclass(e, BaseException) for e in group), tuple(group)


def _function(value: object) -> Checked:
    return value is None or callable(value), value


def _timeout(value: object) -> Checked:
    seconds = as_seconds(value)
    return value is None or bool(seconds), seconds


def _flag(value: object) -> Checked:
    return isinstance(value, bool), value


def _target(value: object) -> Checked:
    return value is None or (isinstance(value, str) and bool(value)), None if value is None else Template(str(value))


def _serializer(value: object) -> Checked:
    custom = all(hasattr(value, name) for name in ("name", "dumps", "loads"))
    return custom or (isinstance(value, str) and value in SERIALIZERS), value


def _resources(value: object) -> Checked:
    ok = isinstance(value, Mapping) and all(
        isinstance(k, str) and isinstance(v, int | float) and not isinstance(v, bool) and v > 0
        for k, v in value.items()
    )
    return ok, value


def _workers(value: object) -> Checked:
    group = (value,) if isinstance(value, str) else value
    ok = isinstance(group, Sequence) and all(isinstance(worker, str) and worker for worker in group)
    return ok, tuple(group) if ok and isinstance(group, Sequence) else ()


def _batch(value: object) -> Checked:
    if isinstance(value, bool):
        return value is False, value
    return value == "auto" or (isinstance(value, int) and value >= 1), value


def _cache(value: object) -> Checked:
    if isinstance(value, bool):
        return True, Cache() if value else None
    return value is None or isinstance(value, Cache), value


_CHECKS: Mapping[str, tuple[str, Callable[[object], Checked]]] = {
    "retries": ("a whole number, at least 0", _count),
    "retry_delay": (
        "seconds (at least 0), a timedelta, a list of either, or a callable(attempt) such as backoff(1)",
        _delay,
    ),
    "retry_on": ("an exception class, or a tuple of them", _exceptions),
    "retry_if": ("a callable(exception) -> bool", _function),
    "timeout": ("seconds (more than 0) or a timedelta", _timeout),
    "isolation": ("'thread' or 'process'", lambda value: (value in ("thread", "process"), value)),
    "trigger": (
        "a trigger of dataflow.triggers, or a callable(Upstreams) -> bool",
        lambda value: (callable(value), value),
    ),
    "skip_on_upstream_skip": ("True or False", _flag),
    "persist": ("True or False", _flag),
    "target": ("a path template such as 'clean/{index}.parquet'", _target),
    "serializer": (f"one of {', '.join(SERIALIZERS)}, or an object with name, dumps and loads", _serializer),
    "resources": ("a dict of name to amount, such as {'GPU': 1}", _resources),
    "priority": ("a whole number", lambda value: (isinstance(value, int) and not isinstance(value, bool), value)),
    "workers": ("worker addresses: a string or a list of them", _workers),
    "batch": ("'auto', False, or a whole number, at least 1", _batch),
    "log_prints": ("True or False", _flag),
    "cache": ("True, False, or cache(...)", _cache),
}
HOOKS = ("on_success", "on_failure", "on_retry", "on_state")
POLICY_OPTIONS = frozenset(f.name for f in fields(Policy))


def make_hooks(where: str, options: Mapping[str, object]) -> dict[str, Hook]:
    """The hooks among options, checked."""
    hooks: dict[str, Hook] = {}
    for name in HOOKS:
        hook = options.get(name)
        if hook is not None:
            if not callable(hook):
                raise OptionError(where, name, hook, "a callable(task_run, state)")
            hooks[name] = hook
    return hooks


def check_identity(where: str, options: Mapping[str, object]) -> None:
    """Check the options that say what a task or flow is called.

    Raises
    ------
    OptionError
        Names the option.
    """
    name = options["name"]
    if (
        not isinstance(name, str)
        or not name.strip()
        or not name.isprintable()
        or set(name) & set("/[]\\")
        or name != name.strip()
    ):
        raise OptionError(where, "name", name, "a text without / [ ] backslash, line breaks and outer blanks")
    for option in ("version", "description"):
        if not isinstance(options.get(option), str | None):
            raise OptionError(where, option, options[option], "a text")
    tags = options.get("tags")
    if tags is not None and (
        isinstance(tags, str) or not isinstance(tags, Sequence) or not all(isinstance(tag, str) for tag in tags)
    ):
        raise OptionError(where, "tags", tags, "a list of texts")
