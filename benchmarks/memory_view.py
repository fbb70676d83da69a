"""The curve of the memory record as PNG."""

from pathlib import Path

from colora.benchmarks.section import Plot


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
