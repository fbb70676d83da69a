"""`colora export --explain`: what each pass did, what it left and why, and what the graph costs before and after."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from colora.export.cost import Cost
from colora.export.draft import Outcome, Refusal
from colora.export.passes import PASSES

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

SHOWN = 3
"""places that are named for each reason; the rest is counted"""


def explain(
    console: Console, outcomes: Mapping[str, Outcome], before: Cost, after: Cost, size: tuple[int, int]
) -> None:
    """Print it. size: height and width of the image that the costs are of."""
    console.print(_columns(("pass", "fired", "refused", "what it does"), _passes(outcomes), "<>><"))
    refused = list(_refusals(outcomes))
    if refused:
        console.print(_columns(("refused by", "times", "why", "where"), refused, "<><<"))
    title = "at {}×{}".format(*size)
    console.print(_columns((title, "exporter", "bundle", "ratio"), _costs(before, after), "<>>>"))
    console.print("estimates from shapes alone: each operator reads and writes once (export/cost.py)")
    if before.unknown or after.unknown:
        console.print(
            f"of unknown shape, and left out: {before.unknown} operators before, {after.unknown} after"
        )


def _passes(outcomes: Mapping[str, Outcome]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for name, p in PASSES.items():
        outcome = outcomes.get(name)
        counts = ("not run", "") if outcome is None else (str(outcome.fired), str(len(outcome.refused)))
        rows.append((name, *counts, p.told))
    return rows


def _refusals(outcomes: Mapping[str, Outcome]) -> Iterable[tuple[str, ...]]:
    for name, outcome in outcomes.items():
        for reason, times in Counter(refusal.reason for refusal in outcome.refused).items():
            yield name, str(times), reason, _where(outcome.refused, reason)
        if not outcome.fired and not outcome.refused:
            behind = PASSES[name].behind
            missing = (
                f": it works on what {behind} leaves, which was not run"
                if behind not in {"", *outcomes}
                else ""
            )
            yield name, "0", f"nothing of its form in this graph{missing}", ""


def _where(refused: Iterable[Refusal], reason: str) -> str:
    nodes = [refusal.node for refusal in refused if refusal.reason == reason]
    more = f" and {len(nodes) - SHOWN} more" if len(nodes) > SHOWN else ""
    return ", ".join(nodes[:SHOWN]) + more


def _costs(before: Cost, after: Cost) -> list[tuple[str, ...]]:
    rows: list[tuple[str, int, int]] = [
        ("operators", before.nodes, after.nodes),
        ("FLOPs", before.flops, after.flops),
        ("bytes moved", before.bytes, after.bytes),
    ]
    kinds = [*before.kinds, *(kind for kind in after.kinds if kind not in before.kinds)]
    changed = [(kind, before.kinds.get(kind, 0), after.kinds.get(kind, 0)) for kind in kinds]
    rows += [row for row in changed if row[1] != row[2]]
    return [(name, f"{a:,}", f"{b:,}", f"{b / a:.2f}" if a else "new") for name, a, b in rows]


def _columns(header: tuple[str, ...], rows: Iterable[tuple[str, ...]], sides: str) -> Table:
    """sides: `<` or `>` for each column."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for i, (title, side) in enumerate(zip(header, sides, strict=True)):  # only text beside the names may wrap
        table.add_column(title, justify="left" if side == "<" else "right", no_wrap=i == 0 or side == ">")
    for row in rows:
        table.add_row(*row)
    return table
