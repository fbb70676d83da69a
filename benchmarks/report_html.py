"""report.html: one file that shows a Report, offline, in light and dark, from a phone to a wall."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

from colora.benchmarks.report import Report
from colora.benchmarks.report_axis import written
from colora.benchmarks.report_plot import Drawing, draw
from colora.benchmarks.section import Cell, Column, Plot, Section
from colora.devices.errors import missing_extra

if TYPE_CHECKING:
    from markupsafe import Markup

BUSY = 0.5
"""Load average from which a machine is said to have been doing something else."""
RATIO = re.compile(r"[+−]?\d[\d.,]*\s?(?:×(?!\s?\d)|%|(?:times|dB)\b)")


@dataclass(frozen=True)
class Drawn:
    """A plot, how it is drawn, and its numbers as a table."""

    plot: Plot
    drawing: Drawing
    columns: tuple[Column, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclass(frozen=True)
class Shown:
    """A section and those of its plots that have something to show."""

    section: Section
    plots: tuple[Drawn, ...]


def render(report: Report) -> str:
    """The page. Raises: MissingExtra without jinja2."""
    return fill(
        "report.html",
        {
            "report": report,
            "machine": report.environment.board or report.environment.cpu,
            "flags": flags(report),
            "sections": shown(report.sections),
        },
    )


def fill(template: str, values: Mapping[str, object]) -> str:
    """A template of this folder, with the style and the script that make it one file. Raises: MissingExtra."""
    try:
        from jinja2 import Environment, FunctionLoader, StrictUndefined
    except ImportError as e:
        raise missing_extra("jinja2", "report", "report.html") from e
    from markupsafe import Markup

    folder = files("colora.benchmarks")
    environment = Environment(
        loader=FunctionLoader(lambda name: (folder / name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"written": written, "ratios": ratios}
    environment.globals |= {"numeric": numeric}
    css, js = (Markup((folder / f"report.{kind}").read_text("utf-8")) for kind in ("css", "js"))
    return environment.get_template(template).render(**values, css=css, js=js)


def shown(sections: Iterable[Section]) -> list[Shown]:
    """As the templates take them."""
    return [Shown(section, _drawn(section)) for section in sections]


def ratios(text: str) -> "Markup":
    """Text with its ratios, shares and gains made bold."""
    from markupsafe import Markup, escape

    parts, end = [], 0
    for found in RATIO.finditer(text):
        parts += [escape(text[end : found.start()]), Markup('<b class="ratio">{}</b>').format(found.group())]
        end = found.end()
    return Markup("").join([*parts, escape(text[end:])])


def numeric(rows: Sequence[Sequence[Cell]]) -> set[int]:
    """Columns without a text, which are aligned right."""
    return {
        i for i, cells in enumerate(zip(*rows, strict=True)) if not any(isinstance(c, str) for c in cells)
    }


def flags(report: Report) -> list[str]:
    """What makes numbers doubtful."""
    where, found = report.environment, []
    if not where.clean_tree:
        found.append("Not measured at a clean commit: these numbers are no record.")
    if where.load_average_1min > BUSY:
        found.append(
            f"The machine was busy with something else when it began (load {where.load_average_1min}): "
            "times are longer and vary more than they need to."
        )
    return found


def _drawn(section: Section) -> tuple[Drawn, ...]:
    found = []
    for plot in section.plots:
        drawing = draw(plot)
        if drawing is not None:
            intervals = any(series.low and series.high for series in plot.series)
            names = ["series", plot.x or "what", plot.y, *(["from", "to"] if intervals else [])]
            rows = tuple(
                (series.name, x, y, *(_interval(series.low, series.high, i) if intervals else ()))
                for series in plot.series
                for i, (x, y) in enumerate(zip(series.x, series.y, strict=True))
            )
            found.append(Drawn(plot, drawing, tuple(Column(name) for name in names), rows))
    return tuple(found)


def _interval(low: tuple[float, ...], high: tuple[float, ...], i: int) -> tuple[Cell, Cell]:
    return (low[i], high[i]) if low and high else (None, None)
