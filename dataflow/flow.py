"""`@flow`: a function whose body builds a graph; its parameters are validated, and it can be run.

Calling a flow gives its Graph. Called in another flow's body it is inlined, or, with Nodes as arguments, becomes one
Node whose body runs when their values exist.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Generic, ParamSpec, TypeVar, overload

from dataflow.build import Builder, building, current_builder
from dataflow.context import Secret, running
from dataflow.definition import HOOKS, Definition, Hook, Policy, check_identity, make_hooks
from dataflow.errors import OptionError, ParameterError, UnknownOption, did_you_mean
from dataflow.flow_graph import FlowGraph, Runnable
from dataflow.node import Node
from dataflow.parameters import Invalid, convert, listed, shown, type_name
from dataflow.structure import find
from dataflow.task import add_map, check_nodes

if TYPE_CHECKING:
    from dataflow.preview import NodePreview
    from dataflow.run import Run

P = ParamSpec("P")
R = TypeVar("R")
OPTIONS = ("name", "description", "version", "tags", "executor", "results", "log_prints", *HOOKS)


class Flow(Generic[P, R]):
    """A function that builds a graph.

    Examples
    --------
    >>> from dataflow import task
    >>> @task
    ... def double(x):
    ...     return 2 * x
    >>> @flow
    ... def doubled(numbers: list[int]):
    ...     return double.map(numbers)
    >>> doubled(numbers=["1", "2"])
    Graph(doubled: 1 nodes, 1 mapped; not run)
    >>> doubled("many")
    Traceback (most recent call last):
        ...
    dataflow.errors.ParameterError: flow 'doubled': parameter 'numbers': got 'many', wanted list[int] (...
    """

    def __init__(self, fn: Callable[P, R], options: Mapping[str, object]) -> None:
        self.fn = fn
        self.name = typing.cast(str, options.get("name", getattr(fn, "__name__", "flow")))
        where = f"@flow {self.name!r}"
        for option in options:
            if option not in OPTIONS:
                raise UnknownOption(where, option, OPTIONS)
        if (
            not callable(fn)
            or inspect.isclass(fn)
            or inspect.iscoroutinefunction(fn)
            or inspect.isasyncgenfunction(fn)
            or inspect.isgeneratorfunction(fn)
            or inspect.isasyncgenfunction(fn)
        ):
            raise OptionError(where, "fn", fn, "a plain function that returns what the run's result is made of")
        check_identity(where, {**options, "name": self.name})
        results = options.get("results")
        if results is not None and not isinstance(results, str):
            raise OptionError(where, "results", results, "a folder or URL")
        prints = options.get("log_prints")
        if prints is not None and not isinstance(prints, bool):
            raise OptionError(where, "log_prints", prints, "True or False")
        self._options = dict(options)
        self._hooks = make_hooks(where, options)
        self.description = str(options.get("description") or inspect.getdoc(fn) or "")
        functools.update_wrapper(self, fn)

    @functools.cached_property
    def version(self) -> str:
        """The version given, else a hash of the code, which is read once everything that it calls is defined."""
        from dataflow.code import code_hash

        return str(self._options.get("version") or code_hash(self.fn))

    # Calling ----------------------------------------------------------------------------------------------------------

    @functools.cached_property
    def signature(self) -> inspect.Signature:
        """The function's signature."""
        return inspect.signature(self.fn)

    def __call__(self, *args: object, wait_for: Sequence[Node] = (), **kwargs: object) -> object:
        """Outside a flow: the graph for these parameters. In a flow: its nodes join, now or once its arguments exist.

        Parameters
        ----------
        *args, **kwargs
            The flow's parameters: values, or in a flow also Nodes.
        wait_for : sequence of Node
            In a flow: its body runs when these are final.

        Raises
        ------
        ParameterError
            A parameter is missing, unknown or not valid.
        """
        __tracebackhide__ = True
        builder = current_builder()
        if builder is None:
            return self.graph(*args, **kwargs)
        if wait_for or any(True for _ in find((args, kwargs), Node)):
            self._bind(args, kwargs)  # names and numbers of arguments are checked now, Nodes as they come
            return builder.add(self.definition, args, kwargs, wait_for=check_nodes(self.name, wait_for))
        with builder.group(self.name):
            return self._body(self.validate(*args, **kwargs))

    def _body(self, parameters: Mapping[str, object]) -> object:
        __tracebackhide__ = True  # IPython and pytest: what the body raises is told without this frame
        function: Callable[..., object] = self.fn
        return function(**parameters)

    def graph(self, *args: object, **kwargs: object) -> FlowGraph:
        """The lazy graph for these parameters."""
        __tracebackhide__ = True
        parameters = self.validate(*args, **kwargs)
        builder = Builder(self.name)
        with building(builder):
            outputs = self._body(parameters)
        built = builder.finish(outputs, parameters)
        return FlowGraph(flow=built.flow, nodes=built.nodes, outputs=built.outputs, parameters=parameters, source=self)

    def map(self, *args: object, wait_for: Sequence[Node] = (), strict: object = True, **kwargs: object) -> Node:
        """One subflow for each item of the arguments; see `Task.map`."""
        builder = current_builder()
        if builder is None:
            raise OptionError(f"flow {self.name!r}", "map", self.name, "a call in the body of a flow")
        if not isinstance(strict, bool):
            kwargs["strict"], strict = strict, True
        self._bind(args, kwargs)
        names = [*self.signature.parameters][: len(args)]
        names += [f"argument {n + 1}" for n in range(len(names), len(args))]
        return add_map(builder, self.definition, names, args, kwargs, wait_for, strict=bool(strict))

    @functools.cached_property
    def definition(self) -> Definition:
        """What a deferred call of this flow is: a task that builds."""
        return Definition(
            name=self.name,
            fn=self.expand,
            policy=Policy(),
            version=self.version,
            description=self.description,
            builds=True,
        )

    def expand(self, *args: object, _path: str, **kwargs: object) -> object:
        """Build the graph with real values, on a worker; a body that calls no task gives its value at once."""
        parameters = self.validate(*args, **kwargs)
        builder = Builder(self.name, prefix=_path)
        with building(builder):
            outputs = self._body(parameters)
        if not builder.nodes:
            return outputs
        context = running()
        return builder.finish(outputs, context.parameters if context else parameters)

    # Parameters -------------------------------------------------------------------------------------------------------

    def _bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> inspect.BoundArguments:
        parameters = self.signature.parameters
        open_ended = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        unknown = [name for name in kwargs if name not in parameters]
        if unknown and not open_ended:
            raise ParameterError(
                self.name,
                [f"no parameter {name!r}.{did_you_mean(name, parameters) or listed(parameters)}" for name in unknown],
            )
        try:
            bound = self.signature.bind(*args, **kwargs)
        except TypeError as error:
            raise ParameterError(self.name, [f"{error}; it takes {self.name}{self.signature}"]) from None
        return bound

    def validate(self, *args: object, **kwargs: object) -> dict[str, object]:
        """The parameters by name, checked and converted by their annotations, with the defaults.

        Raises
        ------
        ParameterError
            Names each parameter that is wrong, what it got and what it takes.
        """
        bound = self._bind(args, kwargs)
        given = set(bound.arguments)
        bound.apply_defaults()
        values: dict[str, object] = {}
        problems: list[str] = []
        for name, value in bound.arguments.items():
            kind = self.signature.parameters[name].kind
            if kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD):
                if kind is inspect.Parameter.VAR_POSITIONAL and value:
                    problems.append("takes *args; a flow's parameters have names")
                else:
                    values.update(value)
                continue
            annotation = self.annotations.get(name, inspect.Parameter.empty)
            plain = annotation is inspect.Parameter.empty or name not in given or isinstance(value, Secret)
            try:
                values[name] = value if plain else convert(annotation, value)
            except Invalid as error:
                problems.append(f"parameter {name!r}: got {shown(value)}, wanted {type_name(annotation)} ({error})")
        if problems:
            raise ParameterError(self.name, problems)
        return values

    @functools.cached_property
    def annotations(self) -> dict[str, object]:
        """The annotations as types; one that only a type checker can read is left out."""
        found: dict[str, object] = {}
        for name, parameter in self.signature.parameters.items():
            annotation = parameter.annotation
            if isinstance(annotation, str):
                try:
                    holder = type("holder", (), {"__annotations__": {name: annotation}})
                    scope = getattr(inspect.unwrap(self.fn), "__globals__", {})
                    annotation = typing.get_type_hints(holder, scope, include_extras=True)[name]
                except (NameError, AttributeError, TypeError, SyntaxError):
                    continue
            if annotation is not parameter.empty:
                found[name] = annotation
        return found

    # Running ----------------------------------------------------------------------------------------------------------

    def run(self, *args: object, **kwargs: object) -> Run:
        """Run to the end and return the run.

        Parameters
        ----------
        *args, **kwargs
            The flow's parameters, and the options of `FlowGraph.run`: `executor`, `results`, `raise_on_failure`.

        Raises
        ------
        ParameterError
            Before anything runs.
        RunFailed
            The run did not succeed; `.run` is it.
        """
        __tracebackhide__ = True
        parameters, options = _split(self, kwargs)
        return self.graph(*args, **parameters).run(**options)  # type: ignore[arg-type]

    def submit(self, *args: object, **kwargs: object) -> Run:
        """Begin to run, and return the run at once."""
        __tracebackhide__ = True
        parameters, options = _split(self, kwargs)
        return self.graph(*args, **parameters).submit(**options)  # type: ignore[arg-type]

    def plan(self, *args: object, **kwargs: object) -> list[NodePreview]:
        """What `run` with the same arguments would run, and what it would take from the cache; see `FlowGraph.plan`."""
        __tracebackhide__ = True
        parameters, options = _split(self, kwargs)
        return self.graph(*args, **parameters).plan(**options)  # type: ignore[arg-type]

    async def arun(self, *args: object, **kwargs: object) -> Run:
        """As `run`, for asynchronous code."""
        __tracebackhide__ = True
        parameters, options = _split(self, kwargs)
        return await self.graph(*args, **parameters).arun(**options)  # type: ignore[arg-type]

    @property
    def settings(self) -> Mapping[str, object]:
        """The options that it was made with."""
        return self._options

    @property
    def hooks(self) -> Mapping[str, Hook]:
        """Its hooks."""
        return self._hooks

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        told = {"text/plain": repr(self)}
        try:
            drawn = self.graph()._repr_mimebundle_()
        except Exception:  # a parameter has no default, or the body wants more than its defaults
            return told
        return {**drawn, "text/plain": f"{told['text/plain']}\n{drawn['text/plain']}"}

    def __repr__(self) -> str:
        return f"Flow({self.name}{self.signature})"

    def __reduce__(self) -> tuple[object, ...]:
        # Hooks belong to the driver; what travels is what builds.
        return Flow, (self.fn, {k: v for k, v in self._options.items() if k not in HOOKS and k != "executor"})


