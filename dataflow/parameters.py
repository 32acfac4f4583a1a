"""Parameters of flows: converted by their annotations, and told as plain data with the secrets masked."""

from __future__ import annotations

import functools
import typing
from collections.abc import Mapping

from dataflow.context import Secret
from dataflow.structure import replace

if typing.TYPE_CHECKING:
    from pydantic import TypeAdapter


class Invalid(ValueError):
    """A value does not fit its annotation."""


@functools.lru_cache(maxsize=256)
def _adapter(annotation: object) -> object:
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter

    annotation = typing.cast("type", annotation)
    try:
        return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:  # models and dataclasses bring their own configuration
        return TypeAdapter(annotation)


def convert(annotation: object, value: object) -> object:
    """A value as its annotation wants it; raises `Invalid` with what is wrong."""
    from pydantic import PydanticSchemaGenerationError, ValidationError

    try:
        adapter = typing.cast("TypeAdapter[object]", _adapter(annotation))
    except (PydanticSchemaGenerationError, TypeError):  # an annotation that is no type: it only tells people
        return value
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise Invalid(f"at {where}: {first['msg']}" if where else first["msg"]) from None


def type_name(annotation: object) -> str:
    """How people write a type."""
    return annotation.__name__ if isinstance(annotation, type) and not typing.get_args(annotation) else str(annotation)


def shown(value: object) -> str:
    """A value in at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def listed(parameters: Mapping[str, object]) -> str:
    """A sentence that names the parameters."""
    return f" It takes: {', '.join(parameters)}." if parameters else " It takes none."


def masked(parameters: Mapping[str, object]) -> dict[str, object]:
    """Parameters as plain JSON data; a secret shows only its name."""
    from pydantic_core import to_jsonable_python

    plain = replace(dict(parameters), Secret, repr)
    try:
        return typing.cast("dict[str, object]", to_jsonable_python(plain, fallback=shown, inf_nan_mode="constants"))
    except Exception:
        # Something in it cannot be walked: what a person can read is better than nothing.
        return {name: shown(value) for name, value in parameters.items()}
