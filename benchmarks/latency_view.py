"""What the latency scenario shows: figures with their intervals, as cells of a table, plots and a sentence."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from colora.benchmarks.interval import Interval, median_interval, of_a_repeat, ratio_interval, widened
from colora.benchmarks.section import Cell, Column, Plot, Series
from colora.runtime.latency import percentiles

if TYPE_CHECKING:
    from numpy.random import Generator

COLUMNS = (
    Column("what"),
    Column("by"),
    Column("size", "px", "side of a square picture"),
    Column(
        "p50", "ms", "median over the rounds, time.perf_counter_ns; all ways by turns, the order rotating"
    ),
    Column(
        "p50 low",
        "ms",
        "bootstrap over the rounds, expanded for few rounds and for alike ones (fewer than 6: Student's t), widened by "
        "how far a reference loop's pace wandered in the whole scenario: where the median of an equal run falls, with "
        "the confidence set",
    ),
    Column("p50 high", "ms", "as p50 low"),
    Column("p95", "ms", "nearest rank: the slowest, if there are fewer than 20 rounds"),
    Column("p99", "ms", "nearest rank: the slowest, if there are fewer than 100 rounds"),
    Column("compute", "ms", "median of the backend's runs, copies to and from a GPU taken off"),
    Column("copies", "ms", "median of the rest: picture to tensor and back, padding, blending, GPU copies"),
    Column("ratio", "×", "median of the ratios within each round, to what stands under `against`"),
    Column("ratio low", "×", "as p50 low, without the pace, which slows both"),
    Column("ratio high", "×", "as ratio low"),
    Column("against"),
    Column("rounds"),
)


@dataclass(frozen=True)
class Times:
    """Of one call, in ms by round."""

    what: str
    by: str
    ms: Sequence[float]
    size: int | None = None
    against: str = ""
    reference: Sequence[float] = ()
    """Times of what `against` names, in the same rounds; empty where it is this call, or was not measured."""
    compute: float | None = None
    copies: float | None = None


BETWEEN = 0.05
"""What no run sees of itself: where a process has its memory, what a host does that minute. An allowance: paired ratios
of six equal runs scattered by 3 to 6 % (standard deviation, pictures, `benchmarks.repeats`, 2026-11-22), which the
errors that their rounds showed nearly explain."""


@dataclass(frozen=True)
class Figure:
    """A row of the table."""

    times: Times
    median: Interval
    ratio: Interval | None


def figure(times: Times, rng: "Generator", confidence: float, pace: float = 0.0) -> Figure:
    """With intervals for an equal run. pace: relative error of a time by the machine's pace (interval.error_of_one);
    ratios have none, for it slows both calls of a round."""
    median = _of_another_process(widened(median_interval(times.ms, rng, confidence), pace))
    ratio = None
    if times.reference:
        ratio = _of_another_process(ratio_interval(times.ms, times.reference, rng, confidence))
    return Figure(times, median, ratio)


def _of_another_process(interval: Interval) -> Interval:
    return widened(of_a_repeat(interval), BETWEEN)


def cells(found: Figure) -> tuple[Cell, ...]:
    """Under COLUMNS."""
    times, ranks = found.times, percentiles(found.times.ms)
    return (
        *(times.what, times.by, times.size),
        *_ends(found.median),
        *(ranks.p95_ms, ranks.p99_ms, times.compute, times.copies),
        *(_ends(found.ratio) if found.ratio else (None, None, None)),
        *(times.against if found.ratio else "", found.median.n),
    )


def by_size(figures: Sequence[Figure]) -> Plot:
    """A line for each way."""
    ways = dict.fromkeys(f.times.by for f in figures)
    lines = tuple(_series(way, [f for f in figures if f.times.by == way]) for way in ways)
    return Plot(
        "One picture by its size", "side of the picture, px", "p50, ms", lines, log_x=True, log_y=True
    )


def distribution(figures: Iterable[Figure]) -> Plot:
    """Share of the changes of task that took at most so long."""
    series = []
    for f in figures:
        ranked = sorted(f.times.ms)
        series.append(
            Series(f.times.by, tuple(ranked), tuple((i + 1) / len(ranked) for i in range(len(ranked))))
        )
    return Plot("A change of task", "ms", "share that took at most that", tuple(series), "steps", log_x=True)


def percentile_bars(figures: Sequence[Figure]) -> Plot:
    """p50, p95 and p99 of every way and size."""
    names = tuple(f"{f.times.by}, {f.times.size} px" for f in figures)
    ranks = [percentiles(f.times.ms) for f in figures]
    groups = (
        Series("p50", names, tuple(f.median.value for f in figures)),
        Series("p95", names, tuple(rank.p95_ms for rank in ranks)),
        Series("p99", names, tuple(rank.p99_ms for rank in ranks)),
    )
    return Plot("One picture: p50, p95, p99", "", "ms", groups, "bar")


def bars(title: str, figures: Sequence[Figure]) -> Plot:
    """A group for each `by`, in it a bar for each `what`."""
    ways = dict.fromkeys(f.times.by for f in figures)
    groups = tuple(_series(way, [f for f in figures if f.times.by == way], named=True) for way in ways)
    return Plot(title, "", "p50, ms", groups, "bar")


def sentence(pictures: Sequence[Figure], switches: Sequence[Figure], size: int) -> str:
    """The finding, for pictures of about `size`."""
    parts = []
    near = sorted(pictures, key=lambda f: abs((f.times.size or 0) - size))
    refit = next((f for f in near if f.ratio and f.times.by.endswith("refit")), None)
    if refit and refit.ratio:
        side, ratio = refit.times.size, refit.ratio
        parts.append(
            f"a picture of {side}×{side} takes {ratio.value:.2f} times as long with weights that can change "
            f"({refit.times.by}) as merged ({_span(ratio)})"
        )
    change = next((f for f in switches if f.ratio and f.times.by.endswith("refit")), None)
    if change and change.ratio:
        parts.append(
            f"a change of task takes {change.median.value:.1f} ms, {change.ratio.value:.3f} times "
            f"{change.times.against} ({_span(change.ratio, 3)})"
        )
    if not parts and near:
        parts.append(
            f"a picture of {near[0].times.size}×{near[0].times.size} takes {near[0].median.value:.1f} ms"
        )
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _span(interval: Interval, digits: int = 2) -> str:
    _, low, high = _ends(interval)
    return f"{low:.{digits}f} to {high:.{digits}f}"


def _ends(interval: Interval) -> tuple[float, float, float]:
    return interval.value, max(interval.low, 0.0), interval.high


def _series(name: str, figures: Sequence[Figure], named: bool = False) -> Series:
    ends = [_ends(f.median) for f in figures]
    x = tuple(f.times.what if named else float(f.times.size or 0) for f in figures)
    values, lows, highs = zip(*ends, strict=True)
    return Series(name, x, values, lows, highs)
