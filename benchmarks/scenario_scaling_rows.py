"""The scaling section's table and plots: a law for each cost along each axis, told to the end of a range."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, linear_regression

from colora.benchmarks.scenario_scaling_cases import (
    ADAPTERS,
    COMPILED,
    PARAMETERS,
    PEER,
    PIXELS,
    TASKS,
    THREADS,
    WHOLE,
    Walk,
)
from colora.benchmarks.scenario_scaling_laws import LEAST_FOR_BREAK, Law, fit_law
from colora.benchmarks.section import Cell, Column, Plot, Series

ENDS = {PIXELS: (7680 * 4320, "8K"), TASKS: (64, "64"), PARAMETERS: (116e6, "116 M")}
"""Axis → how far it is told: there laws are extrapolated where nothing was measured."""
STEPS = 8
"""Of a curve that is extrapolated."""


@dataclass(frozen=True)
class Quantity:
    """A cost of which a law is told."""

    name: str
    key: str
    """of what a case finds"""
    unit: str
    per_unit: float
    axes: tuple[str, ...]
    adds: bool = False
    """each x adds the same, whatever the first one brings along: extrapolated by a line, and not by the law"""
    above_empty: bool = False
    """less the same of a process that only imported the packages"""


QUANTITIES = (
    Quantity("time of a picture", "run_s", "ms", 1e-3, (PIXELS, PARAMETERS, THREADS)),
    Quantity("memory of a picture", "run_bytes", "MB", 1e6, (PIXELS,)),
    Quantity("memory at rest", "rest_bytes", "MB", 1e6, (TASKS, PARAMETERS), adds=True, above_empty=True),
    Quantity("time to open", "open_s", "ms", 1e-3, (TASKS, PARAMETERS), adds=True),
    Quantity("time of a switch", "switch_s", "ms", 1e-3, (TASKS,), adds=True),
)

MEASURED = {
    "law": "y = a·x^b: least squares of logarithms, 95 % interval of b by Student's t. A bend is the place that leaves "
    "the least residual, told where chance would bend a straight law so with less than 1 % (F test, Bonferroni over "
    f"the gaps between points), from {LEAST_FOR_BREAK} points on; with a step where two lines apart fit so much better "
    "again.",
    "cases": "Each in a fresh process with ONNX Runtime, pictures of noise. Time: median of runs, the first left out "
    "where there are more. One case after another: what else a machine does meanwhile widens the intervals.",
    PIXELS: "Session.restore of one task, squares, at the end 7680×4320; above the tile limit in tiles. Memory: VmHWM, "
    "set back before, less resident memory before.",
    TASKS: f"{ADAPTERS}: one session, policy refit, N adapters used once each (the bundle's own and copies under other "
    f"names); {WHOLE}: N ONNX files of the bundle's graph, setting `{PEER}`, each run once at 64×64. Memory: RSS when "
    "activations were given back, less that of a process that imported numpy and ONNX Runtime. Time to open includes "
    "the first use of each.",
    PARAMETERS: "Compiled graphs of one NAFNet layout at several widths, random weights, in plain ONNX Runtime; one "
    "square picture.",
    THREADS: "Session.restore of one task with so many threads.",
    "extrapolated": "Nobody measured it: the law at the end of the range; of memory of a picture, where pictures "
    "cease to run whole; of memory at rest, time to open and time of a switch, to which each x adds the same, "
    "the line through the points (least squares).",
}
"""How the numbers came about; part of the record."""

COLUMNS = (
    Column("x", "", "what grows"),
    Column("by", "", "how it is done"),
    Column("cost", "", "what is paid"),
    Column("points", "", "cases measured"),
    Column("from", "", "smallest case"),
    Column("to", "", "largest case"),
    Column("exponent", "", "fitted: b of y = a·x^b over all points"),
    Column("low", "", "95 % interval of b"),
    Column("high", "", "95 % interval of b"),
    Column("bends at", "", "x where two exponents fit significantly better than one"),
    Column("before", "", "exponent below the bend"),
    Column("after", "", "exponent above the bend"),
    Column("step", "×", "factor of the cost there, where the law is not continuous"),
    Column("at", "", "end of the range"),
    Column("costs", "", "at the end of the range"),
    Column("unit"),
    Column("which is", "", "measured, or extrapolated: see the notes"),
)


def laws_of(
    walks: Sequence[Walk], empty: float, whole: int
) -> tuple[tuple[tuple[Cell, ...], ...], tuple[Plot, ...]]:
    """Rows as COLUMNS have them, and plots. empty: bytes of a process that only imported the packages. whole: side of
    the largest picture that is not cut, px."""
    rows: list[tuple[Cell, ...]] = []
    plots: list[Plot] = []
    for quantity in QUANTITIES:
        for axis in quantity.axes:
            series: list[Series] = []
            for each in walks:
                points = points_of(each, quantity, empty)
                if each.axis != axis or len({x for x, *_ in points}) < 2:
                    continue
                law = fit_law(*zip(*((x, y) for x, y, *_ in points), strict=True))
                end = ENDS.get(axis, (points[-1][0], ""))
                if quantity.key == "run_bytes":  # beyond what runs whole, memory is that of a tile
                    end = min(end, max((whole**2, f"{whole}×{whole}"), (points[-1][0], end[1])))
                rows.append(row(each, quantity, law, points, end))
                series += series_of(quantity, each.way, law, points, end[0])
            if series:
                plots.append(
                    Plot(f"{quantity.name} by {axis}", axis, f"{quantity.name} ({quantity.unit})", tuple(series),
                         log_x=True, log_y=True)
                )  # fmt: skip
    return tuple(rows), tuple(plots)


Measured = tuple[float, float, float, float]
"""x, y and the interval of y"""


def points_of(walk: Walk, quantity: Quantity, empty: float) -> list[Measured]:
    """What a walk found of a quantity, in its unit; nothing for what it does not measure."""
    found = []
    for case, of in walk.measured:
        if quantity.key not in of:
            continue
        keys = ("run_s", "run_low_s", "run_high_s") if quantity.key == "run_s" else (quantity.key,) * 3
        less = empty if quantity.above_empty else 0.0
        y, low, high = ((of[key] - less) / quantity.per_unit for key in keys)
        if y > 0:
            found.append((case.x, y, low, high))
    return found


def row(
    walk: Walk, quantity: Quantity, law: Law, points: Sequence[Measured], end: tuple[float, str]
) -> tuple[Cell, ...]:
    """One law as COLUMNS have it. end: x and its name, to which the law is told."""
    labels = {case.x: case.label for case, _ in walk.measured}
    last, y, *_ = points[-1]
    reached = last >= 0.95 * end[0]
    interval = (round(law.low, 3), round(law.high, 3)) if math.isfinite(law.low) else (None, None)
    bend = law.bend
    cost = y if reached else beyond(quantity, law, points)(end[0])
    return (
        *(walk.axis, walk.way, quantity.name, law.points, labels[points[0][0]], labels[last]),
        *(round(law.straight, 3), *interval),
        *((float(f"{bend.x:.3g}"), round(law.b, 3), round(bend.after, 3)) if bend else (None,) * 3),
        None if bend is None or bend.step == 1 else float(f"{bend.step:.3g}"),
        *(labels[last] if reached else end[1], float(f"{cost:.4g}"), quantity.unit),
        "measured" if reached else "extrapolated",
    )


def beyond(quantity: Quantity, law: Law, points: Sequence[Measured]) -> Callable[[float], float]:
    """What is extrapolated: the law, or a line that does not fall, for more of x takes nothing away."""
    if not quantity.adds:
        return law
    costs = [y for _, y, *_ in points]
    slope, base = linear_regression([x for x, *_ in points], costs)
    if slope < 0:
        slope, base = 0.0, fmean(costs)
    return lambda x: base + slope * x


def series_of(
    quantity: Quantity, way: str, law: Law, points: Sequence[Measured], end: float
) -> Iterator[Series]:
    """Points with their intervals, the law through them, and what is extrapolated up to x = end."""
    x, y, low, high = (tuple(side) for side in zip(*points, strict=True))
    yield Series(way, x, y, low, high)
    bend = [law.bend.x, math.nextafter(law.bend.x, math.inf)] if law.bend else []
    places = sorted({x[0], *bend, x[-1]})
    yield Series(f"{way}: law", tuple(places), tuple(map(law, places)))
    if end > x[-1]:
        steps = [x[-1] * (end / x[-1]) ** (i / STEPS) for i in range(STEPS + 1)]
        yield Series(f"{way}: extrapolated", tuple(steps), tuple(map(beyond(quantity, law, points), steps)))


def said(rows: Sequence[tuple[Cell, ...]]) -> str:
    """The finding in a sentence, from the rows of the table."""
    names = [column.name for column in COLUMNS]
    found = {row[:3]: dict(zip(names, row, strict=True)) for row in rows}
    told = [
        f"time grows as {axis}^{row['exponent']:.2f}"
        for axis, way in ((PIXELS, "refit"), (PARAMETERS, COMPILED), (THREADS, "refit"))
        if (row := found.get((axis, way, "time of a picture")))
    ]
    ours, theirs = (found.get((TASKS, way, "memory at rest")) for way in (ADAPTERS, WHOLE))
    if ours and theirs:
        a, b = (float(row["costs"] or 0) for row in (ours, theirs))
        told.append(
            f"64 tasks take {a:.0f} MB with adapters ({ours['which is']}) and {b:.0f} MB as whole models "
            f"({theirs['which is']}): {b / a:.1f}×"
        )
    text = "; ".join(told) or "nothing was measured: see the notes"
    return f"{text[:1].upper()}{text[1:]}."
