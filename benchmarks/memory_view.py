"""The memory record for people: tables on the terminal and a plot."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from colora.benchmarks.memory_rows import SHARED, Row, RowRatio
from colora.benchmarks.section import Plot, Series


def print_tables(rows: Sequence[Row], ratios: Sequence[RowRatio], latencies: Mapping[str, Any]) -> None:
    """Memory and files by number of tasks, and latencies, aligned."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not console.is_terminal:
        console.width = 110
    table = Table(
        "N", "N tasks kept as", *("files MB", "RSS MB", "PSS MB", "peak MB", "files ×", "RSS ×", "PSS ×"),
        title="Memory above an empty process; × is against one backbone + adapters, above 1: sharing takes less",
    )  # fmt: skip
    for i, column in enumerate(table.columns):
        column.no_wrap, column.justify = True, "left" if i == 1 else "right"
    ratio = {(r.system, r.tasks): r for r in ratios}
    for row, following in zip(rows, [*rows[1:], None], strict=True):
        sizes = (row.files_bytes, row.rss_bytes, row.pss_bytes, row.peak_rss_bytes)
        r = ratio.get((row.system, row.tasks))
        against = [f"{x:.2f}" for x in (r.files, r.rss, r.pss)] if r else ["1"] * 3
        table.add_row(
            str(row.tasks), row.system, *(f"{x / 1e6:.1f}" for x in sizes), *against,
            end_section=following is None or following.tasks != row.tasks,
        )  # fmt: skip
    console.print(table)
    table = Table(
        "one picture", "ms p50", "ms p95", "× merged", "quartiles", title="Latency, by turns in one process"
    )
    for i, column in enumerate(table.columns):
        column.no_wrap, column.justify = True, "right" if i else "left"
    for name, x in latencies.items():
        quartiles = f"{x['ratio_to_merged_p25']:.2f} – {x['ratio_to_merged_p75']:.2f}"
        table.add_row(
            name, f"{x['ms_p50']:.1f}", f"{x['ms_p95']:.1f}", f"{x['ratio_to_merged_p50']:.3f}", quartiles
        )
    console.print(table)


def plot(rows: Sequence[Row], path: Path) -> None:
    """Resident memory against the number of tasks, one line a system, as PNG."""
    series = []
    for system in dict.fromkeys(row.system for row in rows):
        own = [row for row in rows if row.system == system]
        name = system if system == SHARED else f"whole models, {system}"
        series.append(Series(name, tuple(r.tasks for r in own), tuple(r.rss_bytes / 1e6 for r in own)))
    title, y = "Resident memory of N tasks", "RSS above an empty process (MB)"
    save(Plot(title, "tasks", y, tuple(series)), path)


def save(plot: Plot, path: Path) -> None:
    """A plot of lines as PNG, the first one thick."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot(xlabel=plot.x, ylabel=plot.y, title=plot.title)
    for number, line in enumerate(plot.series):
        axes.plot(line.x, line.y, marker="o", linewidth=1.2 if number else 2.5, label=line.name)
    axes.set_ylim(bottom=0)
    axes.set_xticks(sorted({x for line in plot.series for x in line.x}))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=120)
