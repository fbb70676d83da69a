"""A section of the report by itself: on the terminal, and as a record."""

from dataclasses import asdict
from pathlib import Path

import click
from colora.benchmarks.record import Environment, path_of, write_record
from colora.benchmarks.section import Cell, Section
from colora.benchmarks.settings import Settings
from colora.runtime.cli_devices import table


def keep(found: Section, kind: str, settings: Settings, where: Environment, output: Path) -> Path:
    """Print it and write the record, whose path is returned and printed too."""
    click.echo("\n".join(lines(found)))
    path = path_of(output, where, kind)
    told = asdict(settings) | {"scratch": "", "pairs": []}
    write_record(path, kind, where, {"settings": told, "section": asdict(found)})
    click.echo(f"record: {path}")
    return path


def lines(found: Section) -> list[str]:
    """A section for the terminal."""
    header = tuple(f"{c.name}, {c.unit}" if c.unit else c.name for c in found.columns)
    rows = [tuple(_cell(cell) for cell in row) for row in found.rows]
    return [found.said, *table([header, *rows]), *found.notes]


def _cell(value: Cell) -> str:
    if value is None:
        return "–"
    return (
        f"{value:.3g}"
        if isinstance(value, float) and abs(value) < 100
        else f"{value:,.0f}"
        if isinstance(value, float)
        else str(value)
    )
