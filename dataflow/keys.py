"""Cache keys: what a result depends on, as digests. Nothing is loaded for one: upstream results count by their digests.

The same rules hold for the driver, which looks before a run begins, and on workers, where the last inputs are known.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dataflow import canonical, code, states
from dataflow.cache import Cache
from dataflow.definition import Definition
from dataflow.errors import CacheError
from dataflow.outcome import Outcome
from dataflow.works import Known

if TYPE_CHECKING:
    from dataflow_storage import Encoded

ALWAYS = Cache()
Special = Callable[[object], bytes | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Key:
    """A cache key.

    Parameters
    ----------
    hex : str
        SHA-256 of the identity and the inputs.
    folder : str
        Where in the cache such keys are.
    identity : mapping
        The task, and what counts of its code.
    inputs : mapping
        The digest of each input.
    """

    hex: str
    folder: str
    identity: Mapping[str, object]
    inputs: Mapping[str, str]


def rule_of(definition: Definition) -> Cache:
    """What a task's `cache` says; for a target without one, everything counts."""
    return definition.policy.cache or ALWAYS


def check(definition: Definition) -> None:
    """Raise CacheError where a change of the code could not be seen."""
    rule = rule_of(definition)
    if definition.policy.cache is None or rule.version or definition.version or definition.internal:
        return
    hidden = code.unhashable(definition.fn)
    if hidden:
        raise CacheError(
            definition.name,
            f"its code depends on {', '.join(map(repr, hidden))}, whose value has no digest",
            "Pass it as an argument, or say cache=cache(version=...) and change the version with it.",
        )


def make(definition: Definition, flow: str, inputs: Mapping[str, str]) -> Key:
    """The key of a call with these inputs, by name of the argument."""
    identity, folder = _identity(definition, flow)
    text = json.dumps([identity["name"], identity["stands"], identity["scope"], sorted(inputs.items())])
    return Key(hex=hashlib.sha256(text.encode()).hexdigest(), folder=folder, identity=identity, inputs=inputs)


def _identity(definition: Definition, flow: str) -> tuple[Mapping[str, object], str]:
    rule = rule_of(definition)
    scope = f"flow {flow}" if rule.scope == "flow" else rule.scope
    known: dict[str, tuple[Mapping[str, object], str]] = definition.__dict__.setdefault("_identities", {})
    if scope not in known:
        version = rule.version or definition.version
        stands = f"version {version} of {code.module_of(definition.fn)}" if version else f"code {definition.code}"
        identity = {
            "name": definition.name,
            "stands": stands,
            "scope": scope,
            "code": {} if version else dict(definition.parts),
        }
        short = hashlib.sha256(json.dumps([stands, scope]).encode()).hexdigest()[:16]
        known[scope] = identity, f"{definition.name}.{short}"
    return known[scope]


def names_of(definition: Definition) -> tuple[tuple[str, ...], frozenset[str]]:
    """Names of a task's positional arguments, and of those that may be given by name."""
    names: tuple[tuple[str, ...], frozenset[str]] | None = definition.__dict__.get("_names")
    if names is None:
        try:
            parameters = list(inspect.signature(definition.fn).parameters.values())
        except ValueError:  # a builtin without one
            parameters = []
        names = definition.__dict__["_names"] = (
            tuple(p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)),
            frozenset(p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)),
        )
    return names


def named(definition: Definition, args: Sequence[object], kwargs: Mapping[str, object]) -> dict[str, object]:
    """Arguments by name; those of `*args` as ``*3``, by their place, those of `**kwargs` with ``**``."""
    places, keywords = names_of(definition)
    return {
        **{places[n] if n < len(places) else f"*{n + 1}": value for n, value in enumerate(args)},
        **{name if name in keywords else f"**{name}": value for name, value in kwargs.items()},
    }


def digests(definition: Definition, arguments: Mapping[str, object], special: Special | None = None) -> dict[str, str]:
    """The digest of each argument that counts.

    Raises
    ------
    CacheError
        Names the argument that has none.
    """
    ignored = rule_of(definition).ignore
    found: dict[str, str] = {}
    for name, value in arguments.items():
        if name not in ignored:
            try:
                found[name] = canonical.digest(value, special=special)
            except canonical.NotCanonical as error:
                raise CacheError(
                    definition.name,
                    f"argument {name!r} has no digest: {error}",
                    f"Pass something that has one, or say cache=cache(ignore=[{name!r}]) or cache(key=...).",
                ) from error
    return found


