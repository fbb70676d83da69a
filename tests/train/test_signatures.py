"""Failure signatures: each warns where its rule says so, and not beside it."""

import math

import numpy as np
import pytest
from colora.train.allocations import uniform
from colora.train.ranks import Shape, allocate
from colora.train.signatures import (
    moved_share,
    nearly_uniform,
    pre_training_hurts,
    underfits,
    worse_than_random,
)

SHAPES: dict[str, Shape] = {f"{i}.weight": (256, 256, 1, 1) for i in range(10)} | {"0.bias": (256,)}
BUDGET = 10 * 20 * 512 + 256  # rank 20 everywhere, and the bias


def alternating(change: float) -> dict[str, float]:
    """Contributions of 1 ± change."""
    return {name: 1 + change * (-1) ** i for i, name in enumerate(SHAPES)}


@pytest.mark.parametrize(("change", "warned"), [(0.0, True), (0.1, True), (0.3, False), (0.9, False)])
def test_contribution_that_tells_layers_hardly_apart(change: float, warned: bool) -> None:
    found = allocate(SHAPES, alternating(change), BUDGET)
    # half of the kernels get 1 + change of their even share: change/2 of all numbers move; β takes a little of it, and
    # a rank of 20 is rounded by up to 1/40
    assert moved_share(SHAPES, found) == pytest.approx(change / 2, abs=0.03)
    told = nearly_uniform(SHAPES, found)
    assert (told is not None) == warned
    if told:
        assert f"puts {moved_share(SHAPES, found):.0%} of the adapter's numbers elsewhere" in told


def test_uniform_shares_move_nothing_and_one_kernel_all_it_can() -> None:
    assert moved_share(SHAPES, uniform(SHAPES, {}, BUDGET)) == 0
    alone = allocate(SHAPES, {name: float(name == "3.weight") for name in SHAPES}, BUDGET, beta=0.0)
    moved = moved_share(
        SHAPES, alone
    )  # 1/10 would have been there anyway, and every other kernel keeps rank 1
    assert 0.8 < moved < 0.9


def test_an_adapter_that_underfits_its_training() -> None:
    tuned = np.random.default_rng(0).normal(30, 3, 32)  # patches differ by far more than the models do
    assert underfits(list(tuned - 0.4), list(tuned), 100, 100) is None
    told = underfits(list(tuned - 0.6), list(tuned), 100, 100)
    assert told is not None and "underfits: 0.60 ± 0.00 dB below the fully tuned copy on 32 patches" in told
    unsure = tuned - 0.6 + np.resize([6.0, -6.0], 32)  # a mean of 0.6 ± 1.08
    assert underfits(list(unsure), list(tuned), 100, 100) is None
    assert underfits(list(tuned + 1), list(tuned), 100, 100) is None
    assert underfits([20.0], [30.0], 100, 100) is None


def test_an_adapter_that_had_fewer_steps_is_not_blamed() -> None:
    told = underfits([29.0, 29.0], [30.0, 30.0], 99, 100)
    assert told is not None and "had 99 steps and the copy 100: too few to say that it underfits" in told


def test_random_weights_that_are_ahead_of_the_backbone() -> None:
    random = np.random.default_rng(0).normal(30, 3, 32)
    told = worse_than_random(list(random - 0.2), list(random), 25)
    assert told is not None and "after 25 steps" in told and "0.20 ± 0.00 dB ahead on 32 patches" in told
    assert worse_than_random(list(random + 0.2), list(random), 25) is None
    unsure = random - 0.2 + np.resize([1.0, -1.0], 32)  # a mean of 0.2 ± 0.18
    assert worse_than_random(list(unsure), list(random), 25) is None


def test_pre_training_that_hurts() -> None:
    row = {"adapted": 30.0}
    table = {
        "fog": row | {"input": 20.0, "backbone": 19.5},
        "rain": row | {"input": 20.0, "backbone": 19.95},
        "equal": row | {"input": math.inf, "backbone": 40.0},
    }
    told = pre_training_hurts(table)
    assert told is not None and "by 0.50 dB on fog: pre-training hurts" in told
    assert pre_training_hurts({name: table[name] for name in ("rain", "equal")}) is None
    assert pre_training_hurts({}) is None
