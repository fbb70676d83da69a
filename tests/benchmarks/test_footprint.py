"""The footprint benchmark: which figures are divided by which."""

from colora.benchmarks.footprint import judge
from colora.benchmarks.resident import Memory
from colora.benchmarks.scenarios import PEERS


def test_ratios_are_of_the_settings_that_take_least_and_of_one_session_with_adapters() -> None:
    def rss(used: int, rest: int) -> dict[str, Memory]:
        return {"used": Memory(used, 0, 0, 0), "rest": Memory(rest, 0, 0, 0)}

    figures = {"colora": rss(100, 50), "colora, backbone alone": rss(90, 30)}
    figures |= {name: rss(500, 300 - i) for i, name in enumerate(PEERS)}
    ratios = [d for d in judge("net", 8, figures, adapter_bytes=10) if d.unit == "×"]
    assert [(d.value, d.holds) for d in ratios] == [
        (100 / 500, True),
        (100 / 100, True),
        (50 / (300 - len(PEERS) + 1), True),
        (50 / 40, False),
    ]
    assert ratios[2].against == f"8 sessions, {list(PEERS)[-1]}"
