"""From a record to docs/benchmarks.png: a panel for each workload, a row for each system, a mark for each N."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.catalogue import SYSTEMS
from benchmarks.document import OURS
from benchmarks.record import Record
from benchmarks.systems.workloads import WORKLOADS

MARKS = ("o", "s", "^", "D", "v", "P")


def draw(record: Record, path: Path) -> None:
    """Write the picture. Ours is filled black, the others are grey; the shape of a mark tells its N."""
    import matplotlib

    matplotlib.use("agg")
    from matplotlib import pyplot
    from matplotlib.lines import Line2D

    shown = [name for name in WORKLOADS if any(c.workload == name and c.seconds for c in record.cells)]
    if not shown:
        return
    columns = min(2, len(shown))
    lines = -(-len(shown) // columns)
    figure, axes = pyplot.subplots(
        lines, columns, figsize=(6.5 * columns, 3.8 * lines), squeeze=False, layout="constrained"
    )
    sizes = sorted({cell.n for cell in record.cells})
    for ax, workload in zip(axes.flat, shown, strict=False):
        _panel(ax, record, workload, sizes)
    for ax in list(axes.flat)[len(shown) :]:
        ax.axis("off")
    handles = [
        Line2D([], [], linestyle="", color="0.4", marker=MARKS[i % len(MARKS)], label=f"N = {n:,}")
        for i, n in enumerate(sizes)
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles), frameon=False)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def _panel(ax: Any, record: Record, workload: str, sizes: list[int]) -> None:
    cells = [cell for cell in record.cells if cell.workload == workload and cell.seconds]
    names = [system.name for system in SYSTEMS if any(cell.system == system.name for cell in cells)]
    for cell in cells:
        is_ours = cell.system in OURS
        y = names.index(cell.system)
        mark = MARKS[sizes.index(cell.n) % len(MARKS)]
        ax.plot([min(cell.seconds), max(cell.seconds)], [y, y], color="0.6", linewidth=2, zorder=1)
        ax.plot(cell.median, y, mark, color="black" if is_ours else "0.75", markeredgecolor="black", markersize=7)
    ax.set_xscale("log")
    ax.set_yticks(range(len(names)), names, fontsize=8)
    for label in ax.get_yticklabels():
        label.set_fontweight("bold" if label.get_text() in OURS else "normal")
    ax.set_ylim(len(names) - 0.5, -0.5)
    ax.grid(axis="both", color="0.9")
    ax.set_axisbelow(True)
    ax.set_title(workload, loc="left", fontweight="bold")
    ax.set_xlabel("seconds")