def by_function(definition: Definition, arguments: Mapping[str, object]) -> dict[str, str]:
    """The one input that `cache(key=...)` makes of the arguments' values.

    Raises
    ------
    CacheError
        The function raised, or what it returned has no digest.
    """
    function = rule_of(definition).key
    assert function is not None
    try:
        return {"(key)": canonical.digest(function(dict(arguments)))}
    except Exception as error:
        raise CacheError(
            definition.name,
            f"cache(key=...) failed: {type(error).__name__}: {error}",
            "It is called with a dict of the arguments and returns a value such as a text.",
        ) from error


def token(known: Known | Outcome) -> bytes | None:
    """What an upstream's result counts as; None where it cannot be known without its value."""
    if isinstance(known, Outcome) and known.stands is not None:
        return known.stands
    if known.reference is not None:
        return f"result {known.reference.serializer} {known.reference.digest}".encode()
    return None if known.type in states.WITH_VALUE else f"no result: {known.type} {known.message}".encode()


def told(key: Key | None, why: str) -> dict[str, object]:
    """What the record beside a target says of its key."""
    made: dict[str, object] = {"created": time.time(), "why": why}
    return made if key is None else {**made, "key": key.hex, "identity": key.identity, "inputs": key.inputs}


def stale(record: Mapping[str, object], key: Key, expires: float | None, now: float) -> str:
    """Why a target is not up to date, by the record beside it; empty where it is."""
    if not record:
        return "there is no such file that a run has made and nobody has changed"
    if record.get("key") != key.hex:
        before, inputs = record.get("identity"), record.get("inputs")
        if not isinstance(before, Mapping) or not isinstance(inputs, Mapping):
            return "its record does not tell what it was made of"
        return "; ".join(differences(before, inputs, key.identity, key.inputs))
    age = now - float(str(record.get("created", 0)))
    return f"it is {age:.0f} s old, and expires after {expires:.0f} s" if expires and age > expires else ""


def differences(
    before: Mapping[str, object], inputs_before: Mapping[str, str], now: Mapping[str, object], inputs: Mapping[str, str]
) -> list[str]:
    """In which parts two keys of one task differ, for people.

    Parameters
    ----------
    before, inputs_before
        Identity and inputs of the earlier one.
    now, inputs
        Those of the later one.

    Examples
    --------
    >>> same = {"stands": "version 1", "scope": "everywhere"}
    >>> differences(same, {"day": "a", "n": "b"}, same, {"day": "c"})
    ["argument 'day' changed", "argument 'n' is not given any more"]
    """
    told: list[str] = []
    if before.get("stands") != now.get("stands"):
        old, new = before.get("code") or {}, now.get("code") or {}
        assert isinstance(old, Mapping)
        assert isinstance(new, Mapping)
        if old and new:
            told += [_changed(f"code: {name}", old.get(name), new.get(name)) for name in sorted({*old, *new})]
        else:
            told.append(f"{before.get('stands')} became {now.get('stands')}")
    if before.get("scope") != now.get("scope"):
        told.append(f"scope {before.get('scope')!r} became {now.get('scope')!r}")
    for name in sorted({*inputs_before, *inputs}):
        what = "what cache(key=...) returned" if name == "(key)" else f"argument {name!r}"
        told.append(_changed(what, inputs_before.get(name), inputs.get(name)))
    return [line for line in told if line]


def _changed(what: str, before: object, now: object) -> str:
    if before == now:
        return ""
    return (
        f"{what} is new"
        if before is None
        else f"{what} is not {'given' if what.startswith('arg') else 'used'} any more"
        if now is None
        else f"{what} changed"
    )


def structure(definition: Definition, arguments: Iterable[object], special: Special) -> bytes | None:
    """What the value of an operation of ours counts as: how it is made. None where an operand has no digest."""
    fn = definition.fn
    try:
        operands = canonical.digest(list(arguments), special=special)
    except canonical.NotCanonical:
        return None
    return f"{definition.name} {fn.__module__}.{fn.__qualname__} {operands}".encode()


def stored_as(encoded: Encoded) -> bytes:
    """What a value will count as once it is committed."""
    return f"result {encoded.serializer} {encoded.digest}".encode()


def tokens(each: Iterable[bytes]) -> bytes:
    """What all children of a map count as."""
    digest = hashlib.sha256()
    for one in each:
        digest.update(len(one).to_bytes(4, "big") + one)
    return b"all " + digest.digest()
