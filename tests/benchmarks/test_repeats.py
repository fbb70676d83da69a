"""Agreement of equal runs, on made figures."""

from __future__ import annotations

import pytest
from colora.benchmarks.demand import Demand
from colora.benchmarks.figures import Found
from colora.benchmarks.repeats import agreement, judge
from colora.devices.errors import ReportError


def figure(value: float, error: float) -> Found:
    return Found(value, "ms", value - error, value + error)


def test_each_ordered_pair_counts_once() -> None:
    runs = [
        {"a": figure(10, 1), "b": figure(5, 5)},
        {"a": figure(10.5, 0.1), "b": figure(6, 2)},
        {"a": figure(20, 1)},
    ]
    assert agreement(runs) == {
        "a": 1 / 6
    }  # only the first run's interval holds the second; b is not in all runs
    assert agreement(runs[:2]) == {"a": 0.5, "b": 1.0}


def test_agreement_and_width_are_told_the_worst_first() -> None:
    runs = [{"a": figure(10, 1), "b": figure(10, 2)}, {"a": figure(13, 1), "b": figure(11, 2)}]
    assert judge(runs) == [
        Demand("a", 0.0, "of pairs"),
        Demand("b", 1.0, "of pairs"),
        Demand("width of the intervals", 4 / 11, "of the figure"),
        Demand("2 runs, 2 figures: agree", 0.5, "of pairs", least=0.9),
    ]
    assert judge(runs)[-1].holds is False


@pytest.mark.parametrize("runs", [[], [{"a": figure(1, 1)}], [{"a": Found(1.0)}, {"a": figure(1, 1)}]])
def test_nothing_to_compare_is_refused(runs: list[dict[str, Found]]) -> None:
    with pytest.raises(
        ReportError, match=r"\d runs have no figure with an interval in common: expected two runs"
    ):
        agreement(runs)
