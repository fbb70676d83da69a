"""The timing core, without timing anything."""

from __future__ import annotations

import pytest
from colora.benchmarks.timing import interleave, order, paired_ratio, summary


def test_ratio_is_taken_within_each_round() -> None:
    ratio = paired_ratio([2.0, 20.0, 200.0], [1.0, 10.0, 50.0])
    assert (ratio.n, ratio.p25, ratio.p50, ratio.p75) == (3, 2.0, 2.0, 3.0)  # ratios 2, 2, 4
    with pytest.raises(ValueError):
        paired_ratio([1.0, 2.0], [1.0])


def test_summary_is_median_and_nearest_rank() -> None:
    found = summary([float(n) for n in range(100, 0, -1)])
    assert (found.n, found.ms_p50, found.ms_p95) == (100, 50.5, 95.0)


def test_every_call_takes_every_place() -> None:
    names = ("a", "b", "c")
    rounds = [order(names, n) for n in range(6)]
    assert all(sorted(r) == list(names) for r in rounds)
    for place in range(3):
        assert sorted(r[place] for r in rounds) == ["a", "a", "b", "b", "c", "c"]


def test_warm_ups_run_and_are_not_counted() -> None:
    calls: list[str] = []
    times = interleave(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=4, warmups=2, pause_s=0
    )
    assert calls.count("a") == calls.count("b") == 6
    assert {name: len(ms) for name, ms in times.items()} == {"a": 4, "b": 4}
    assert all(ms >= 0 for row in times.values() for ms in row)


def test_the_device_is_waited_for_before_and_after_each_call() -> None:
    done: list[str] = []
    interleave(
        {"a": lambda: done.append("call")},
        rounds=2,
        warmups=0,
        pause_s=0,
        synchronize=lambda: done.append("wait"),
    )
    assert done == ["wait", "call", "wait"] * 2
