"""Progressive patches: what the text says, and which step is of which stage."""

import pytest
from colora.devices.errors import ColoraError
from colora.train.patches import Stage, read_stages, stage_at
from hypothesis import given
from hypothesis import strategies as st


def test_reads_what_it_writes() -> None:
    text = "64x16,96x8:0.5,128x4:2"
    stages = read_stages(text)
    assert stages == (Stage(64, 16), Stage(96, 8, 0.5), Stage(128, 4, 2.0))
    assert ",".join(map(str, stages)) == text


@pytest.mark.parametrize(
    "text", ["", "64", "64x", "64x16,", "64*16", "64x16:", "64x16:nan", "64x16:-1", "6.4x16"]
)
def test_refuses_what_is_no_stage(text: str) -> None:
    with pytest.raises(ColoraError, match="is no stage; expected patch x batch"):
        read_stages(text)


@pytest.mark.parametrize("text", ["0x4", "64x0", "64x4:0"])
def test_refuses_nothing(text: str) -> None:
    with pytest.raises(ColoraError, match=f"patches {text}: expected patch, batch and share above 0"):
        read_stages(text)


def test_restormers_schedule() -> None:
    thousands = (92, 64, 48, 36, 36, 24)  # of its 300,000 steps, by its public options
    sizes = ("128x8", "160x5", "192x4", "256x2", "320x1", "384x1")
    stages = read_stages(",".join(f"{size}:{n}" for size, n in zip(sizes, thousands, strict=True)))
    first = [sum(thousands[:i]) * 1000 for i in range(6)]
    assert [stage_at(stages, step, 300_000) for step in first] == list(stages)
    assert [stage_at(stages, step - 1, 300_000) for step in first[1:]] == list(stages[:-1])


@given(shares=st.lists(st.floats(0.01, 100), min_size=1, max_size=5), steps=st.integers(1, 500))
def test_every_stage_gets_its_share_in_order(shares: list[float], steps: int) -> None:
    stages = [Stage(patch, 1, share) for patch, share in enumerate(shares, 1)]
    taken = [stage_at(stages, step, steps).patch for step in range(steps)]
    assert taken == sorted(taken)
    for stage in stages:  # both ends are rounded to whole steps
        assert taken.count(stage.patch) == pytest.approx(steps * stage.share / sum(shares), abs=1.001)
    assert stage_at(stages, steps + 7, steps) == stages[-1]
