"""The allocation: within budget, no larger gain fits, more contribution never means fewer numbers."""

import math
from itertools import pairwise

import pytest
from colora.devices.errors import ColoraError
from colora.train.ranks import allocate, has_rank, rank_of, stored_numbers
from hypothesis import assume, given
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


@given(contribution=scores, share=st.floats(0.12, 1.0))
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


@given(contribution=scores, share=st.floats(0.12, 1.0), alpha=st.floats(0, 100))
def test_a_solved_beta_keeps_the_budget_and_a_larger_one_would_not(
    contribution: dict[str, float], share: float, alpha: float
) -> None:
    budget = int(share * TOTAL)
    found = allocate(SHAPES, contribution, budget, beta=None, alpha=alpha)
    assert found.alpha == alpha
    assert found.stored <= budget
    assume(found.beta < 0.99)  # at 1 every layer is full already
    # 60 halvings of an interval of at most 600 leave 1e-15; 1e-6 is well above rounding
    with pytest.raises(ColoraError, match=r"too small: α = .* with β = .* stores [\d,]+; raise --budget"):
        allocate(SHAPES, contribution, budget, beta=found.beta + 1e-6, alpha=alpha)


@given(contribution=st.fixed_dictionaries({name: st.integers(0, 1000).map(float) for name in SHAPES}))
def test_only_proportions_of_the_contribution_count(contribution: dict[str, float]) -> None:
    doubled = {name: 2 * score for name, score in contribution.items()}  # exact in floating point
    one, two = (allocate(SHAPES, scores, TOTAL // 3) for scores in (contribution, doubled))
    assert (one.ranks, one.alpha) == (two.ranks, two.alpha)


def test_alpha_and_beta_given_are_taken_as_given() -> None:
    contribution = dict.fromkeys(SHAPES, 3.0)
    solved = allocate(SHAPES, contribution, TOTAL // 3)
    assert allocate(SHAPES, contribution, TOTAL, solved.beta, solved.alpha).ranks == solved.ranks
    with pytest.raises(ColoraError, match="neither α nor β is given: give one"):
        allocate(SHAPES, contribution, TOTAL, beta=None)


def test_rank_of_follows_the_share() -> None:
    assert rank_of((64, 64, 1, 1), 0.0) == 1
    assert rank_of((64, 64, 1, 1), 0.25) == 8  # 0.25 · 64·64 / 128
    assert rank_of((64, 64, 1, 1), 1.0) == 0  # low rank would store as much as the kernel: dense


@given(contribution=scores, share=st.floats(0.0, 0.12), beta=st.floats(0, 1))
def test_a_small_budget_leaves_out_what_contributes_least_per_number_stored(
    contribution: dict[str, float], share: float, beta: float
) -> None:
    budget = int(share * TOTAL)
    found = allocate(SHAPES, contribution, budget, beta)
    assert found.stored == stored_numbers(SHAPES, found.ranks) <= budget
    cost = {name: stored_numbers(SHAPES, {name: rank_of(SHAPES[name], beta)}) for name in SHAPES}
    worth = {name: contribution[name] * math.prod(SHAPES[name]) / cost[name] for name in SHAPES}
    for out in SHAPES.keys() - found.ranks.keys():  # would not fit beside those that are worth as much
        assert cost[out] + sum(cost[name] for name in found.ranks if worth[name] >= worth[out]) > budget


def test_a_budget_just_large_enough_keeps_every_parameter_and_one_number_less_does_not() -> None:
    least = stored_numbers(SHAPES, {name: rank_of(shape, 0.01) for name, shape in SHAPES.items()})
    equal = dict.fromkeys(SHAPES, 1.0)
    assert allocate(SHAPES, equal, least).ranks.keys() == SHAPES.keys()
    assert len(allocate(SHAPES, equal, least - 1).ranks) == len(SHAPES) - 1


def test_a_budget_above_the_backbone_is_refused() -> None:
    with pytest.raises(ColoraError, match=r"more than the backbone's own 1\d,\d{3}: lower --budget"):
        allocate(SHAPES, dict.fromkeys(SHAPES, 1.0), TOTAL + 1)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -1.0])
def test_a_contribution_that_is_none_is_refused(bad: float) -> None:
    with pytest.raises(ColoraError, match=r"contribution of b\.weight is (nan|inf|-1\.0), expected a number"):
        allocate(SHAPES, dict.fromkeys(SHAPES, 1.0) | {"b.weight": bad}, TOTAL)
    with pytest.raises(ColoraError, match=r"contribution of a\.weight is missing"):
        allocate(SHAPES, {}, TOTAL)
