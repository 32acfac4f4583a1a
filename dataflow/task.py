"""`@task`: a plain function becomes something whose calls, in a flow, are lazy."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Generic, ParamSpec, TypeVar, overload

from dataflow.build import Builder, current_builder
from dataflow.context import running
from dataflow.definition import HOOKS, POLICY_OPTIONS, Definition, check_identity, make_hooks, make_policy
from dataflow.errors import ArgumentError, MapError, NestedTaskCall, OptionError, OutsideFlow
from dataflow.node import Flat, Node, Walk, Whole
from dataflow.walking import as_items, common_length

P = ParamSpec("P")
R = TypeVar("R")


class Task(Generic[P, R]):
    """A function and its policy. Calling it in a flow makes a Node; `fn` is the plain function.

    Examples
    --------
    >>> @task(retries=3)
    ... def double(x: int) -> int:
    ...     return 2 * x
    >>> double
    Task(double, retries=3)
    >>> double.fn(4)
    8
    """

    def __init__(self, fn: Callable[P, R], options: Mapping[str, object]) -> None:
        if not callable(fn) or inspect.isclass(fn):
            raise OptionError("@task", "fn", fn, "a function")
        if inspect.isasyncgenfunction(fn):
            raise OptionError("@task", "fn", fn, "a function that returns, async or not: collect what it yields")
        self.fn = fn
        self._options = dict(options)
        self.definition = _definition(fn, self._options)
        functools.update_wrapper(self, fn)

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The function's signature."""
        return signature_of(self.fn)

    @property
    def name(self) -> str:
        """What its nodes are called."""
        return self.definition.name

    def options(self, **changes: object) -> Task[P, R]:
        """A copy with some options changed.

        Raises
        ------
        OptionError, UnknownOption
            As for `@task`.
        """
        return Task(self.fn, {**self._options, **changes})

    def __call__(self, *args: object, wait_for: Sequence[Node] = (), **kwargs: object) -> Node:
        """A Node for this call, in the flow that is being built.

        Parameters
        ----------
        *args, **kwargs
            The function's arguments: values, Nodes, and containers of either.
        wait_for : sequence of Node
            Also wait for these; their values are not passed.

        Raises
        ------
        ArgumentError
            The function does not take these arguments.
        OutsideFlow, NestedTaskCall
            No flow is being built here.
        """
        builder = self._builder()
        self._check(args, kwargs)
        for value in (*args, *kwargs.values()):
            if isinstance(value, Whole):
                raise ArgumentError(self.name, f"{value!r} is only for .map", str(self.signature))
        return builder.add(self.definition, args, kwargs, wait_for=check_nodes(self.name, wait_for))

    def map(self, *args: object, wait_for: Sequence[Node] = (), strict: object = True, **kwargs: object) -> Node:
        """One call for each item of the arguments, walked together. The Node's value is the list of results.

        Parameters
        ----------
        *args, **kwargs
            Lists, tuples, ranges, arrays, Series or Nodes to walk; `unmapped(x)` is passed whole to each call,
            `flatten(x)` is a list of lists walked as one. A Node is walked when its value exists.
        wait_for : sequence of Node
            Each call also waits for these.
        strict : bool
            Lengths must be the same (default); with False the shortest counts.

        Raises
        ------
        MapError
            Nothing to walk, or lengths differ.
        MapInputError
            An argument has no order or no length.
        """
        builder = self._builder()
        if not isinstance(strict, bool):  # an argument of the task that has this name
            kwargs["strict"], strict = strict, True
        self._check(args, kwargs)
        return add_map(
            builder, self.definition, self.argument_names(len(args)), args, kwargs, wait_for, strict=bool(strict)
        )

    def argument_names(self, count: int) -> list[str]:
        """Names for the first `count` positional arguments."""
        names = [p.name for p in self.signature.parameters.values() if p.kind not in (p.VAR_KEYWORD, p.KEYWORD_ONLY)]
        return [*names[:count], *(f"argument {n + 1}" for n in range(len(names), count))]

    def _builder(self) -> Builder:
        builder = current_builder()
        if builder is None:
            task_run = running()
            raise NestedTaskCall(self.name, task_run.label) if task_run else OutsideFlow(self.name)
        return builder

    @functools.cached_property
    def _plain_arity(self) -> tuple[int, int] | None:
        """Least and most positional arguments where there are only such; counting is faster than binding."""
        parameters = self.signature.parameters.values()
        if any(p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters):
            return None
        return sum(p.default is p.empty for p in parameters), len(parameters)

    def _check(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> None:
        if not kwargs and self._plain_arity and self._plain_arity[0] <= len(args) <= self._plain_arity[1]:
            return
        try:
            self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ArgumentError(self.name, str(error), str(self.signature)) from None

    def __repr__(self) -> str:
        told = "".join(f", {k}={v!r}" for k, v in self._options.items() if k != "name")
        return f"Task({self.name}{told})"

    def __reduce__(self) -> tuple[object, ...]:
        return Task, (self.fn, self._options)


def add_map(
    builder: Builder,
    definition: Definition,
    names: Sequence[str],
    args: tuple[object, ...],
    kwargs: Mapping[str, object],
    wait_for: Sequence[Node],
    *,
    strict: bool,
) -> Node:
    """A mapped Node: each argument becomes a Walk, a Flat or a Whole. Lengths that are known are compared now."""
    lengths: dict[str, int] = {}

    def taken(name: str, value: object) -> Whole:
        if isinstance(value, Whole) and not isinstance(value, Flat):
            return value
        inner = value.value if isinstance(value, Flat) else value
        if isinstance(inner, Node):
            if inner.mapped and inner.width is not None and not isinstance(value, Flat):
                lengths[name] = inner.width
            return Flat(inner, name) if isinstance(value, Flat) else Walk(inner, name)
        items = as_items(definition.name, name, inner)
        if isinstance(value, Flat):
            items = [item for part in items for item in as_items(definition.name, name, part)]
        lengths[name] = len(items)
        return Walk(items, name)

    made = tuple(taken(name, value) for name, value in zip(names, args, strict=True))
    named = {name: taken(name, value) for name, value in kwargs.items()}
    walked = [value for value in (*made, *named.values()) if isinstance(value, Walk | Flat)]
    if not walked:
        raise MapError(definition.name, "nothing to walk. Give at least one list or node that is not unmapped(...).")
    width = None
    if lengths:
        common = common_length(definition.name, lengths, strict=strict)
        width = common if len(lengths) == len(walked) else None
    if not strict and width is not None:
        made = tuple(_cut(value, width) for value in made)
        named = {name: _cut(value, width) for name, value in named.items()}
    kwargs = dict(named) if strict else {**named, STRICT: Whole(False)}
    return builder.add(
        definition, made, kwargs, wait_for=check_nodes(definition.name, wait_for), mapped=True, width=width
    )


# Carried among the arguments of a map whose lengths are only known at run time; no parameter can have this name.
STRICT = "(strict)"


def _cut(value: Whole, width: int) -> Whole:
    return (
        Walk(value.value[:width], value.name)
        if isinstance(value, Walk) and isinstance(value.value, Sequence)
        else value
    )


def check_nodes(task: str, wait_for: object) -> Sequence[Node]:
    """`wait_for` as it is, if it is a list of Nodes."""
    if not isinstance(wait_for, list | tuple) or not all(isinstance(node, Node) for node in wait_for):
        raise ArgumentError(task, f"wait_for={wait_for!r} is not a list of nodes", "(…, wait_for=[node, …])")
    return wait_for


def _definition(fn: Callable[P, R], options: Mapping[str, object]) -> Definition:
    name = options.get("name", getattr(fn, "__name__", type(fn).__name__))
    where = f"@task {name!r}"
    check_identity(where, {**options, "name": name})
    if "wait_for" in signature_of(fn).parameters:
        raise OptionError(
            where, "fn", fn, "a function without a parameter called wait_for: that word belongs to the call"
        )
    for option in options:
        if option not in _IDENTITY and option not in HOOKS and option not in POLICY_OPTIONS:
            make_policy(where, {option: None})  # raises, naming the options
    outputs = options.get("outputs", _count_outputs(fn))
    if not isinstance(outputs, int) or isinstance(outputs, bool) or outputs < 1:
        raise OptionError(where, "outputs", outputs, "a whole number, at least 1")
    policy = make_policy(where, {k: v for k, v in options.items() if k in POLICY_OPTIONS})
    for ignored in policy.cache.ignore if policy.cache else ():
        if ignored not in (names := signature_of(fn).parameters):
            raise OptionError(
                where, "ignore", ignored, f"names of its arguments, {', '.join(names) or 'and it has none'}"
            )
    return Definition(
        name=str(name),
        fn=fn,
        policy=policy,
        version=typing.cast("str | None", options.get("version")),
        tags=tuple(typing.cast("Sequence[str]", options.get("tags") or ())),
        description=str(options.get("description") or inspect.getdoc(fn) or ""),
        outputs=outputs,
        hooks=make_hooks(where, options),
    )


def signature_of(fn: Callable[..., object]) -> inspect.Signature:
    """A function's signature; that of a builtin which tells none takes anything."""
    try:
        return inspect.signature(fn)
    except ValueError:
        kinds = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
        return inspect.Signature(
            [inspect.Parameter(name, kind) for name, kind in zip(("args", "kwargs"), kinds, strict=True)]
        )


_IDENTITY = frozenset({"name", "tags", "description", "version", "outputs"})


def _count_outputs(fn: Callable[P, R]) -> int:
    """2 for `-> tuple[A, B]`; 1 for everything else."""
    annotation = getattr(fn, "__annotations__", {}).get("return")
    if isinstance(annotation, str):
        if not annotation.startswith(("tuple[", "Tuple[", "typing.Tuple[")):
            return 1
        try:
            annotation = typing.get_type_hints(fn).get("return")
        except (NameError, TypeError):  # an annotation that only a type checker can read
            return 1
    arguments = typing.get_args(annotation) if typing.get_origin(annotation) is tuple else ()
    return 1 if Ellipsis in arguments or len(arguments) < 2 else len(arguments)


@overload
def task(fn: Callable[P, R], /) -> Task[P, R]: ...
@overload
def task(**options: object) -> Callable[[Callable[P, R]], Task[P, R]]: ...
def task(fn: Callable[P, R] | None = None, /, **options: object) -> Task[P, R] | Callable[[Callable[P, R]], Task[P, R]]:
    """Make a task of a function: bare, `@task`, or with options, `@task(retries=3)`.

    Parameters
    ----------
    name, tags, description, version : optional
        Identity. `version` stands for the code's hash.
    retries, retry_delay, retry_on, retry_if : optional
        How often to try again (0), after how long (seconds, timedelta, list, `backoff(...)` or callable(attempt) ->
        seconds), on which exceptions (`Exception`), and a predicate(exception).
    timeout : seconds or timedelta, optional
        The body runs in a child process, which is killed then.
    isolation : "thread" or "process"
        Where the body runs.
    trigger, skip_on_upstream_skip : optional
        Whether it may start, given how its upstreams ended; see `dataflow.triggers`.
    cache, persist, target, serializer : optional
        Use earlier results (False; see `cache`); commit the result (True); a path template for it; its format ("auto").
    resources, priority, workers : optional
        Handed to Dask.
    batch : "auto", False or int
        How many children of a map, or calls that nothing tells apart, share one Dask task; False: none does, nor in a
        chain.
    outputs : int
        Number of return values, so that `a, b = t()` works (from `-> tuple[A, B]`).
    log_prints : bool
        Prints of the body become its log lines.
    on_success, on_failure, on_retry, on_state : callable(task_run, state), optional
        Called by the driver. An error in one is logged and changes nothing.

    Raises
    ------
    OptionError, UnknownOption
        An option is not valid.
    """
    if fn is not None:
        return Task(fn, options)
    return lambda function: Task(function, options)
