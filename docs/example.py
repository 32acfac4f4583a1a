"""The flow that docs/architecture.md follows."""

from dataflow import flow, task


@task
def double(x: int) -> int:
    """Twice as much."""
    return 2 * x


@task
def total(xs: list[int]) -> int:
    """The sum."""
    return sum(xs)


@flow
def doubled(numbers: list[int]) -> object:
    """The sum of the doubled numbers."""
    return total(double.map(numbers))
