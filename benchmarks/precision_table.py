"""The table of `precision`: its rows, as text, as markdown and on the screen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import click
from colora.benchmarks.record import Environment
from colora.benchmarks.tables import heading, markdown, show

FACTOR = 256.0
EVALUATORS = {
    "PyTorch": "the trained network, fp32",
    "rounding": "export/rounding.py: every float16 value rounded to float16, sums in float32",
    "upcasting": "ONNX Runtime's CPU, which computes float16 in float32: hides overflow, judges nothing",
    "integer": "the integer kernels of ONNX Runtime's CPU",
}
MEASURED = {
    "PSNR": "against the trained network in PyTorch fp32, results clipped to [0, 1], mean over the pictures",
    "clean": "the same against the clean picture; change: less that of fp32; lost/allowed: what is lost as a part of "
    "0.02 dB (fp16) and 0.2 dB (int8), above 1 is too much",
    "infinite": "values of the graph that are infinite or NaN somewhere in the first picture (rounding evaluator)",
    "int8": "calibrated on windows of the two shipped photographs, degraded as the task says: ranges from eight of "
    "them, layers left out by the loss on eight others; scored on the pictures named, centres of at most 256×256",
    "amplified": f"the same function with a residual stream {FACTOR:g} times as large",
}
NOTES = EVALUATORS | MEASURED


@dataclass(frozen=True)
class Row:
    """One form of one task's network."""

    task: str
    form: str
    pictures: str
    """what it is scored on, and how many"""
    bytes: int
    """graph and numbers as files"""
    psnr_db: float | None
    """against fp32; None where a result is not finite"""
    clean_db: float
    change_db: float
    lost_of_allowed: float
    infinite: int | None
    """None where values between can't be seen"""
    left: tuple[str, ...]
    evaluator: str
    """of EVALUATORS"""


def print_table(rows: Sequence[Row]) -> None:
    """All rows, what was lost most, and how it was measured."""
    show(HEADER, map(cells, rows), left=3, wraps=["left in fp32"])
    for line in (*worst(rows), *(f"{name}: {told}" for name, told in NOTES.items())):
        click.echo(line)


HEADER = (
    "task", "form", "pictures", "MB", "PSNR dB", "clean dB", "change dB", "lost/allowed", "infinite", "left in fp32",
    "by",
)  # fmt: skip


def cells(row: Row) -> tuple[str, ...]:
    """A row as text."""
    fp32 = row.form == "fp32"
    return (
        row.task,
        row.form,
        row.pictures,
        f"{row.bytes / 1e6:.2f}",
        "–" if fp32 else "not finite" if row.psnr_db is None else f"{row.psnr_db:.2f}",
        f"{row.clean_db:.2f}",
        "–" if fp32 else f"{row.change_db:+.4f}",
        "–" if fp32 else f"{row.lost_of_allowed:.3f}",
        "–" if row.infinite is None else str(row.infinite),
        f"{len(row.left)}: {', '.join(row.left)}" if row.left else "none",
        row.evaluator,
    )


def page(rows: Sequence[Row], what: str, where: Environment) -> str:
    """The same as Markdown."""
    notes = "\n".join(f"- {name}: {told}" for name, told in NOTES.items())
    table = markdown(HEADER, map(cells, rows), left=3)
    lost = "".join(f"{line}\n\n" for line in worst(rows))
    return f"{heading(what, where)}\n{table}\n{lost}{notes}\n"


def worst(rows: Sequence[Row]) -> list[str]:
    """What each precision lost most, of what it may lose."""
    lines = []
    for form in ("fp16", "int8"):
        found = [row for row in rows if row.form == form]
        if found:
            row = max(found, key=lambda row: row.lost_of_allowed)
            held = sum(row.lost_of_allowed <= 1 for row in found)
            lines.append(
                f"{form}: {held} of {len(found)} within what is allowed; at worst {row.task} on {row.pictures}: "
                f"{row.change_db:+.4f} dB, {row.lost_of_allowed:.2f} of it"
            )
    return lines
