"""The allocation: within budget, no larger gain fits, more contribution never means fewer numbers."""

import math
from itertools import pairwise

import pytest
from colora.devices.errors import ColoraError
from colora.train.ranks import allocate, has_rank, rank_of, stored_numbers
from hypothesis import given
from hypothesis import strategies as st

SHAPES = {
    "a.weight": (64, 32, 1, 1),
    "b.weight": (32, 64, 1, 1),
    "c.weight": (64, 16, 3, 3),
    "d.weight": (64, 1, 3, 3),
    "a.bias": (64,),
    "beta": (1, 32, 1, 1),
}
TOTAL = sum(math.prod(shape) for shape in SHAPES.values())
scores = st.fixed_dictionaries({name: st.floats(0, 10) for name in SHAPES})


@given(contribution=scores, share=st.floats(0.12, 1.5))
def test_spends_the_budget_and_no_more(contribution: dict[str, float], share: float) -> None:
    budget = int(share * TOTAL)
    found = allocate(SHAPES, contribution, budget)
    assert found.stored == stored_numbers(SHAPES, found.ranks) <= budget
    assert found.ranks.keys() == SHAPES.keys()
    assert all(found.ranks[name] == 0 for name, shape in SHAPES.items() if not has_rank(shape))
    for name, rank in found.ranks.items():
        d, k = SHAPES[name][0], math.prod(SHAPES[name][1:])
        assert rank == 0 or (rank >= 1 and rank * (d + k) < d * k)


@given(contribution=scores)
def test_equal_layers_with_more_contribution_get_no_lower_rank(contribution: dict[str, float]) -> None:
    shapes = {name: (64, 64, 1, 1) for name in contribution}
    spent = {n: r or 64 for n, r in allocate(shapes, contribution, 6 * 64 * 64 // 3).ranks.items()}
    ordered = sorted(contribution, key=contribution.__getitem__)
    assert all(spent[a] <= spent[b] for a, b in pairwise(ordered))


def test_rank_of_follows_the_share() -> None:
    assert rank_of((64, 64, 1, 1), 0.0) == 1
    assert rank_of((64, 64, 1, 1), 0.25) == 8  # 0.25 · 64·64 / 128
    assert rank_of((64, 64, 1, 1), 1.0) == 0  # low rank would store as much as the kernel: dense


def test_too_small_a_budget_says_what_it_needs() -> None:
    with pytest.raises(
        ColoraError, match=r"budget of 100 numbers is too small: β = 0.01 alone stores 1,\d+; raise"
    ):
        allocate(SHAPES, dict.fromkeys(SHAPES, 1.0), 100)