RUN_OPTIONS = ("executor", "results", "refresh", "raise_on_failure")


def _split(flow: Runnable, kwargs: Mapping[str, object]) -> tuple[dict[str, object], dict[str, object]]:
    """Parameters and options: a parameter of the flow that has an option's name is the flow's."""
    own = flow.signature.parameters
    options = {name: value for name, value in kwargs.items() if name in RUN_OPTIONS and name not in own}
    return {name: value for name, value in kwargs.items() if name not in options}, options


@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...
@overload
def flow(**options: object) -> Callable[[Callable[P, R]], Flow[P, R]]: ...
def flow(fn: Callable[P, R] | None = None, /, **options: object) -> Flow[P, R] | Callable[[Callable[P, R]], Flow[P, R]]:
    """Make a flow of a function: bare, `@flow`, or with options, `@flow(results="s3://bucket/results")`.

    Parameters
    ----------
    name, description, version, tags : optional
        Identity.
    executor : optional
        Where its runs run, unless `run` says otherwise.
    results : str, optional
        URL of the result store.
    log_prints : bool
        Prints of its tasks' bodies become log lines.
    on_success, on_failure, on_state : callable(run, state), optional
        Called by the driver. An error in one is logged and changes nothing.

    Raises
    ------
    OptionError, UnknownOption
        An option is not valid.
    """
    if fn is not None:
        return Flow(fn, options)
    return lambda function: Flow(function, options)
