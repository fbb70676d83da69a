"""Which figures hold, as told."""

from colora.benchmarks.demand import Demand, table


def test_a_figure_holds_within_its_limits() -> None:
    assert Demand("a", 1.0).holds is None
    assert Demand("a", 1.0, most=1.0).holds is True
    assert Demand("a", 1.01, most=1.0).holds is False
    assert Demand("a", 49.9, least=50).holds is False
    assert Demand("a", 1.0, most=1.05, least=0.95).holds is True


def test_the_table_is_aligned_and_says_what_is_missed() -> None:
    text = table([Demand("time", 1234.5, "ms"), Demand("ratio", 0.3, most=0.25, against="torch")])
    assert text.splitlines()[1:] == [
        "time                  1,234.5  ms",
        "ratio, against torch    0.300  ×   ≤ 0.25  MISSED",
    ]
