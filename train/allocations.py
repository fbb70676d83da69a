"""ALLOCATIONS: ways to spend an adapter's budget on layers, all of one form, and how alike two of them are.

`find_allocation(name)(shapes, contribution, budget)` gives the ranks, where `name` is one of the table's or a file of
ranks given by hand, both as `colora adapt --ranks` takes them:

    {"ranks": {"decoders.*": 0, "ending.*": 0, "*.conv1.weight": 8}}

holds shell patterns of parameter names; the first that fits a parameter counts, 0 stores its change dense, and
parameters that none fits stay as they are. Above is tuning of the decoder, with rank 8 in some kernels elsewhere. Files
that `colora adapt` writes are such files too.
"""

import json
import math
from collections.abc import Callable, Mapping
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path

import numpy as np
from colora.devices.errors import CheckpointError, ColoraError, unknown
from colora.train.ranks import Allocation, Shape, allocate, has_rank, stored_numbers
from numpy.typing import NDArray

Allocate = Callable[[Mapping[str, Shape], Mapping[str, float], int], Allocation]
"""(shapes and contribution by parameter, most numbers stored) → Allocation. Raises ColoraError where the budget can't
be kept. All but `faig` take an empty contribution too."""


def uniform(shapes: Mapping[str, Shape], contribution: Mapping[str, float], budget: int) -> Allocation:
    """The same share δ of every kernel: CoLoRA's rule for equal contributions. δ is the allocation's β."""
    equal = allocate(shapes, dict.fromkeys(shapes, 1.0), budget, beta=None, alpha=0.0)
    return Allocation(equal.ranks, 0.0, equal.beta, equal.stored, dict(contribution))


def uniform_rank(shapes: Mapping[str, Shape], contribution: Mapping[str, float], budget: int) -> Allocation:
    """The same rank in every kernel, as LoRA has it: the largest for the budget. Dense where that costs no more."""

    def at(rank: int) -> Allocation:
        ranks = {name: _stored_rank(shape, rank) for name, shape in shapes.items()}
        return Allocation(ranks, 0.0, 0.0, stored_numbers(shapes, ranks), dict(contribution))

    if at(1).stored > budget:
        raise ColoraError(
            f"a budget of {budget:,} numbers is too small: rank 1 everywhere stores {at(1).stored:,}; raise --budget"
        )
    largest = max((min(_flat(shape)) for shape in shapes.values() if has_rank(shape)), default=1)
    return max((a for a in map(at, range(1, largest + 1)) if a.stored <= budget), key=lambda a: a.stored)


def by_hand(
    patterns: Mapping[str, int],
    shapes: Mapping[str, Shape],
    contribution: Mapping[str, float],
    budget: int,
) -> Allocation:
    """Ranks by pattern of parameter names, the first that fits counts; dense where a rank would save nothing.

    Raises ColoraError for a pattern that fits no parameter, and above the budget.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in shapes):
            raise ColoraError(
                f"{pattern!r} fits no parameter of this backbone, whose names are like {next(iter(shapes))!r}: "
                "correct the ranks file"
            )
    ranks = {
        name: _stored_rank(shape, rank)
        for name, shape in shapes.items()
        for rank in [r for pattern, r in patterns.items() if fnmatchcase(name, pattern)][:1]
    }
    stored = stored_numbers(shapes, ranks)
    if stored > budget:
        raise ColoraError(
            f"these ranks store {stored:,} numbers, more than the budget of {budget:,}: lower them or raise --budget"
        )
    return Allocation(ranks, 0.0, 0.0, stored, dict(contribution))


def read_patterns(path: Path) -> dict[str, int]:
    """Patterns and ranks of a file given by hand. Raises CheckpointError where it is none."""
    try:
        patterns = json.loads(path.read_text())["ranks"]
        if not patterns:
            raise ValueError("it names no parameter")
        for pattern, rank in patterns.items():
            if type(rank) is not int or rank < 0:
                raise ValueError(f"{pattern!r} has rank {rank!r}, expected 0 (dense) or a positive integer")
    except (OSError, AttributeError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path}: not a ranks file ({type(error).__name__}: {error}); expected "
            '{"ranks": {"<parameter or pattern>": <rank>, …}}'
        ) from error
    return dict(patterns)


ALLOCATIONS: dict[str, Allocate] = {
    "faig": allocate,
    "uniform": uniform,
    "uniform-rank": uniform_rank,
}


def find_allocation(name: str) -> Allocate:
    """Entry of ALLOCATIONS, or what a ranks file (`….json`) gives by hand.

    Raises UnknownName with the nearest names, CheckpointError for a file that is none.
    """
    if name.endswith(".json"):
        return partial(by_hand, read_patterns(Path(name)))
    if name not in ALLOCATIONS:
        raise unknown("allocation", name, (*ALLOCATIONS, "<a ranks file>.json"))
    return ALLOCATIONS[name]


def spearman(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    """Spearman's rank correlation in [-1, 1] of two scores of the same names; ties share their mean rank.

    Without any order on a side, where it isn't defined: 1 if neither side has one, else 0. Raises ColoraError for
    other names on one side.
    """
    if a.keys() != b.keys() or not a:
        raise ColoraError(
            f"scores of {len(a)} and {len(b)} parameters: expected the same names, at least one"
        )
    x, y = (_mean_ranks([scores[name] for name in a]) for scores in (a, b))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return float(np.ptp(x) == np.ptp(y))
    return float(np.corrcoef(x, y)[0, 1])


def agreement(shapes: Mapping[str, Shape], a: Allocation, b: Allocation) -> float:
    """Spearman's rank correlation of the shares of each kernel that two allocations store."""
    x, y = (
        {
            name: stored_numbers(shapes, {name: one.ranks[name]}) / math.prod(shape)
            if name in one.ranks
            else 0.0
            for name, shape in shapes.items()
            if has_rank(shape)
        }
        for one in (a, b)
    )
    return spearman(x, y)


def _flat(shape: Shape) -> tuple[int, int]:
    return shape[0], math.prod(shape[1:])


def _stored_rank(shape: Shape, rank: int) -> int:
    """`rank`, or 0 (dense) where the parameter is no kernel or low rank would save nothing."""
    return rank if has_rank(shape) and rank * sum(_flat(shape)) < math.prod(shape) else 0


def _mean_ranks(scores: list[float]) -> NDArray[np.float64]:
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    return ranks
