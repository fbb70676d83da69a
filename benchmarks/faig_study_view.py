"""The FAIG study for people: a table on the terminal and a plot."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from colora.benchmarks.faig_study import Row


def print_table(rows: Sequence["Row"]) -> None:
    """Correlations by images and steps, aligned; ✓ where they are enough."""
    from rich.console import Console
    from rich.table import Table

    columns = ("images", "N", "passes", "scores", "worst", "ranks", "worst", "enough")
    table = Table(*columns, title="Spearman's rank correlation with the largest N on all images")
    for column in table.columns:
        column.justify = "right"
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        figures = (row.scores_mean, row.scores_worst, row.ranks_mean, row.ranks_worst)
        table.add_row(
            *map(str, (row.images, row.steps, row.passes)),
            *(f"{figure:.3f}" for figure in figures),
            "✓" if row.enough else "",
            end_section=following is None or following.images != row.images,
        )
    Console().print(table)


def plot(rows: Sequence["Row"], path: Path, enough: float) -> None:
    """Worst correlation against N, one line a number of images, as PNG; of the scores and of the ranks."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, title in ((left, "contribution, all parameters"), (right, "ranks, all kernels")):
        for images in sorted({row.images for row in rows}):
            mine = [row for row in rows if row.images == images]
            worst = [row.scores_worst if axes is left else row.ranks_worst for row in mine]
            label = f"{images} image{'s' if images > 1 else ''}"
            axes.plot([row.steps for row in mine], worst, marker="o", label=label)
        axes.axhline(enough, color="black", linewidth=0.8, linestyle="--")
        axes.set(xscale="log", xlabel="points on the path (N)", title=title)
        axes.grid(alpha=0.3)
    left.set_ylabel("worst Spearman correlation")
    right.legend(fontsize=8)
    figure.savefig(path, dpi=120)
