"""Asking a person for a value in the middle of a run: what is wanted, as it stands on record, and what answers fit.

The question is written down with the pause and the answer with its task run, so that days and restarts may lie between
them. What fits is said by a type: pydantic checks and converts the answer where it is given, and once more where it is
used.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import TypeVar

from dataflow.build import current_builder
from dataflow.context import running
from dataflow.errors import AnswerInvalid, NoContext
from dataflow.parameters import Invalid, convert, shown, type_name
from dataflow.signals import Pause
from dataflow.task import task

T = TypeVar("T")
WANTED = "wanted"  # in a pause's details: a value is asked for


@task(name="wait_for_input")
def _ask(wanted: type[object], message: str) -> object:
    return wait_for_input(wanted, message)


def wait_for_input(wanted: type[T], message: str = "") -> T:
    """Ask a person, and go on with the answer.

    In a flow's body this makes a Node, whose value is the answer. In a task's body it pauses the task run, which then
    holds no worker. Once somebody has answered, `run.approve("task", value=...)` or
    `dataflow approve RUN/TASK --value JSON`, the body runs again from its beginning and this returns the answer. A body
    may ask more than once; what was answered before is there at once.

    Parameters
    ----------
    wanted : type
        What the answer must be, as a flow's parameters say it: `int`, `list[str]`, a dataclass, a pydantic model …
    message : str
        What the person is asked.

    Returns
    -------
    wanted
        The answer, checked and converted.

    Raises
    ------
    NoContext
        Neither a flow is being built nor a task running here.

    Examples
    --------
    >>> from dataflow import flow, task
    >>> @task
    ... def price(item):
    ...     return wait_for_input(float, f"What does {item} cost?")
    """
    if current_builder() is not None:
        return _ask(wanted, message)  # type: ignore[return-value]
    here = running()
    if here is None:
        raise NoContext
    told = message or f"wants {type_name(wanted)}"
    asked = here.asked[0]
    here.asked[0] += 1
    if asked < len(here.answers):
        try:
            return checked(wanted, here.answers[asked])
        except AnswerInvalid as error:  # the code has changed since it was given
            told = f"{told} ({error})"
    pause = Pause(told)
    pause.details = {WANTED: question(wanted)}
    raise pause


def question(wanted: type[object]) -> dict[str, object]:
    """What is asked for, as plain data: its name for people, its JSON schema, and the type itself for the check."""
    from pydantic import TypeAdapter

    from dataflow.pickles import dumps

    try:
        schema: object = TypeAdapter(wanted).json_schema()
    except Exception:  # a type that only Python knows: people see its name
        schema = None
    return {
        "name": type_name(wanted),
        "schema": schema,
        "type": base64.b64encode(dumps(wanted)).decode(),
    }


def checked(wanted: type[T], value: object) -> T:
    """An answer as its type wants it.

    Raises
    ------
    AnswerInvalid
        It does not fit.
    """
    try:
        converted: T = convert(wanted, value)  # type: ignore[assignment]
    except Invalid as error:
        raise AnswerInvalid(shown(value), type_name(wanted), str(error)) from None
    return converted


def fit(details: Mapping[str, object] | None, value: object) -> object:
    """An answer to what a pause's details ask for, as plain JSON data.

    Parameters
    ----------
    details : mapping or None
        Of the paused task run.
    value : object
        The answer; what its type makes of it is what is recorded.

    Raises
    ------
    AnswerInvalid
        It does not fit, or cannot be written as JSON.
    """
    from pydantic import TypeAdapter
    from pydantic_core import to_jsonable_python

    wanted = (details or {}).get(WANTED)
    type_ = _loaded(str(wanted["type"])) if isinstance(wanted, Mapping) else None
    converted = value if type_ is None else checked(type_, value)
    try:
        plain = to_jsonable_python(value)
        if type_ is None:  # nothing is asked for; or its code is not here, and the body checks it
            return plain
        written = TypeAdapter(type_).dump_python(converted, mode="json", by_alias=True)
        if _reads_back(type_, written, converted):
            return written
        if plain == value or _reads_back(type_, plain, converted):  # a secret, say, is written masked
            return plain
        reason = "JSON gives back another one"
    except (ValueError, RecursionError) as error:
        reason = str(error)
    raise AnswerInvalid(shown(value), "a value that can be written as JSON", reason)


def _reads_back(type_: type[object], plain: object, converted: object) -> bool:
    try:
        return bool(checked(type_, plain) == converted)
    except AnswerInvalid:
        return False


def _loaded(pickled: str) -> type[object] | None:
    import cloudpickle

    try:
        found: type[object] = cloudpickle.loads(base64.b64decode(pickled))
    except Exception:  # the module that has it is not on this machine
        return None
    return found
