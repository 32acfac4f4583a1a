"""Where a task run's result lies below its run: its label, and from the second generation on a mark of that.

A run that is retried from a task that had succeeded begins a new generation; what that commits lies beside the rest.
What several task runs of a bundle commit as one object lies under the bundle's name: their paths stand in its meta.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from dataflow.events import NO_INDEX, label

# Names of tasks have no brackets, so that neither an index nor a generation can be mistaken.
_KEY = re.compile(r"(?P<path>.*?)(\[(?P<index>\d+)\])?(\[g(?P<generation>\d+)\])?\Z", re.DOTALL)


def join_key(path: str, index: int, generation: int) -> str:
    """The key below the run.

    >>> join_key("clean", 3, 0), join_key("load", -1, 2)
    ('clean[3]', 'load[g2]')
    """
    return f"{label(path, index)}[g{generation}]" if generation else label(path, index)


def split_key(key: str) -> tuple[str, int, int]:
    """Path, index and generation of a key below the run.

    >>> split_key("outer[2]/inner[5][g1]"), split_key("outer[2]/inner")
    (('outer[2]/inner', 5, 1), ('outer[2]/inner', -1, 0))
    """
    found = _KEY.fullmatch(key)
    assert found is not None
    index = NO_INDEX if found["index"] is None else int(found["index"])
    return found["path"], index, int(found["generation"] or 0)


def bundle_name(paths: Sequence[str]) -> str:
    """What stands for a path in the keys of a bundle: the same task runs in the same order have the same.

    >>> bundle_name(["load", "load-2"]), is_bundle(bundle_name(["load"])), is_bundle("load")
    ('load[+8d8bb17443]', True, False)
    """
    return f"{paths[0]}[+{hashlib.sha256(chr(0).join(paths).encode()).hexdigest()[:10]}]"


def is_bundle(path: str) -> bool:
    """Whether what `split_key` gave as a path is a bundle's name."""
    return path.endswith("]") and "[+" in path


def wanted_generation(anew: Mapping[str, int], path: str, index: int) -> int:
    """From which generation on a result of a task run counts: its own, its node's, or those of subflows around it.

    >>> wanted_generation({"route": 2}, "route/big", 3), wanted_generation({"clean[3]": 1}, "clean", 4)
    (2, 0)
    """
    if not anew:
        return 0
    wanted = anew.get(label(path, index), 0)
    while path:
        wanted = max(wanted, anew.get(path, 0), anew.get(path.rpartition("[")[0], 0))
        path = path.rpartition("/")[0]
    return wanted
