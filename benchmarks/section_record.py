"""A section of the report by itself: on the terminal, and as a record."""

from dataclasses import asdict
from pathlib import Path

import click
from colora.benchmarks.record import Environment, path_of, write_record
from colora.benchmarks.section import Cell, Section
from colora.benchmarks.settings import Settings
from colora.benchmarks.tables import heading, markdown


def keep(found: Section, kind: str, settings: Settings, where: Environment, output: Path) -> Path:
    """Print it and write the record, whose path is returned and printed too."""
    click.echo("\n".join(lines(found)))
    path = path_of(output, where, kind)
    told = asdict(settings) | {"scratch": "", "pairs": []}
    write_record(path, kind, where, {"settings": told, "section": asdict(found)})
    click.echo(f"record: {path}")
    return path


def lines(found: Section) -> list[str]:
    """A section for the terminal: what was found, the table, columns of numbers on the right, and the notes."""
    rows = [_header(found), *([_cell(cell) for cell in row] for row in found.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    texts = [any(isinstance(row[i], str) for row in found.rows) for i in range(len(widths))]
    forms = [f"{'<' if text else '>'}{width}" for text, width in zip(texts, widths, strict=True)]
    return [found.said, *("  ".join(map(format, row, forms)).rstrip() for row in rows), *found.notes]


def page(found: Section, where: Environment) -> str:
    """The same as Markdown."""
    rows = [[_cell(cell) for cell in row] for row in found.rows]
    table = markdown(_header(found), rows, left=len(found.columns))
    notes = "\n".join(f"- {note}" for note in found.notes)
    return f"{heading(found.title, where)}\n{found.said}\n\n{table}\n{notes}\n"


def _header(found: Section) -> list[str]:
    return [f"{c.name}, {c.unit}" if c.unit else c.name for c in found.columns]


def _cell(value: Cell) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return "–" if value is None else str(value)
