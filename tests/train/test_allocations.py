"""Every allocation keeps its budget; hand-given ranks; Spearman's correlation against its definition."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from colora.devices.errors import CheckpointError, ColoraError, UnknownName
from colora.train.allocations import ALLOCATIONS, agreement, find_allocation, spearman
from colora.train.ranks import Allocation, allocate, has_rank, stored_numbers
from hypothesis import given
from hypothesis import strategies as st

SHAPES = {
    "encoder.weight": (64, 32, 1, 1),
    "middle.weight": (32, 64, 1, 1),
    "decoder.weight": (64, 16, 3, 3),
    "decoder.depthwise.weight": (64, 1, 3, 3),
    "decoder.bias": (64,),
    "beta": (1, 32, 1, 1),
}
TOTAL = sum(math.prod(shape) for shape in SHAPES.values())
scores = st.fixed_dictionaries({name: st.floats(0, 10) for name in SHAPES})


@pytest.mark.parametrize("name", ALLOCATIONS)
@given(contribution=scores, share=st.floats(0.12, 1.0))
def test_keeps_the_budget(name: str, contribution: dict[str, float], share: float) -> None:
    budget = int(share * TOTAL)
    found = find_allocation(name)(SHAPES, contribution, budget)
    assert found.stored == stored_numbers(SHAPES, found.ranks) <= budget
    assert found.ranks.keys() == SHAPES.keys()
    assert found.contribution == contribution


@given(share=st.floats(0.12, 1.0), value=st.floats(0.1, 10))
def test_uniform_is_faig_sized_for_equal_contributions(share: float, value: float) -> None:
    equal = allocate(SHAPES, dict.fromkeys(SHAPES, value), int(share * TOTAL), beta=0.0)
    assert find_allocation("uniform")(SHAPES, {}, int(share * TOTAL)).ranks == equal.ranks


def test_uniform_rank_is_one_rank_and_the_next_would_not_fit() -> None:
    shapes = {f"{i}.weight": (64, 64, 1, 1) for i in range(3)}  # a rank costs 3 · 128
    for budget, rank in ((384, 1), (3 * 128 * 7, 7), (3 * 128 * 8 - 1, 7), (3 * 64 * 64, 0)):
        assert set(find_allocation("uniform-rank")(shapes, {}, budget).ranks.values()) == {rank}
    with pytest.raises(ColoraError, match="383 numbers is too small: rank 1 everywhere stores 384; raise"):
        find_allocation("uniform-rank")(shapes, {}, 383)


def ranks_file(tmp_path: Path, ranks: object) -> str:
    (tmp_path / "hand.json").write_text(json.dumps({"ranks": ranks}))
    return str(tmp_path / "hand.json")


def test_ranks_by_hand_take_the_first_pattern_and_leave_the_rest(tmp_path: Path) -> None:
    file = ranks_file(tmp_path, {"decoder.weight": 4, "decoder.*": 9, "encoder.weight": 99})
    found = find_allocation(file)(SHAPES, {}, TOTAL)
    # 99 would store more than the kernel, and neither a bias nor a depthwise kernel has a rank: dense
    assert found.ranks == {
        "encoder.weight": 0,
        "decoder.weight": 4,
        "decoder.depthwise.weight": 0,
        "decoder.bias": 0,
    }
    assert found.stored == 64 * 32 + 4 * (64 + 16 * 9) + 64 * 9 + 64
    with pytest.raises(ColoraError, match=r"store 3,520 numbers, more than the budget of 3,519: lower them"):
        find_allocation(file)(SHAPES, {}, 3519)


@given(contribution=scores, share=st.floats(0.12, 1.0))
def test_a_written_allocation_is_a_ranks_file(
    tmp_path_factory: pytest.TempPathFactory, contribution: dict[str, float], share: float
) -> None:
    path = tmp_path_factory.mktemp("ranks") / "ranks.json"
    wanted = allocate(SHAPES, contribution, int(share * TOTAL))
    wanted.write(path)
    assert Allocation.read(path) == wanted
    assert find_allocation(str(path))(SHAPES, contribution, int(share * TOTAL)).ranks == wanted.ranks


@pytest.mark.parametrize("ranks", [{}, [1], {"encoder.weight": -1}, {"encoder.weight": 1.5}, {"*": True}])
def test_a_file_that_gives_no_ranks_is_refused(ranks: object, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"hand\.json: not a ranks file \(.*\); expected \{\"ranks\""):
        find_allocation(ranks_file(tmp_path, ranks))


def test_names_that_nothing_has_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ColoraError, match=r"'encodr\.\*' fits no parameter of this backbone, .* like 'encoder"
    ):
        find_allocation(ranks_file(tmp_path, {"encodr.*": 3}))(SHAPES, {}, TOTAL)
    with pytest.raises(UnknownName, match="unknown allocation 'uniformrank': did you mean uniform-rank"):
        find_allocation("uniformrank")


def test_spearman_of_known_orders() -> None:
    def of(a: list[float], b: list[float]) -> float:
        return spearman(*(dict(zip("pqrst", side, strict=False)) for side in (a, b)))

    assert of([1, 2, 3], [10, 20, 400]) == pytest.approx(1)
    assert of([1, 2, 3], [3, 2, -1]) == pytest.approx(-1)
    # ranks 1 2 3 4 5 and 2 1 4 3 5: 1 - 6 Σd² / n(n² - 1) = 1 - 24 / 120
    assert of([1, 2, 3, 4, 5], [2, 1, 4, 3, 5]) == pytest.approx(0.8)
    # ranks 1 2 3 and, tied, 1.5 1.5 3: 1.5 / √(2 · 1.5)
    assert of([1, 2, 3], [7, 7, 9]) == pytest.approx(1.5 / math.sqrt(3))
    assert (of([1, 1], [5, 5]), of([1, 1], [5, 6])) == (1.0, 0.0)
    with pytest.raises(ColoraError, match="scores of 1 and 2 parameters: expected the same names"):
        of([1], [1, 2])


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=2, max_size=30
    )  # integers: ties are common
)
def test_spearman_sees_orders_only_and_is_symmetric(points: list[tuple[int, int]]) -> None:
    a, b = ({str(i): float(point[side]) for i, point in enumerate(points)} for side in (0, 1))
    stretched = {name: float(np.expm1(value)) for name, value in a.items()}
    found = spearman(a, b)
    assert -1 <= round(found, 12) <= 1  # a quotient of sums of at most 30 terms: rounding is near 1e-16
    assert spearman(stretched, b) == found
    assert spearman(b, a) == pytest.approx(found, abs=1e-12)
    assert spearman(a, a) == pytest.approx(1)


@given(contribution=scores)
def test_an_allocation_agrees_with_itself(contribution: dict[str, float]) -> None:
    found = allocate(SHAPES, contribution, TOTAL // 3)
    assert agreement(SHAPES, found, found) == pytest.approx(1)


def test_a_kernel_left_out_counts_as_nothing_stored() -> None:
    kernels = {name: shape for name, shape in SHAPES.items() if has_rank(shape)}
    ranks = ({"encoder.weight": 1, "middle.weight": 2, "decoder.weight": 0}, {"middle.weight": 2})
    most, some = (Allocation(r, 0.0, 0.0, stored_numbers(SHAPES, r), {}) for r in ranks)
    # shares in order 1 2 3 and, tied at 0, 1.5 3 1.5: no correlation left
    assert agreement(kernels, most, some) == pytest.approx(0)
