"""The arguments of a task run: constants, with the upstreams' values and the secrets in their places."""

from __future__ import annotations

from collections.abc import Mapping

from dataflow.calls import Slot, Unit
from dataflow.context import Secret
from dataflow.lazy import collections_in, computed
from dataflow.outcome import ABSENT, Missing, Outcome, has_value
from dataflow.session import Session
from dataflow.states import SKIPPED
from dataflow.structure import LEAVES, replace


def bind(session: Session, unit: Unit) -> tuple[tuple[object, ...], Mapping[str, object]]:
    """The arguments with the upstreams' values, the secrets, and what Dask collections hold in them."""
    if LEAVES.issuperset(map(type, unit.args)) and LEAVES.issuperset(map(type, unit.kwargs.values())):
        return unit.args, unit.kwargs
    store = session.job.store

    def value_of(outcome: Outcome) -> object:
        value = outcome.value  # first: what could not be committed loses its state, then its value, in another thread
        if not has_value(outcome):
            return Missing(outcome.state)
        if value is ABSENT:
            assert outcome.reference is not None, f"{unit.key}: an upstream has neither value nor reference"
            value = outcome.value = store.get(outcome.reference)
        return value

    def load_many(outcomes: list[Outcome]) -> None:
        """Read together what lies together."""
        absent = [one for one in outcomes if one.value is ABSENT and has_value(one) and one.reference is not None]
        for one, value in zip(absent, store.get_many([one.reference for one in absent if one.reference]), strict=True):
            one.value = value

    leave_out = unit.definition.policy.skip_on_upstream_skip

    def filled(marker: Slot | Secret) -> object:
        if isinstance(marker, Secret):
            return marker.get()
        upstream = unit.upstream[marker.place]
        if isinstance(upstream, list):
            children = [child for child in upstream if not (leave_out and child.type == SKIPPED)]
            load_many(children)
            return [value_of(child) for child in children]
        return value_of(upstream)

    def bound(value: object) -> object:
        if isinstance(value, Outcome):
            return value_of(value)
        return replace(value, (Slot, Secret), filled)  # type: ignore[arg-type]

    args = tuple(bound(value) for value in unit.args)
    kwargs = {name: bound(value) for name, value in unit.kwargs.items()}
    lazy = [one for value in (*args, *kwargs.values()) for one in collections_in(value)]
    return computed((args, kwargs), lazy) if lazy else (args, kwargs)  # type: ignore[return-value]
