"""Intervals hold what they promise, on numbers whose median is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from colora.benchmarks.interval import (
    MOST_ALIKE,
    Interval,
    correlation,
    error_of_one,
    median_interval,
    of_a_repeat,
    ratio_interval,
    widened,
)
from hypothesis import given, settings
from hypothesis import strategies as st

SETS = 300
CONFIDENCE = 0.95

DRAWS: dict[str, tuple[Callable[[np.random.Generator, int], np.ndarray], float]] = {
    "log-normal": (lambda rng, n: np.exp(rng.normal(0, 0.1, n)), 1.0),
    "a floor and a tail": (lambda rng, n: 1 + rng.exponential(0.1, n), 1 + 0.1 * np.log(2)),
    "heavy tails": (lambda rng, n: np.exp(0.03 * rng.standard_t(3, n)), 1.0),
}
"""name → (times of a run, their true median)"""


@pytest.mark.parametrize(
    ("name", "n"),
    [
        ("log-normal", 3),
        ("log-normal", 8),
        ("heavy tails", 8),
        ("a floor and a tail", 8),
        ("heavy tails", 20),
    ],
)
def test_the_true_median_and_a_repeat_are_inside_as_often_as_stated(name: str, n: int) -> None:
    rng = np.random.default_rng(7)
    draw, true = DRAWS[name]
    covered = repeated = 0
    for _ in range(SETS):
        interval = median_interval(draw(rng, n).tolist(), rng, CONFIDENCE)
        covered += true in interval
        repeated += float(np.median(draw(rng, n))) in of_a_repeat(interval)
    # a count of 300 has a standard deviation of 1.3 % around 95 %, so that 0.91 is three below. The percentile method
    # alone holds a repeat 0.87 to 0.90 of the time at 8 rounds; above 0.99 intervals would be too wide to be of use
    assert 0.91 <= covered / SETS <= 0.99
    assert 0.91 <= repeated / SETS <= 0.99


@pytest.mark.parametrize("n", [8, 16])
def test_rounds_that_are_like_the_one_before_do_not_count_in_full(n: int) -> None:
    rng = np.random.default_rng(7)

    def run(alike: float = 0.3) -> list[float]:
        """Heavy tails, each round a part of the one before: log-times with lag-one correlation `alike`."""
        fresh, at = rng.standard_t(3, n + 20), [0.0]
        for each in fresh:
            at.append(alike * at[-1] + (1 - alike**2) ** 0.5 * each)
        return np.exp(0.03 * np.array(at[-n:])).tolist()

    pairs = [
        (of_a_repeat(median_interval(run(), rng, CONFIDENCE)), float(np.median(run()))) for _ in range(SETS)
    ]
    # asked: 9 of 10, with a deviation of 1.7 %; the percentile method alone gives 0.80 at 8 rounds, 0.84 at 16
    assert sum(again in interval for interval, again in pairs) / SETS >= 0.88


def test_correlation_is_of_ranks_and_none_is_found_in_steady_or_alternating_times() -> None:
    assert correlation([5.0] * 8) == correlation([1.0, 2.0] * 4) == 0
    rising = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 800.0]
    assert correlation(rising) == MOST_ALIKE == correlation([x**0.1 for x in rising])
    found = [correlation(np.random.default_rng(i).normal(size=200).tolist()) for i in range(50)]
    assert 0.01 < np.mean(found) < 0.06  # 0.03: of a normal error of 0.07, what is below 0 is cut off


def test_the_error_of_one_more_pace_holds_it() -> None:
    rng = np.random.default_rng(7)
    inside = 0
    for _ in range(SETS):
        paces = rng.normal(10, 0.5, 10)
        inside += bool(abs(paces[-1] - 10) <= 10 * error_of_one(paces[:-1].tolist(), rng, CONFIDENCE))
    assert 0.91 <= inside / SETS <= 0.99
    assert error_of_one([10.0], rng) == error_of_one([], rng) == 0


@settings(max_examples=25, deadline=None, derandomize=True)  # a busy machine is no failure
@given(st.lists(st.floats(0.1, 1e3), min_size=1, max_size=12), st.floats(0.1, 10), st.floats(0, 0.5))
def test_scale_order_and_widening(values: list[float], scale: float, error: float) -> None:
    found = median_interval(values, np.random.default_rng(0))
    slack = 1e-9 * max(values)
    assert found.low - slack <= found.value <= found.high + slack and found.n == len(values)
    scaled = median_interval([scale * value for value in values], np.random.default_rng(0))
    assert np.allclose([scaled.low, scaled.high], [scale * found.low, scale * found.high])
    wider, repeat = widened(found, error), of_a_repeat(found)
    assert wider.low <= found.low + slack and wider.high >= found.high - slack
    assert np.isclose(repeat.high - repeat.value, 2**0.5 * (found.high - found.value))
    assert wider.value == repeat.value == found.value


def test_a_ratio_is_paired_so_that_a_slow_round_does_not_widen_it() -> None:
    slow = [1.0, 5.0, 2.0, 9.0, 1.5, 30.0]
    ratio = ratio_interval([2 * ms for ms in slow], slow, np.random.default_rng(0))
    assert (ratio.low, ratio.value, ratio.high) == (2.0, 2.0, 2.0)
    with pytest.raises(ValueError):
        ratio_interval([1.0], [1.0, 2.0], np.random.default_rng(0))


def test_same_seed_same_interval_and_more_confidence_is_wider() -> None:
    values = DRAWS["log-normal"][0](np.random.default_rng(1), 15).tolist()
    a, b = (median_interval(values, np.random.default_rng(5)) for _ in range(2))
    assert a == b
    surer = median_interval(values, np.random.default_rng(5), 0.99)
    assert surer.low <= a.low and surer.high >= a.high and surer.high - surer.low > a.high - a.low
    assert widened(Interval(10.0, 7.0, 14.0, 0.95, 5), 0.3) == Interval(
        10.0, 10 - 18**0.5, 15.0, 0.95, 5
    )  # 3 and 4 with 3 in squares


@pytest.mark.parametrize(("values", "confidence"), [([], 0.95), ([1.0], 1.0), ([1.0], 0.0)])
def test_nothing_to_resample_is_refused(values: list[float], confidence: float) -> None:
    with pytest.raises(ValueError, match=r"got \d values and a confidence of .*; expected one or more"):
        median_interval(values, np.random.default_rng(0), confidence)


def test_no_interval_of_a_time_reaches_below_nothing() -> None:
    wild = median_interval([1.0, 2.0, 30.0], np.random.default_rng(0))  # Student's t alone would give -40
    assert wild.low == 0 and wild.high > 30
    assert of_a_repeat(wild).low == widened(wild, 3.0).low == 0
