"""Photographs as a task's exposure wants them."""

from pathlib import Path

import cv2
import numpy as np
from colora.train.examples import exposed, from_pairs, from_photos, of_pairs
from colora.train.photos import Pair, Pixels
from colora.train.tasks import find_task
from hypothesis import given
from hypothesis import strategies as st

ROUNDING = 0.003
"""numbers are rounded to 1/255"""


def photo(power: float, seed: int) -> Pixels:
    numbers = np.random.default_rng(seed).random((32, 32, 3)) ** power
    return np.rint(255 * numbers).astype(np.uint8)


@given(st.floats(0.35, 2.5), st.integers(0, 99))
def test_exposed_has_the_mean_asked_for_and_keeps_the_order_of_numbers(power: float, seed: int) -> None:
    before = photo(power, seed)
    after = exposed(before, 0.46)
    assert abs(after.mean() / 255 - 0.46) < ROUNDING
    ranked = after.ravel()[np.argsort(before, axis=None)].astype(int)
    assert (np.diff(ranked) >= 0).all()


def test_of_tiled_pairs_a_photograph_is_held_out_with_all_its_tiles(tmp_path: Path) -> None:
    names = [f"{town}_{y:04}_0000" for town in ("ayr", "bath", "ely") for y in (0, 512)] + [
        "wells.1",
        "wells.2",
    ]
    for seed, name in enumerate(names):
        for side in ("input", "target"):
            (tmp_path / side).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / side / f"{name}.png"), photo(1, seed))
    examples = from_pairs(tmp_path, 1)
    assert [pair.name for pair in examples.held_out] == ["ayr_0000_0000"]
    assert examples.told.startswith("6 pairs of ") and len(examples.sources) == 6  # neither tile of ayr


def test_the_hash_tells_what_is_held_out() -> None:
    a, b, c = (Pair(str(seed), photo(1, seed), photo(1, seed + 3)) for seed in range(3))
    assert len({of_pairs([a], [held], "x").sha256 for held in (b, c, Pair("b", b.degraded, c.clean))}) == 3
    assert of_pairs([a], [b], "x").sha256 == of_pairs([a], [b], "x").sha256


def test_low_light_is_learnt_from_well_exposed_photographs_and_rain_from_any(tmp_path: Path) -> None:
    for seed in range(4):
        cv2.imwrite(str(tmp_path / f"{seed}.png"), photo(2, seed))
    dark, rain = (from_photos(find_task(name), [tmp_path], 1) for name in ("lowlight", "rain"))
    assert "exposed to 0.46 and degraded" in dark.told and "augmented and degraded" in rain.told
    assert all(abs(source[0].mean() / 255 - 0.46) < ROUNDING for source in dark.sources)
    assert all(abs(source[0].mean() / 255 - 0.33) < 0.02 for source in rain.sources)  # ∫x²: as they were
