"""A Plot laid out: what lies where in its picture, in px. The template draws it, so nothing here is markup."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from colora.benchmarks.report_axis import Axis, make_axis, tick_label, written
from colora.benchmarks.section import Plot, Series

WIDTH, HEIGHT = 420, 270
"""Of the drawing area with its labels; as wide as a phone shows without shrinking text much."""
TOP, RIGHT, BOTTOM = 28, 14, 42
LETTER = 6.2
"""Mean width of a letter of a label."""
STYLES = 32
"""8 colours by 4 shapes, no two alike; more series begin again."""
MARKED = 40
"""A line of more points has no marks."""
NAMED = 7
"""So few values on a logarithmic x axis are its ticks."""
BAR, LINE_HEIGHT, GAP = 13, 16, 9
LONGEST = 14
"""Letters of a name on the x axis."""
DERIVED = ("law", "extrapolated")
"""What a series is that was not measured: `X: law` is drawn dotted, with hollow marks, in the colour of `X`."""


@dataclass(frozen=True)
class Tick:
    at: float
    label: str


@dataclass(frozen=True)
class Mark:
    """A point, or the end of a bar from `base`."""

    x: float
    y: float
    told: str
    """Read by a screen reader, and shown under the pointer."""
    low: float | None = None
    """Ends of the interval: along y, for a bar along x."""
    high: float | None = None
    base: float = 0.0
    value: str = ""


@dataclass(frozen=True)
class Trace:
    """One series."""

    name: str
    style: int
    path: str
    """Of the line, as SVG writes it; empty for none."""
    marks: tuple[Mark, ...]
    derived: str
    """One of DERIVED, or empty."""


@dataclass(frozen=True)
class Drawing:
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    slanted: bool
    """Names on the x axis that have no room side by side."""
    names: tuple[Tick, ...]
    """Of groups of bars."""
    traces: tuple[Trace, ...]
    told: str
    """All of it in words."""

    @property
    def legend(self) -> dict[str, int]:
        """Name → style."""
        return {owner(trace.name)[0]: trace.style for trace in self.traces}

    @property
    def derived(self) -> str:
        """What the dotted lines with hollow marks are; empty for none."""
        return ", ".join(dict.fromkeys(trace.derived for trace in self.traces if trace.derived))


def owner(name: str) -> tuple[str, str]:
    """The series that one of this name belongs to, and which of DERIVED it is; itself and "" if it was measured."""
    of, _, kind = name.rpartition(": ")
    return (of, kind) if kind in DERIVED else (name, "")


def draw(plot: Plot) -> Drawing | None:
    """None where no point can be shown: not finite, or not above 0 on a logarithmic axis."""
    owners = list(dict.fromkeys(owner(s.name)[0] for s in plot.series))
    series = [(owners.index(owner(s.name)[0]) % STYLES, _shown(s, plot)) for s in plot.series]
    series = [(style, s) for style, s in series if s.y]
    if not series:
        return None
    return _bars(plot, series) if plot.kind == "bar" else _points(plot, series)


def _shown(series: Series, plot: Plot) -> Series:
    """Without the points that can't be."""
    log_y, log_x = plot.log_y, plot.log_x and plot.kind != "bar"
    kept = [
        i
        for i, (x, y) in enumerate(zip(series.x, series.y, strict=True))
        if math.isfinite(y)
        and (y > 0 or not log_y)
        and (isinstance(x, str) or (math.isfinite(x) and (x > 0 or not log_x)))
    ]
    low, high = (tuple(ends[i] for i in kept) if ends else () for ends in (series.low, series.high))
    return Series(series.name, tuple(series.x[i] for i in kept), tuple(series.y[i] for i in kept), low, high)


def _ends(series: Series, i: int, log: bool) -> tuple[float | None, float | None]:
    ends = (series.low[i], series.high[i]) if series.low and series.high else (None, None)
    usable = all(end is not None and math.isfinite(end) and (end > 0 or not log) for end in ends)
    return ends if usable else (None, None)


def _extent(series: Sequence[tuple[int, Series]], log: bool) -> list[float]:
    """Every y, and every end of an interval."""
    ends = [end for _, s in series for i in range(len(s.y)) for end in _ends(s, i, log) if end is not None]
    return [*(y for _, s in series for y in s.y), *ends]


