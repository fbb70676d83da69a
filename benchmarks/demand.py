"""What is asked of a figure, and the table that tells whether it holds: on the terminal, and as a record."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from colora.benchmarks.record import Environment, write_record
from colora.benchmarks.tables import heading
from colora.runtime.atomic import write_text


@dataclass(frozen=True)
class Demand:
    """A figure and its limit; without one it is only told."""

    what: str
    value: float
    unit: str = "×"
    most: float | None = None
    least: float | None = None
    against: str = ""
    """What a ratio is of."""

    @property
    def holds(self) -> bool | None:
        """None where nothing is asked."""
        if self.most is None and self.least is None:
            return None
        return (self.most is None or self.value <= self.most) and (
            self.least is None or self.value >= self.least
        )


def table(demands: Sequence[Demand]) -> str:
    """Aligned text, one line for each."""
    rows = [("", "value", "", "asked", "")]
    for d in demands:
        limits = [f"{sign} {x:g}" for sign, x in (("≤", d.most), ("≥", d.least)) if x is not None]
        verdict = {None: "", True: "met", False: "MISSED"}[d.holds]
        what = f"{d.what}, against {d.against}" if d.against else d.what
        rows.append(
            (
                what,
                f"{d.value:,.3f}" if abs(d.value) < 100 else f"{d.value:,.1f}",
                d.unit,
                " ".join(limits),
                verdict,
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    aligns = "<><><"
    return "\n".join(
        "  ".join(f"{cell:{a}{w}}" for cell, a, w in zip(row, aligns, widths, strict=True)).rstrip()
        for row in rows
    )


def write_demands(
    path: Path,
    kind: str,
    where: Environment,
    demands: Sequence[Demand],
    measured: Mapping[str, str],
    content: dict[str, Any],
) -> str:
    """The record as JSON, and the table beside it as Markdown; returns the table."""
    judged = [asdict(d) | {"holds": d.holds} for d in demands]
    write_record(path, kind, where, {"measured": dict(measured), "demands": judged} | content)
    text = table(demands)
    told = "".join(f"- {name}: {how}\n" for name, how in measured.items())
    write_text(path.with_suffix(".md"), f"{heading(kind, where)}\n```\n{text}\n```\n\n{told}")
    return text
