"""What a report is made of: every scenario returns one Section, and report.html and report.json only show it.

All of it is plain data that goes to JSON and back (`asdict`, `Section.read`).
"""

from dataclasses import dataclass
from typing import Any, Literal

Cell = str | float | int | None
"""None: not measured; the row says why"""


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    unit: str = ""
    measured: str = ""
    """how its numbers came about: measured with what, or computed from what"""


@dataclass(frozen=True)
class Series:
    """One line, cloud or group of bars."""

    name: str
    x: tuple[float | str, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    """ends of the interval of each y, where it has one"""
    high: tuple[float, ...] = ()


@dataclass(frozen=True)
class Plot:
    """One picture; axes carry their units."""

    title: str
    x: str
    y: str
    series: tuple[Series, ...]
    kind: Literal["line", "scatter", "bar", "steps"] = "line"
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Section:
    """What one scenario found."""

    name: str
    """identifier: lower case, hyphens"""
    title: str
    said: str
    """the finding in a sentence, with its ratio"""
    columns: tuple[Column, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    plots: tuple[Plot, ...] = ()
    notes: tuple[str, ...] = ()
    """what a reader must know: what was left out and which extra brings it, what is extrapolated, what was noisy"""

    @classmethod
    def read(cls, told: dict[str, Any]) -> "Section":
        """From what `asdict` and JSON made of one. Raises KeyError or TypeError for anything else."""
        plots = tuple(
            Plot(**plot | {"series": tuple(Series(**_tuples(series)) for series in plot["series"])})
            for plot in told["plots"]
        )
        columns = tuple(Column(**column) for column in told["columns"])
        rows = tuple(tuple(row) for row in told["rows"])
        return cls(**told | {"columns": columns, "rows": rows, "plots": plots, "notes": tuple(told["notes"])})


def _tuples(told: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in told.items()}
