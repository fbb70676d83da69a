"""The figures of any record by name: a report's tables, or the numbers of another record where they stand.

A name is a path such as `latency / picture / ort, refit / 256 / p50`: texts and counts of a row say what it is of, and
its other numbers are figures. Raw times, settings and environments are none.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from colora.benchmarks.report import KIND, read_report
from colora.benchmarks.schema import Told, as_record, read_record
from colora.benchmarks.section import Cell, Column, Section
from colora.devices.errors import ReportError

NO_FIGURES = {
    "format",
    "environment",
    "settings",
    "measured",
    "peers",
    "targets",
    "forms",
    "seconds",
    "noise",
}
"""Entries of a record that hold none."""
COUNTS = {"n", "rounds", "runs", "repeats"}
"""Numbers that say how often something was measured."""
IDENTITY = {"tasks", "size_px", "size"}
"""Numbers in a list's entries that say what the entry is of."""
TEXTS = {"told", "unit", "date_utc", "commit"}
"""Texts that name nothing."""
LONGEST = 120
"""Letters of a text that names something; longer ones explain."""


@dataclass(frozen=True)
class Found:
    """One figure, with the interval in which an equal run's falls, where it has one."""

    value: float
    unit: str = ""
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Recorded:
    """A file."""

    kind: str
    environment: Mapping[str, Any]
    settings: Mapping[str, Any]
    figures: Mapping[str, Found]


def read_figures(path: Path) -> Recorded:
    """Raises: ReportError for what is no record, or one of another version."""
    told = read_record(path)
    if told["kind"] == KIND:
        read_report(path)  # which says what is wrong with another version
    return _figures(told, str(path))


def figures_of(told: Any, name: str) -> Recorded:
    """From a record's JSON; `name` is for the message. Raises: ReportError."""
    return _figures(as_record(told, name), name)


def _figures(told: Told, name: str) -> Recorded:
    sections = told["sections"] if told["kind"] == KIND else [told["section"]] if "section" in told else []
    try:
        read = [Section.read(each) for each in sections]
    except (KeyError, TypeError) as e:
        raise ReportError(f"{name} is damaged ({type(e).__name__}: {e}): measure it again") from e
    rest = {key: value for key, value in told.items() if key not in NO_FIGURES | {"kind"}}
    found = _named((pair for each in read for pair in _of_section(each)) if read else _of_value((), rest))
    return Recorded(told["kind"], told["environment"], told.get("settings", {}), found)


def _named(pairs: Iterator[tuple[tuple[str, ...], Found]]) -> dict[str, Found]:
    """Names that come twice are counted."""
    found: dict[str, Found] = {}
    for path, figure in pairs:
        name = whole = " / ".join(path)
        number = 1
        while name in found:
            number += 1
            name = f"{whole} #{number}"
        found[name] = figure
    return found


def _of_section(section: Section) -> Iterator[tuple[tuple[str, ...], Found]]:
    places = {column.name: i for i, column in enumerate(section.columns)}
    for row in section.rows:
        of = [
            str(cell)
            for column, cell in zip(section.columns, row, strict=True)
            if (isinstance(cell, str) and cell) or _counts(column, cell)
        ]
        for i, column in enumerate(section.columns):
            cell, bounds = row[i], [places.get(f"{column.name} {end}") for end in ("low", "high")]
            if not isinstance(cell, int | float) or _counts(column, cell) or _is_bound(column.name, places):
                continue
            low, high = (None if place is None else row[place] for place in bounds)
            known = isinstance(low, int | float) and isinstance(high, int | float)
            ends = (low, high) if known else (None, None)
            yield (section.name, *of, column.name), Found(float(cell), column.unit, *ends)  # type: ignore[arg-type]


def _counts(column: Column, cell: Cell) -> bool:
    """A number that says what a row is of; how often it was measured says nothing."""
    return column.name not in COUNTS and isinstance(cell, int) and column.unit in ("", "px", "tasks")


def _is_bound(name: str, places: Mapping[str, int]) -> bool:
    return name in COUNTS or (name.endswith((" low", " high")) and name.rsplit(" ", 1)[0] in places)


def _of_value(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Found]]:
    if isinstance(value, bool) or value is None:
        return
    if isinstance(value, int | float):
        if path[-1] not in COUNTS and not path[-1].endswith("_n"):
            yield path, Found(float(value))
    elif isinstance(value, Mapping):
        of = tuple(
            str(text)
            for name, text in value.items()
            if (isinstance(text, str) and 0 < len(text) <= LONGEST and name not in TEXTS)
            or (name in IDENTITY and isinstance(text, int))
        )
        for name, inner in value.items():
            if name not in NO_FIGURES and name not in IDENTITY:
                yield from _of_value((*path, *of, name), inner)
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for inner in value:
            if isinstance(inner, Mapping):
                yield from _of_value(path, inner)
