"""The plots of the scaling section as a picture."""

from __future__ import annotations

from pathlib import Path

from colora.benchmarks.section import Section


def draw(section: Section, path: Path) -> None:
    """All plots of the section in one PNG: what was measured as points, laws as lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogFormatter

    columns = 3
    lines = -(-len(section.plots) // columns)
    figure = Figure(figsize=(5 * columns, 3.6 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    for number, plot in enumerate(section.plots, 1):
        axes = figure.add_subplot(lines, columns, number, title=plot.title, xlabel=plot.x, ylabel=plot.y)
        axes.set_xscale("log" if plot.log_x else "linear")
        axes.set_yscale("log" if plot.log_y else "linear")
        if plot.log_x:
            axes.xaxis.set_minor_formatter(
                LogFormatter()
            )  # 20 and not 2×10¹, beside which the next has no room
        ways = list(dict.fromkeys(series.name.partition(":")[0] for series in plot.series))
        for series in plot.series:
            way, _, told = series.name.partition(": ")
            line = {"": "", "law": "-"}.get(told, ":")
            axes.plot(
                *(series.x, series.y),
                color=f"C{ways.index(way)}",
                label=series.name,
                linestyle=line,
                marker="" if told else "o",
            )
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize=7)
    figure.savefig(path, dpi=100)
