"""What `task="auto"` chose, for people: tables on the terminal, markdown, and a picture of the confusion matrices."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click
from colora.benchmarks.tables import markdown, show
from colora.runtime.choice import CLEAN, NOTHING

if TYPE_CHECKING:
    from colora.benchmarks.choice import Bin, Row

Rows = Mapping[str, Sequence["Row"]]
Bins = Mapping[str, Sequence["Bin"]]
Cost = Mapping[str, Mapping[str, float]]
HOW = """Inputs and different targets of the public pairs, and more clean photographs where given; answers by count.
Where a bundle has no task for what is wrong, or nothing is, `nothing` is right. The tables of confidence are
of the pairs alone."""


def named(row: "Row") -> str:
    return f"{row.set}, {'clean' if row.truth == CLEAN else f'inputs: {row.truth}'}"


def sums(rows: Sequence["Row"]) -> list[tuple[str, int, int]]:
    """(name, right, n): of the inputs of tasks that are chosen from, of other inputs, and of the targets."""
    parts = {"inputs with a task of the bundle": [], "other inputs": [], "clean pictures": []}  # type: dict[str, list[Row]]
    for row in rows:
        known = "inputs with a task of the bundle" if row.truth in row.chosen else "other inputs"
        parts["clean pictures" if row.truth == CLEAN else known].append(row)
    return [
        (name, sum(r.right for r in part), sum(r.n for r in part)) for name, part in parts.items() if part
    ]


def cost_lines(cost: Cost) -> list[str]:
    return [
        f"{name}: {c['ms_p50']:.1f} ms (p95 {c['ms_p95']:.1f}), {c['ratio_to_restore']:.3f} × restore 512²"
        for name, c in cost.items()
    ]


def tables(rows: Rows, bins: Bins) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Title → header and rows, texts in the first column."""
    found: dict[str, tuple[list[str], list[list[str]]]] = {}
    for title, matrix in rows.items():
        chosen = [
            [named(row), str(row.n), *(str(n) if n else "" for n in row.chosen.values()), f"{row.right / row.n:.0%}",
             f"{row.mean_confidence:.0%}"]
            for row in matrix
        ]  # fmt: skip
        found[f"Chosen from {title}"] = ["set", "n", *matrix[0].chosen, "right", "mean confidence"], chosen
        sure = [
            [f"from {b.above:.0%}", str(b.n), f"{b.mean_confidence:.1%}", f"{b.right:.1%}"]
            for b in bins[title]
        ]
        found[f"Is the confidence honest? {title}"] = ["confidence", "n", "mean", "right"], sure
    return found


def lines(rows: Rows, cost: Cost) -> list[str]:
    """Sums over sets, and what a choice costs."""
    return [
        f"{name}, of {title}: {right} of {n} right ({right / n:.1%})"
        for title, matrix in rows.items()
        for name, right, n in sums(matrix)
    ] + cost_lines(cost)


def print_tables(rows: Rows, bins: Bins, cost: Cost) -> None:
    """Aligned."""
    for title, (header, cells) in tables(rows, bins).items():
        show(header, cells, title=title)
    for line in lines(rows, cost):
        click.echo(line)


def page(rows: Rows, bins: Bins, cost: Cost) -> str:
    """The same as Markdown."""
    parts = [f"{title}:\n\n{markdown(*table)}" for title, table in tables(rows, bins).items()]
    return "\n".join([f"{HOW}\n", *parts, *(f"- {line}" for line in lines(rows, cost))]) + "\n"


def plot(rows: Rows, bins: Bins, path: Path) -> None:
    """Both matrices as shares of a row, and confidence against share right, as PNG."""
    from matplotlib.figure import Figure

    widths = [len(matrix[0].chosen) for matrix in rows.values()]
    figure = Figure(figsize=(15, 8), layout="constrained")
    axes = figure.subplots(1, len(rows) + 1, width_ratios=[*widths, 5])
    for ax, (title, matrix) in zip(axes, rows.items(), strict=False):
        columns = list(matrix[0].chosen)
        shares = [[n / row.n for n in row.chosen.values()] for row in matrix]
        ax.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        for y, row in enumerate(matrix):
            for x, n in enumerate(row.chosen.values()):
                right = columns[x] == (row.truth if row.truth in columns else NOTHING)
                if n or right:
                    ax.text(
                        x, y, str(n), ha="center", va="center", fontsize=9,
                        color="white" if shares[y][x] > 0.6 else "black", weight="bold" if right else "normal",
                    )  # fmt: skip
        ax.axhline(sum(row.truth != CLEAN for row in matrix) - 0.5, color="black", linewidth=1)
        ax.set_xticks(range(len(columns)), columns, rotation=60, ha="right")
        ax.set_yticks(
            range(len(matrix)), [f"{named(row)} ({row.n})" for row in matrix] if ax is axes[0] else []
        )
        ax.set_title(f"chosen from {title} (bold: right)", fontsize=10)
    for title, table in bins.items():
        axes[-1].plot([b.mean_confidence for b in table], [b.right for b in table], marker="o", label=title)
    axes[-1].plot([0, 1], [0, 1], color="black", linewidth=0.8, linestyle="--", label="honest")
    axes[-1].set(xlabel="confidence", ylabel="share right", xlim=(0, 1.02), ylim=(0, 1.02), aspect="equal")
    axes[-1].legend(fontsize=8)
    axes[-1].grid(alpha=0.3)
    figure.savefig(path, dpi=100)
