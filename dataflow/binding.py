"""The arguments of a task run: constants, with the upstreams' values and the secrets in their places."""

from __future__ import annotations

from dataflow.calls import Slot, Unit
from dataflow.context import Secret
from dataflow.lazy import collections_in, computed
from dataflow.outcome import ABSENT, Missing, Outcome, has_value
from dataflow.session import Session
from dataflow.states import SKIPPED
from dataflow.structure import replace


def bind(session: Session, unit: Unit) -> tuple[tuple[object, ...], dict[str, object]]:
    """The arguments with the upstreams' values, the secrets, and what Dask collections hold in them."""
    store = session.job.store

    def value_of(outcome: Outcome) -> object:
        if outcome.value is ABSENT and has_value(outcome):
            assert outcome.reference is not None, f"{unit.key}: an upstream has neither value nor reference"
            outcome.value = store.get(outcome.reference)
        return outcome.value if has_value(outcome) else Missing(outcome.state)

    leave_out = unit.definition.policy.skip_on_upstream_skip

    def filled(marker: Slot | Secret) -> object:
        if isinstance(marker, Secret):
            return marker.get()
        upstream = unit.upstream[marker.place]
        if isinstance(upstream, list):
            return [value_of(child) for child in upstream if not (leave_out and child.type == SKIPPED)]
        return value_of(upstream)

    def bound(value: object) -> object:
        if isinstance(value, Outcome):
            return value_of(value)
        return replace(value, (Slot, Secret), filled)  # type: ignore[arg-type]

    args = tuple(bound(value) for value in unit.args)
    kwargs = {name: bound(value) for name, value in unit.kwargs.items()}
    lazy = [one for value in (*args, *kwargs.values()) for one in collections_in(value)]
    return computed((args, kwargs), lazy) if lazy else (args, kwargs)  # type: ignore[return-value]
