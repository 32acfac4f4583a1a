"""Digests of values: what a cache key knows of an argument.

`walk` goes over a value; `kinds` says who knows a type; `plain`, `objects`, `arrays`, `tables`, `arrow` and `functions`
encode theirs with `frames`. `reach` reads what a function's code depends on.
"""

from dataflow.canonical.reach import forget
from dataflow.canonical.walk import digest
from dataflow.errors import NotCanonical

__all__ = ["NotCanonical", "digest", "forget"]
