"""PROD: every function keeps the contract, every draw comes back from its seed and tells what it did."""

import numpy as np
import pytest
from colora.devices.errors import UnknownName
from colora.train.degradations import DEGRADATIONS, Image, prod
from colora.train.tasks import TASKS, find_task
from hypothesis import given, settings
from hypothesis import strategies as st


def scene(size: int = 48) -> Image:
    y, x = np.mgrid[:size, :size].astype(np.float32) / size
    return np.stack([x, y, 0.5 + 0.4 * np.sin(20 * x * y)], -1)


@pytest.mark.parametrize("name", DEGRADATIONS)
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_function_keeps_shape_dtype_range_and_seed(name: str, seed: int) -> None:
    clean = scene()
    kept = clean.copy()
    out, told = DEGRADATIONS[name](clean, np.random.default_rng(seed))
    again, told_again = DEGRADATIONS[name](clean, np.random.default_rng(seed))
    assert out.shape == clean.shape and out.dtype == np.float32
    assert np.isfinite(out).all() and out.min() >= 0 and out.max() <= 1
    np.testing.assert_array_equal(out, again)
    np.testing.assert_array_equal(clean, kept)
    assert told == told_again and told.endswith(")")


@pytest.mark.parametrize("name", DEGRADATIONS)
def test_function_changes_the_picture_and_differs_by_seed(name: str) -> None:
    outs = [DEGRADATIONS[name](scene(), np.random.default_rng(s))[0] for s in range(4)]
    assert all(np.abs(out - scene()).mean() > 1e-4 for out in outs)
    assert not np.array_equal(outs[0], outs[1])


def test_blurs_keep_a_flat_picture_flat() -> None:
    flat = np.full((48, 48, 3), 0.4, np.float32)
    for name in ("blur", "motion"):
        out, _ = DEGRADATIONS[name](flat, np.random.default_rng(3))
        # kernels sum to 1 in float32: a few rounding errors of 6e-8 each
        np.testing.assert_allclose(out, flat, atol=1e-6)


def test_rain_only_adds_light_where_there_is_no_mist() -> None:
    black = np.zeros((48, 48, 3), np.float32)
    out, _ = DEGRADATIONS["rain"](black, np.random.default_rng(0))
    assert out.min() >= 0 and out.max() > 0.1
    np.testing.assert_array_equal(out[..., 0], out[..., 1])  # streaks are grey


def test_prod_draws_every_count_order_and_function() -> None:
    counts, firsts, texts = set(), set(), set()
    for seed in range(200):
        _, told = prod(scene(16), np.random.default_rng(seed), list(DEGRADATIONS), 3)
        steps = told.split(" → ")
        counts.add(len(steps))
        firsts.add(steps[0].split("(")[0])
        texts.add(told)
    assert counts == {1, 2, 3}
    assert len(texts) > 190  # two short draws may round to the same words
    assert firsts >= {"blur", "motion", "noise", "rain", "jpeg", "haze", "lowlight"}


def test_tasks_name_known_degradations_and_misspelt_ones_get_a_hint() -> None:
    assert all(name in DEGRADATIONS for task in TASKS.values() for name in task.degradations)
    with pytest.raises(UnknownName, match=r"unknown task 'rian': did you mean rain\?"):
        find_task("rian")
