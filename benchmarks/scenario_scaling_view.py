"""The scaling section for people who read no report: an aligned table, Markdown, and a plot."""

from __future__ import annotations

from pathlib import Path

from colora.benchmarks.section import Cell, Section
from colora.benchmarks.tables import markdown


def text(section: Section) -> str:
    """The finding, the table aligned, and the notes."""
    rows = [
        tuple(column.name for column in section.columns),
        *(tuple(map(_cell, row)) for row in section.rows),
    ]
    widths = [max(len(row[i]) for row in rows) for i in range(len(section.columns))]
    numbers = [all(not isinstance(row[i], str) for row in section.rows) for i in range(len(widths))]
    forms = [f"{'>' if number else '<'}{width}" for width, number in zip(widths, numbers, strict=True)]
    lines = ["  ".join(map(format, row, forms)) for row in rows]
    return "\n".join([section.said, "", *(line.rstrip() for line in lines), "", *section.notes])


def page(section: Section) -> str:
    """The same as Markdown."""
    table = markdown(
        [column.name for column in section.columns],
        [[*map(_cell, row)] for row in section.rows],
        len(section.columns),
    )
    notes = "\n".join(f"- {note}" for note in section.notes)
    return f"# {section.title}\n\n{section.said}\n\n{table}\n{notes}\n"


def draw(section: Section, path: Path) -> None:
    """All plots of the section in one PNG: what was measured as points, laws as lines."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = 3
    lines = -(-len(section.plots) // columns)
    figure = Figure(figsize=(5 * columns, 3.6 * lines), layout="constrained")
    FigureCanvasAgg(figure)
    for number, plot in enumerate(section.plots, 1):
        axes = figure.add_subplot(lines, columns, number, title=plot.title, xlabel=plot.x, ylabel=plot.y)
        axes.set_xscale("log" if plot.log_x else "linear")
        axes.set_yscale("log" if plot.log_y else "linear")
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


def _cell(value: Cell) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:g}"
    return "" if value is None else str(value)
