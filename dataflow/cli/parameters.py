"""`-p name=value`: text from the command line as the flow's parameters want it."""

from __future__ import annotations

import enum
import inspect
import json
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

from dataflow.catalog import AnyFlow
from dataflow.cli.problems import Refused
from dataflow.errors import did_you_mean
from dataflow.parameters import Invalid, convert, type_name

Parameter = inspect.Parameter


def parse(given: Sequence[str]) -> dict[str, object]:
    """What stands behind `-p`: `name=value` as text, or the values of a YAML or JSON file.

    >>> parse(["n=24", "where=a=b"])
    {'n': '24', 'where': 'a=b'}
    """
    values: dict[str, object] = {}
    seen: set[str] = set()
    for item in given:
        if item.startswith("@"):
            values.update(_from_file(item[1:]))
            continue
        name, equals, value = item.partition("=")
        name = name.strip()
        if not equals or not name:
            raise Refused(f"-p {item!r} is not NAME=VALUE", "for example: -p n=24, or -p @params.yaml for a file.")
        if name in seen:
            raise Refused(f"parameter {name!r} was given twice", f"for several values: -p {name}='[1, 2]'")
        seen.add(name)
        values[name] = value
    return values


def _from_file(name: str) -> dict[str, object]:
    import yaml

    try:
        text = Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise Refused(f"the file of parameters {name!r} cannot be read: {reason}") from error
    try:
        loaded = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise Refused(f"the file of parameters {name!r} is no YAML: {' '.join(str(error).split())}") from error
    if loaded is None:
        return {}
    if not isinstance(loaded, dict) or not all(isinstance(key, str) for key in loaded):
        raise Refused(f"the file of parameters {name!r} holds no mapping of names to values")
    return loaded


def fitted(flow: AnyFlow, values: Mapping[str, object], *, complete: bool = True) -> dict[str, object]:
    """The values as the flow takes them; text that its annotation refuses is tried as JSON.

    Parameters
    ----------
    flow : Flow
        The flow.
    values : mapping
        What was given, by name.
    complete : bool
        They are all that the flow gets; else a few that change others.

    Raises
    ------
    Refused
        A parameter is unknown, missing or not valid; nothing was run.
    """
    taken = {name: one for name, one in flow.signature.parameters.items() if one.kind is not Parameter.VAR_POSITIONAL}
    open_ended = any(one.kind is Parameter.VAR_KEYWORD for one in taken.values())
    named = {name: one for name, one in taken.items() if one.kind is not Parameter.VAR_KEYWORD}
    for name in values:
        if name not in named and not open_ended:
            raise Refused(f"flow {flow.name!r} has no parameter {name!r}", _meant(flow, name, named))
    missing = [name for name, one in named.items() if one.default is Parameter.empty and name not in values]
    if missing and complete:
        wanted = " ".join(f"-p {name}=…" for name in missing)
        what = f"parameter {missing[0]!r}" if len(missing) == 1 else f"parameters {', '.join(map(repr, missing))}"
        raise Refused(
            f"flow {flow.name!r} needs {what}", f"{wanted}   it takes {', '.join(about(flow, one) for one in named)}"
        )
    return {name: _fit(flow, name, value) for name, value in values.items()}


def _meant(flow: AnyFlow, name: str, named: Mapping[str, Parameter]) -> str:
    close = did_you_mean(name, named)
    if close:
        right = close.split("'")[1]
        allowed = _allowed(flow, right)
        return f"did you mean {right!r}{f' (one of: {allowed})' if allowed else ''}?"
    return f"it takes {', '.join(about(flow, one) for one in named)}." if named else "it takes none."


def about(flow: AnyFlow, name: str) -> str:
    """A parameter as people write it, such as `region: eu | us = eu`."""
    parameter = flow.signature.parameters[name]
    kind = _allowed(flow, name).replace(", ", " | ") or (
        type_name(flow.annotations[name]) if name in flow.annotations else ""
    )
    default = "" if parameter.default is Parameter.empty else f" = {_text(parameter.default)}"
    return f"{name}{f': {kind}' if kind else ''}{default}"


def _allowed(flow: AnyFlow, name: str) -> str:
    annotation = flow.annotations.get(name)
    if typing.get_origin(annotation) is typing.Literal:
        return ", ".join(map(str, typing.get_args(annotation)))
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return ", ".join(str(member.value) for member in annotation)
    return ""


def _fit(flow: AnyFlow, name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    if name not in flow.annotations:
        parameter = flow.signature.parameters.get(name)
        # Without an annotation, what the default is tells what is meant.
        return value if parameter is not None and isinstance(parameter.default, str) else _json(value, value)
    annotation = flow.annotations[name]
    try:
        convert(annotation, value)
    except Invalid as error:
        parsed = _json(value, None)
        refusal = error
        if parsed is not None or value.strip() == "null":
            try:
                convert(annotation, parsed)
            except Invalid as second:
                refusal = second if isinstance(parsed, list | dict) else error
            else:
                return parsed
        allowed = _allowed(flow, name)
        hint = f"one of: {allowed}" if allowed else f"it takes {about(flow, name)}"
        raise Refused(
            f"parameter {name!r} of flow {flow.name!r}: {_text(value)!r} is not valid: {refusal}", hint
        ) from None
    if annotation in (object, typing.Any):
        return _json(value, value)
    return value


def _json(text: str, otherwise: object) -> object:
    try:
        value: object = json.loads(text)
    except ValueError:
        return otherwise
    return value


def _text(value: object) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else f"{text[:59]}…"
