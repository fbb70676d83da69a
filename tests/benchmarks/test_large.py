"""The benchmark of large pictures: which figures are divided by which."""

import numpy as np
from colora.benchmarks.large import judge, judge_seams
from colora.benchmarks.large_run import noise


def test_ratios_are_of_the_large_picture_against_the_small() -> None:
    small = {"peak_bytes": 100.0, "beside_bytes": 50.0, "seconds": 2.0}
    large = {"peak_bytes": 112.0, "beside_bytes": 60.0, "seconds": 52.0}
    demands = judge("net", {"array": {4.0: small, 100.0: large}, "file": {}}, 4.0, 100.0)
    peak, beside, pace = [d for d in demands if d.unit == "×"]
    assert (peak.value, peak.holds) == (1.12, False)
    assert (beside.value, beside.holds) == (1.2, None)
    assert (round(pace.value, 4), pace.holds) == (round(50 / 52, 4), True)


def test_seams_are_asked_for_where_nothing_depends_on_the_whole_picture() -> None:
    pooled = judge_seams("net", {"as_it_is_db": 41.0, "pools": 12.0, "without_pools_db": 78.0})
    assert [d.holds for d in pooled] == [None, True]
    local = judge_seams("net", {"as_it_is_db": 41.0, "pools": 0.0, "without_pools_db": 41.0})
    assert [d.holds for d in local] == [False, False]


def test_noise_is_the_same_each_time() -> None:
    assert np.array_equal(noise(9), noise(9))
    assert noise(9).shape == (9, 9, 3)