def _points(plot: Plot, series: Sequence[tuple[int, Series]]) -> Drawing:
    y_axis = make_axis(_extent(series, plot.log_y), plot.log_y)
    names = list(dict.fromkeys(str(x) for _, s in series for x in s.x if isinstance(x, str)))
    places = {name: float(i) for i, name in enumerate(names)}

    def place(x: float | str) -> float:
        return places[str(x)] if names else float(x)

    if names:
        x_axis = Axis(-0.5, len(names) - 0.5, False, tuple(places.values()))
    else:
        found = sorted({place(x) for _, s in series for x in s.x})
        x_axis = make_axis(found, plot.log_x)
        if plot.log_x and 1 < len(found) <= NAMED and _apart(x_axis, found):
            x_axis = replace(x_axis, ticks=tuple(found))
    labels = [name if len(name) <= LONGEST else name[: LONGEST - 1] + "…" for name in names]
    labels = labels or [tick_label(tick) for tick in x_axis.ticks]
    left = 12 + LETTER * max(len(tick_label(tick)) for tick in y_axis.ticks)
    right = WIDTH - RIGHT
    slanted = bool(names) and LETTER * max(map(len, labels)) > (right - left) / len(names) - 4
    bottom = HEIGHT - BOTTOM
    height = HEIGHT + (0.5 * LETTER * max(map(len, labels)) if slanted else 0)

    def px(x: float | str) -> float:
        return round(left + (right - left) * x_axis.at(place(x)), 1)

    def py(y: float) -> float:
        return round(bottom - (bottom - TOP) * y_axis.at(y), 1)

    traces = []
    for style, s in series:
        marks = []
        for i, (x, y) in enumerate(zip(s.x, s.y, strict=True)):
            low, high = (None if end is None else py(end) for end in _ends(s, i, plot.log_y))
            shown = x if isinstance(x, str) else written(x)
            marks.append(Mark(px(x), py(y), f"{s.name}: {shown}, {written(y)}", low, high))
        path = "" if plot.kind == "scatter" else _path(marks, plot.kind == "steps")
        bare = plot.kind != "scatter" and len(marks) > MARKED
        traces.append(Trace(s.name, style, path, () if bare else tuple(marks), owner(s.name)[1]))
    x_ticks = tuple(Tick(px(names[i] if names else v), labels[i]) for i, v in enumerate(x_axis.ticks))
    y_ticks = tuple(Tick(py(value), tick_label(value)) for value in y_axis.ticks)
    box = (WIDTH, height, left, right, TOP, bottom)
    return Drawing(*box, x_ticks, y_ticks, slanted, (), tuple(traces), _told(plot, series))


def _apart(axis: Axis, values: Sequence[float]) -> bool:
    """Whether the names of values that rise have room side by side."""
    places = [
        axis.at(value) * (WIDTH - 80) for value in values
    ]  # 80: about what is left of and behind the axis
    rooms = [LETTER * len(tick_label(value)) / 2 + 4 for value in values]
    gaps = (
        (b - a, one + other) for a, b, one, other in zip(places, places[1:], rooms, rooms[1:], strict=False)
    )
    return all(gap >= needed for gap, needed in gaps)


def _path(marks: Sequence[Mark], steps: bool) -> str:
    first, *rest = marks
    told = [f"M{first.x},{first.y}"]
    told += [f"H{mark.x}V{mark.y}" if steps else f"L{mark.x},{mark.y}" for mark in rest]
    return "".join(told)


def _bars(plot: Plot, series: Sequence[tuple[int, Series]]) -> Drawing:
    """Lying, so that names of any length have room: a group of bars under each name."""
    axis = make_axis(_extent(series, plot.log_y), plot.log_y, from_zero=not plot.log_y)
    room = LETTER * max(len(written(y)) for _, s in series for y in s.y) + 8
    left, right = 8.0, WIDTH - room

    def px(value: float) -> float:
        return round(left + (right - left) * axis.at(value), 1)

    base = px(0) if not plot.log_y else left
    top, y = 4.0, 4.0
    names, marks = [], dict[int, list[Mark]]()
    for name in dict.fromkeys(str(x) for _, s in series for x in s.x):
        names.append(Tick(y + LINE_HEIGHT - 5, name))
        y += LINE_HEIGHT
        for number, (_, s) in enumerate(series):
            for i, x in enumerate(s.x):
                if str(x) == name:
                    low, high = (None if end is None else px(end) for end in _ends(s, i, plot.log_y))
                    told = f"{name}, {s.name}: {written(s.y[i])}"
                    mark = Mark(px(s.y[i]), y, told, low, high, base, written(s.y[i]))
                    marks.setdefault(number, []).append(mark)
                    y += BAR + 1
        y += GAP
    ticks = tuple(Tick(px(value), tick_label(value)) for value in axis.ticks)
    traces = tuple(Trace(s.name, style, "", tuple(marks[n]), "") for n, (style, s) in enumerate(series))
    box = (WIDTH, y + 36, left, right, top, y)
    return Drawing(*box, ticks, (), False, tuple(names), traces, _told(plot, series))


def _told(plot: Plot, series: Sequence[tuple[int, Series]]) -> str:
    ranges = (f"{s.name} from {written(min(s.y))} to {written(max(s.y))}" for _, s in series)
    return f"{plot.y} against {plot.x}: {'; '.join(ranges)}."
